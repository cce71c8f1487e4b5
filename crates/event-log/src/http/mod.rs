//! The routes of the log, which every service that keeps one mounts alike: the feed for those who
//! follow it, and the audit for those who ask about the past.

mod audit;
mod feed;
mod proof;
mod wire;

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header::CACHE_CONTROL},
    middleware::map_response,
    response::Response,
};
use service_database::{Database, Error, Read};
use service_defaults::{
    lifecycle::Shutdown,
    problem::Rejection,
    scope::Scope,
    surface::{Limits, Routes, Surface},
};
use settings::{Figure, format_duration};
use tokio::sync::Semaphore;
use utoipa::openapi::{OpenApi, RefOr, path::ParameterBuilder};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{EventLog, EventLogSettings};

/// Most statements of a surface that are waited for at once, however many connections there are. A
/// quarter of those at most, so that a thousand readers who are told of an event at the same moment
/// leave the others to the lookups. One whose caller went away runs on beside them, for
/// `database.abandoned_grace` at most.
const STATEMENTS: u32 = 2;
/// Apart from the lookups' places: those who follow the log wait for most of their time.
const READERS: usize = 2048;
const LONGEST_PAGE: Duration = Duration::from_secs(40);
const QUESTIONS: usize = 16;
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// What the routes of one surface share.
#[derive(Clone)]
pub(crate) struct Shared {
    log: EventLog,
    database: Database,
    statements: Arc<Semaphore>,
    shutdown: Shutdown,
    /// The `source` of every event.
    source: Arc<str>,
    /// Whether this process has a key to sign checkpoints with.
    signs: bool,
}

impl EventLog {
    /// Adds the routes of the feed and of the audit to those of a service, whose document has these
    /// examples: parameters and what they may be.
    #[must_use]
    pub fn mount(
        &self,
        routes: Routes,
        database: &Database,
        shutdown: &Shutdown,
        settings: &EventLogSettings,
        examples: &[(&str, &str)],
    ) -> Routes {
        let statements = (database.max_connections() / 4).clamp(1, STATEMENTS) as usize;
        let for_feed = Shared {
            log: self.clone(),
            database: database.clone(),
            statements: Arc::new(Semaphore::new(statements)),
            shutdown: shutdown.clone(),
            source: settings.source(self.service()).into(),
            signs: settings.key(self.service()).is_some(),
        };
        let mut for_audit = for_feed.clone();
        // A slow question keeps no event from those who follow, where a connection is left for the
        // lookups beside one for each.
        if database.max_connections() as usize > 2 * statements {
            for_audit.statements = Arc::new(Semaphore::new(statements));
        }
        let mut feed = OpenApiRouter::new()
            .routes(routes!(feed::get_events))
            .with_state(for_feed);
        let mut audit = OpenApiRouter::new()
            .routes(routes!(audit::find_audited_events))
            .routes(routes!(audit::get_audited_event))
            .routes(routes!(audit::get_statistics))
            .routes(routes!(proof::get_inclusion_proof))
            .routes(routes!(proof::get_checkpoint))
            .routes(routes!(proof::get_consistency_proof))
            .with_state(for_audit);
        for document in [feed.get_openapi_mut(), audit.get_openapi_mut()] {
            exemplify(document, examples);
        }
        let (feed, audit) = [feed, audit]
            .map(|it| it.layer(map_response(never_stored)))
            .into();
        let surface = |scope, deadline, places| {
            Surface::keyed(scope).with_limits(Limits::Own { deadline, places })
        };
        routes
            .with(surface(&[Scope::Feed], LONGEST_PAGE, READERS), feed)
            .with(surface(&[Scope::Audit], LONGEST_ANSWER, QUESTIONS), audit)
    }
}

/// What the feed and the audit allow at worst, whatever the settings are.
pub fn worst_case() -> [Figure; 4] {
    let own = "places of their own, beside limits.max_requests_in_progress";
    [
        Figure::duration(
            "longest_feed_page",
            LONGEST_PAGE,
            format_args!(
                "of which {} at most are spent waiting for an event",
                format_duration(feed::LONGEST_POLL)
            ),
        ),
        Figure::count("most_feed_readers", READERS as u64, own),
        Figure::duration(
            "longest_audit_answer",
            LONGEST_ANSWER,
            "from the question's head to its answer",
        ),
        Figure::count("most_audit_questions", QUESTIONS as u64, own),
    ]
}

impl Shared {
    /// Runs statements, in turn with the others of the surface.
    async fn read<A, T>(&self, argument: A, read: Read<A, T>) -> Result<T, Error>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        // It is never closed.
        let _turn = self.statements.acquire().await;
        self.database.read(argument, read).await
    }
}

/// Sets the examples of the parameters with these names.
fn exemplify(document: &mut OpenApi, examples: &[(&str, &str)]) {
    let operations = document.paths.paths.values_mut();
    let operations = operations.filter_map(|path| path.get.as_mut());
    for parameter in operations.flat_map(|it| it.parameters.iter_mut().flatten()) {
        let RefOr::T(parameter) = parameter else {
            continue;
        };
        let example = examples.iter().find(|(name, _)| *name == parameter.name);
        if let Some((_, example)) = example {
            let exemplified = ParameterBuilder::from(parameter.clone());
            *parameter = exemplified.example(Some((*example).into())).build();
        }
    }
}

async fn never_stored(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

/// A question that would look at too much (400).
fn too_broad(detail: &'static str) -> Rejection {
    let status = StatusCode::BAD_REQUEST;
    Rejection::new(status, "too_broad", "Too broad", detail)
}
