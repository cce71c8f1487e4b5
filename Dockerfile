# One image for each service; the same image serves, migrates and seeds.
#
#   docker build --target vehicle-service .
#   docker build --target insurance-service .
#
# On musl instead, statically linked and without glibc:
#
#   docker build --target vehicle-service --build-arg BUILD_IMAGE=rust:1.95-alpine \
#       --build-arg RUNTIME_IMAGE=gcr.io/distroless/static-debian12:nonroot .
#
# The base images are stages of their own, because Dependabot reads FROM and no ARG.
ARG BUILD_IMAGE=build-image
ARG RUNTIME_IMAGE=runtime-image

FROM rust:1.95-slim-bookworm AS build-image
FROM gcr.io/distroless/cc-debian12:nonroot AS runtime-image

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
# The dependencies stay in the cache. Our own sources are touched, as cargo goes by their time: a
# cache that is newer than an older checkout must not pass for its build.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    find crates migrations .sqlx -type f -exec touch {} + \
    && cargo build --release --locked --package vehicle-service --package insurance-service \
    && mkdir /out \
    && cp target/release/vehicle-service target/release/insurance-service /out/

# No shell, no package manager, no root.
FROM ${RUNTIME_IMAGE} AS runtime
USER 65532:65532
WORKDIR /
ARG REVISION=unknown
ARG VERSION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"

FROM runtime AS vehicle-service
LABEL org.opencontainers.image.title="vehicle-service" \
      org.opencontainers.image.description="Looks up cars by registration number"
COPY --from=build /out/vehicle-service /usr/local/bin/
ENV VEHICLE__SERVER__ADDRESS=0.0.0.0
EXPOSE 5081
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["vehicle-service", "--healthcheck"]
ENTRYPOINT ["vehicle-service"]

FROM runtime AS insurance-service
LABEL org.opencontainers.image.title="insurance-service" \
      org.opencontainers.image.description="Looks up a person's policies, with their cars from Vehicle"
COPY --from=build /out/insurance-service /usr/local/bin/
ENV INSURANCE__SERVER__ADDRESS=0.0.0.0
EXPOSE 5082
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["insurance-service", "--healthcheck"]
ENTRYPOINT ["insurance-service"]
