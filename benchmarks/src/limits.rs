//! What the machine and the libraries allow, without an edge: the same answers from `hyper`, from
//! `axum`, and from `axum` with a pool of sqlx.

use std::{
    convert::Infallible,
    io::{Write, stderr},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

#[expect(
    clippy::disallowed_types,
    reason = "a plain service has plain extractors"
)]
use axum::{Json, extract::Path};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use contracts::{BatchAnswer, BatchRequest, RegistrationNumber, Vehicle};
use http_body_util::Full;
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use service_database::{Database, Error};
use service_defaults::{
    process::{Command, Start, block_on, run as serve_service},
    service::Service,
};
use settings::Arguments;
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::net::TcpListener;

use crate::edge::{ANSWER, Edge, json};

/// As many connections as a service's pool has by default.
const CONNECTIONS: u32 = 8;
const LONGEST_UPDATE: Duration = Duration::from_secs(5);
const NOT_FOUND: &str = r#"{"type":"/problems/vehicle_not_found","title":"Vehicle not found","status":404,"detail":"There is no vehicle with this registration number.","code":"vehicle_not_found","requestId":"","traceId":"","errors":[]}"#;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to listen; the edge goes by its settings
    address: SocketAddr,
    #[command(subcommand)]
    limit: Limit,
}

#[derive(clap::Subcommand)]
enum Limit {
    /// A static answer from hyper
    Hyper,
    /// A static answer from axum
    Axum,
    /// A static answer from axum behind the edge of the services
    Edge,
    /// Vehicles from axum with a pool of sqlx
    Sqlx {
        /// URL of the database
        database: String,
    },
    /// Updates of a row from axum with the services' own database layer, without an event and
    /// without a key
    Update {
        /// URL of the database
        database: String,
    },
}

/// Serves until a signal.
pub(crate) fn run(Options { address, limit }: Options) -> ExitCode {
    block_on(async {
        let served = match limit {
            Limit::Hyper => serve_hyper(address).await,
            Limit::Axum => {
                serve(
                    address,
                    Router::new().route("/static", get(async || json(ANSWER))),
                )
                .await
            }
            Limit::Sqlx { database } => serve_vehicles(address, &database).await,
            Limit::Update { database } => serve_updates(address, &database).await,
            Limit::Edge => {
                let sources = Edge::sources(Arguments::default());
                return serve_service::<Edge>(sources, Command::Serve, Start::default()).await;
            }
        };
        served.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
    })
}

/// Says why a part has failed.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    // With nobody listening there is nobody to tell.
    let _ = writeln!(stderr(), "{error:#}");
    ExitCode::FAILURE
}

async fn serve(address: SocketAddr, routes: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    Ok(axum::serve(listener, routes.route("/healthz", get(async || ()))).await?)
}

async fn serve_vehicles(address: SocketAddr, database: &str) -> anyhow::Result<()> {
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
    let routes = Router::new()
        .route("/api/v1/vehicles/{number}", get(find))
        .route("/api/v1/vehicles/batch", post(find_all))
        .with_state(pool.connect(database).await?);
    serve(address, routes).await
}

async fn serve_updates(address: SocketAddr, url: &str) -> anyhow::Result<()> {
    let settings = format!("url = {}", serde_json::to_string(url)?);
    let database = Database::new(&settings::parse("database", &settings)?)?;
    let routes = Router::new().route("/rows/{id}", post(update));
    serve(address, routes.with_state(database)).await
}

async fn serve_hyper(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(http1::Builder::new().serve_connection(
            TokioIo::new(stream),
            service_fn(async |_| {
                let body = Full::new(Bytes::from_static(ANSWER.as_bytes()));
                let answer = hyper::Response::builder().header(CONTENT_TYPE, "application/json");
                Ok::<_, Infallible>(answer.body(body).unwrap_or_default())
            }),
        ));
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    registration_number: String,
    make: Option<String>,
    model: Option<String>,
    model_year: Option<i16>,
}

impl Row {
    fn into_vehicle(self, registration_number: RegistrationNumber) -> Vehicle {
        let Self {
            make,
            model,
            model_year,
            ..
        } = self;
        Vehicle {
            registration_number,
            make,
            model,
            model_year,
        }
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "a plain service has plain extractors"
)]
async fn find(
    State(pool): State<PgPool>,
    Path(number): Path<RegistrationNumber>,
) -> Result<Response, StatusCode> {
    let row: Option<Row> = sqlx::query_as(
        "select registration_number, make, model, model_year from vehicle.vehicles where registration_number = $1",
    )
    .bind(number.as_str())
    .fetch_optional(&pool)
    .await
    .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(match row {
        Some(row) => Json(row.into_vehicle(number)).into_response(),
        None => (
            StatusCode::NOT_FOUND,
            [(CONTENT_TYPE, "application/problem+json")],
            NOT_FOUND,
        )
            .into_response(),
    })
}

#[expect(
    clippy::disallowed_types,
    reason = "a plain service has plain extractors"
)]
async fn find_all(
    State(pool): State<PgPool>,
    Json(request): Json<BatchRequest>,
) -> Result<Json<BatchAnswer>, StatusCode> {
    let texts: Vec<_> = request.registration_numbers.into_iter().flatten().collect();
    let rows: Vec<Row> = sqlx::query_as(
        "select registration_number, make, model, model_year from vehicle.vehicles where registration_number = any($1)",
    )
    .bind(&texts)
    .fetch_all(&pool)
    .await
    .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let mut found: std::collections::HashMap<_, _> = rows
        .into_iter()
        .map(|row| (row.registration_number.clone(), row))
        .collect();
    let (mut vehicles, mut not_found) = (Vec::new(), Vec::new());
    for number in texts.iter().filter_map(|text| text.parse().ok()) {
        let number: RegistrationNumber = number;
        match found.remove(number.as_str()) {
            Some(row) => vehicles.push(row.into_vehicle(number)),
            None => not_found.push(number),
        }
    }
    Ok(Json(BatchAnswer {
        vehicles,
        not_found,
        invalid: Vec::new(),
    }))
}

/// The row is locked and changed in one transaction, as a policy is.
#[expect(
    clippy::disallowed_types,
    reason = "a plain service has plain extractors"
)]
async fn update(
    State(database): State<Database>,
    Path(id): Path<i64>,
) -> Result<Json<i64>, StatusCode> {
    let updated = database.transaction(LONGEST_UPDATE, &id, |connection, id| {
        Box::pin(async move { Ok::<_, Error>(change_row(connection, *id).await?) })
    });
    let failed = |_| StatusCode::SERVICE_UNAVAILABLE;
    updated.await.map(Json).map_err(failed)
}

async fn change_row(connection: &mut PgConnection, id: i64) -> sqlx::Result<i64> {
    let lock = "select version from benchmark_rows where insurance_id = $1 for no key update";
    let version: i64 = sqlx::query_scalar(lock)
        .bind(id)
        .fetch_one(&mut *connection)
        .await?;
    sqlx::query("update benchmark_rows set version = $2, status = $3 where insurance_id = $1")
        .bind(id)
        .bind(version + 1)
        .bind(if version % 2 == 0 {
            "active"
        } else {
            "suspended"
        })
        .execute(connection)
        .await?;
    Ok(version)
}
