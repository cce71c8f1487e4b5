"""Rules for the pods: restricted, probed, stopped in time, within their memory and the fleet."""

import json
import re

from release import COMPONENT, MANAGEMENT_PORT, SERVICES, manual, matches

# The last traces leave in 5 s at most, which is the exporter's own bound.
SLACK_SECONDS = 6
# What a service's `check` adds up: requests' heads and bodies on both listeners, the cache, and
# Vehicle's answers; and what a process needs besides.
BASE_MEMORY = 64 * 1024**2
HEAD_BYTES = 128 * 1024
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def check(release):
    for service in SERVICES:
        release.expect(service in release.deployments, service, "has no Deployment")
    for workload in release.workloads:
        check_pod(release, workload)
    for service, deployment in release.deployments.items():
        check_probes(release, service, deployment)
        check_stop(release, service, deployment)
        check_config(release, service, deployment)
        check_spread(release, service, deployment)
    check_migrations(release)
    check_fleet(release)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * UNITS[unit]


def size(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * {"Mi": 1024**2, "Gi": 1024**3}[unit]


def check_pod(release, workload):
    where = f"{workload['kind']} {workload['metadata']['name']}"
    pod = workload["spec"]["template"]["spec"]
    security = pod.get("securityContext", {})
    release.expect(security.get("runAsNonRoot") is True, where, "may run as root")
    release.expect(security.get("seccompProfile") == {"type": "RuntimeDefault"}, where, "seccomp")
    release.expect(pod.get("automountServiceAccountToken") is False, where, "mounts a token")
    for container in pod["containers"]:
        context = container.get("securityContext", {})
        release.expect(
            context.get("allowPrivilegeEscalation") is False
            and context.get("readOnlyRootFilesystem") is True
            and context.get("capabilities") == {"drop": ["ALL"]},
            where,
            "the container is not restricted",
        )
        for bound in ("requests", "limits"):
            stated = container.get("resources", {}).get(bound, {})
            release.expect({"cpu", "memory"} <= stated.keys(), where, f"lacks {bound}")
        release.expect(
            re.search(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[\w.-]+$", container["image"]),
            where,
            f"the image {container['image']} has no fixed version",
        )
        release.expect(
            not any("subPath" in mount for mount in container["volumeMounts"]),
            where,
            "a mount by subPath never sees a change",
        )
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        release.expect(mounted == {v["name"] for v in pod["volumes"]}, where, "mounts ≠ volumes")
        service = workload["metadata"]["labels"][COMPONENT].removesuffix("-migrate")
        prefix = f"{service.upper()}__"
        for variable in container.get("env", []):
            path = variable["name"].removeprefix(prefix).replace("__", ".").lower()
            known = variable["name"].startswith(prefix) and path in manual(service)
            release.expect(known, where, f"{variable['name']} is no setting of {service}")


def check_probes(release, service, deployment):
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        request = container.get(probe, {}).get("httpGet", {})
        release.expect(
            request == {"path": path, "port": "management"}, service, f"{probe} is {request}"
        )
    config = release.configs[service]
    said = {"http": config.get("server.port"), "management": config.get("management.port")}
    release.expect(ports == said, service, f"container ports {ports}, settings {said}")
    release.expect(said["management"] == MANAGEMENT_PORT, service, "management has moved")


def check_stop(release, service, deployment):
    pod = deployment["spec"]["template"]["spec"]
    hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {})
    settings = manual(service) | release.configs[service]
    needed = (
        hook.get("sleep", {}).get("seconds", 0)
        + seconds(settings["server.drain_delay"])
        + seconds(settings["server.shutdown_timeout"])
        + SLACK_SECONDS
    )
    grace = pod["terminationGracePeriodSeconds"]
    release.expect(grace >= needed, service, f"grace period {grace} s, stopping takes {needed} s")
    ready = deployment["spec"].get("minReadySeconds", 0)
    release.expect(ready >= grace, service, f"minReadySeconds {ready} < grace period {grace}")


def check_config(release, service, deployment):
    defaults = manual(service)
    for path, value in release.configs[service].items():
        if path not in defaults:
            release.expect(False, service, f"{path} is no setting")
            continue
        kind = type(defaults[path])
        fits = isinstance(value, (int, float) if kind is float else kind)
        release.expect(fits, service, f"{path} = {value!r} is no {kind.__name__}")
    settings = defaults | release.configs[service]
    limits = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    needed = BASE_MEMORY + 2 * settings["server.max_connections"] * (
        HEAD_BYTES + settings["limits.max_body_bytes"]
    )
    if service == "insurance":
        client = {k.removeprefix("vehicle_client."): v for k, v in settings.items()}
        calls = sum(client[f"max_degree_of_parallelism_{kind}"] for kind in ("single", "batch"))
        needed += client["cache.max_bytes"] + calls * client["max_answer_bytes"]
    limit = limits["memory"]
    needed_mebibytes = -(-needed // 1024**2)
    release.expect(size(limit) >= needed, service, f"{limit} of memory < {needed_mebibytes}Mi")


def check_spread(release, service, deployment):
    template = deployment["spec"]["template"]
    spread = {
        constraint["topologyKey"]
        for constraint in template["spec"].get("topologySpreadConstraints", [])
        if matches(constraint["labelSelector"]["matchLabels"], template["metadata"]["labels"])
    }
    wanted = {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    release.expect(spread == wanted, service, f"is spread over {spread}")


def check_migrations(release):
    jobs = {o["metadata"]["labels"][COMPONENT]: o for o in release.of("Job")}
    release.expect(jobs.keys() == {f"{s}-migrate" for s in SERVICES}, "migrations", f"{set(jobs)}")
    for name, job in jobs.items():
        hooks = job["metadata"]["annotations"].get("helm.sh/hook")
        release.expect(hooks == "pre-install,pre-upgrade", name, f"runs at {hooks}")
        pod = job["spec"]["template"]["spec"]
        release.expect(pod["containers"][0]["args"][-1] == "migrate", name, "does not migrate")
        release.expect(
            all("secret" in volume for volume in pod["volumes"]), name, "waits for the release"
        )
    for service, deployment in release.deployments.items():
        release.expect(
            "MIGRATION" not in json.dumps(deployment), service, "knows the migrator's password"
        )


def check_fleet(release):
    deployment = release.deployments["insurance"]
    name = deployment["metadata"]["name"]
    scalers = [
        o for o in release.of("HorizontalPodAutoscaler")
        if o["spec"]["scaleTargetRef"]["name"] == name
    ]
    if scalers:
        most = scalers[0]["spec"]["maxReplicas"]
        release.expect("replicas" not in deployment["spec"], name, "replicas beside autoscaling")
    else:
        most = deployment["spec"]["replicas"]
    update = deployment["spec"]["strategy"]["rollingUpdate"]
    pods = most + 2 * update["maxSurge"]
    for kind in ("single", "batch"):
        setting = f"vehicle_client.max_degree_of_parallelism_{kind}"
        cap = (manual("insurance") | release.configs["insurance"])[setting]
        capacity = release.values["legacy"]["capacity"][f"{kind}Calls"]
        release.expect(
            cap * pods <= capacity,
            "fleet",
            f"{kind}: {cap} calls × {pods} pods > the legacy system's {capacity}",
        )
