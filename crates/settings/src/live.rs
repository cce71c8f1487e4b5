use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Meter},
};
use tokio::{
    task::{JoinError, spawn_blocking},
    time::{MissedTickBehavior, interval},
};

use crate::{Loaded, Section, SettingsError, Sources, file::Files, source::Applied};

/// Two equal looks in a row settle a change, so that a file is not read half-written; together
/// they stay under the promised 2 s.
const POLL: Duration = Duration::from_millis(500);

/// The settings that are in force now: those of the start, and the newest of the sections that take
/// effect while the service runs. Cheap to clone; all clones see a reload.
pub struct Live<R>(Arc<State<R>>);

struct State<R> {
    started: R,
    settings: ArcSwap<R>,
    last_error: ArcSwapOption<String>,
    awaiting_restart: ArcSwap<Vec<&'static str>>,
    /// What the last look came to, good or bad; a follower that is started again goes on from it.
    applied: ArcSwap<Applied>,
}

impl<R> Clone for Live<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Section> Live<R> {
    /// Starts from these settings.
    pub fn new(started: Loaded<R>) -> Self {
        Self(Arc::new(State {
            settings: ArcSwap::from_pointee(started.settings.clone()),
            started: started.settings,
            last_error: ArcSwapOption::empty(),
            awaiting_restart: ArcSwap::default(),
            applied: ArcSwap::from_pointee(started.applied),
        }))
    }

    /// One consistent set. Take it once a request, so that no request mixes two.
    pub fn snapshot(&self) -> Arc<R> {
        self.0.settings.load_full()
    }

    /// Why the newest contents of the files are not in force, if they are not.
    pub fn last_error(&self) -> Option<String> {
        self.0.last_error.load().as_deref().cloned()
    }

    /// The sections whose newest contents wait for a restart.
    pub fn awaiting_restart(&self) -> Vec<&'static str> {
        self.0.awaiting_restart.load().to_vec()
    }

    /// Re-reads the settings when the contents of their files change, for as long as it is polled.
    ///
    /// Good settings come into force and are handed to `apply`. Bad ones are left: the last good
    /// ones stay in force, and a log line, a metric and [`Live::last_error`] say so.
    pub async fn follow(self, sources: Sources, meter: Meter, apply: impl Fn(&R) + Send + 'static) {
        let instruments = Instruments::new(&meter, self.last_error().is_none());
        if !sources.has_files() {
            return;
        }
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let applied = self.0.applied.load_full();
        let mut watched = Watched {
            files: sources.files(),
            sources,
            seen: applied.fingerprint,
            applied,
        };
        loop {
            ticks.tick().await;
            let newest;
            (watched, newest) = match watched.look::<R>().await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::error!(%error, "settings files are no longer followed");
                    return;
                }
            };
            let Some(newest) = newest else { continue };
            self.0.applied.store(watched.applied.clone());
            instruments.record(&newest);
            match newest {
                Ok(newest) => self.take(newest, &apply),
                Err(error) => {
                    let reason = error.to_string();
                    tracing::error!(error = %reason, "settings not reloaded; the last good ones stay");
                    self.0.last_error.store(Some(Arc::new(reason)));
                }
            }
        }
    }

    /// Puts settings in force, as far as they take effect while a service runs.
    fn take(&self, mut newest: R, apply: impl Fn(&R)) {
        let waiting = Arc::new(newest.keep_started(&self.0.started));
        apply(&newest);
        self.0.settings.store(Arc::new(newest));
        self.0.last_error.store(None);
        self.0.awaiting_restart.store(waiting.clone());
        if waiting.is_empty() {
            tracing::info!("settings reloaded");
        } else {
            tracing::warn!(
                ?waiting,
                "settings reloaded, but these sections need a restart"
            );
        }
    }
}

/// The files while they are followed.
struct Watched {
    sources: Sources,
    files: Files,
    seen: u64,
    applied: Arc<Applied>,
}

/// The newest settings, if there are any.
type Newest<R> = Option<Result<R, SettingsError>>;

impl Watched {
    /// Looks for the newest settings. A file system may take its time, which is not the requests':
    /// no async thread waits for it.
    async fn look<R: Section>(mut self) -> Result<(Self, Newest<R>), JoinError> {
        let look = spawn_blocking(move || {
            let newest = self.newest();
            (self, newest)
        });
        look.await
    }

    /// The settings where the files have changed, and no further since the last look.
    fn newest<R: Section>(&mut self) -> Newest<R> {
        let texts = self.files.read();
        let fingerprint = texts.fingerprint();
        let settled = fingerprint == std::mem::replace(&mut self.seen, fingerprint);
        if !settled || fingerprint == self.applied.fingerprint {
            return None;
        }
        let (newest, warnings) = self.sources.settings(&texts);
        for warning in &warnings {
            if !self.applied.warnings.contains(warning) {
                tracing::warn!("{warning}");
            }
        }
        self.applied = Arc::new(Applied {
            fingerprint,
            warnings,
        });
        Some(newest.map(|loaded| loaded.settings))
    }
}

struct Instruments {
    reloads: Counter<u64>,
    good: Gauge<u64>,
}

impl Instruments {
    fn new(meter: &Meter, are_good: bool) -> Self {
        let reloads = meter
            .u64_counter("settings.reloads")
            .with_description("Changes of the settings files that were read")
            .build();
        let good = meter
            .u64_gauge("settings.last_reload_successful")
            .with_description("1 while the newest contents of the settings files are good; some take effect at a restart")
            .build();
        good.record(u64::from(are_good), &[]);
        for result in ["success", "failure"] {
            reloads.add(0, &[KeyValue::new("result", result)]);
        }
        Self { reloads, good }
    }

    fn record<R>(&self, result: &Result<R, SettingsError>) {
        let name = if result.is_ok() { "success" } else { "failure" };
        self.reloads.add(1, &[KeyValue::new("result", name)]);
        self.good.record(u64::from(result.is_ok()), &[]);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use tokio::task::yield_now;

    use super::{Applied, Watched};
    use crate::{
        Arguments, Sources,
        file::{LIMIT, Stalled},
    };

    crate::section! {
        /// A service without settings.
        struct Nothing {}
    }

    #[tokio::test]
    async fn a_file_that_stalls_holds_no_async_thread_up() {
        let stalled = Stalled::new();
        let watched = Watched {
            files: stalled.files(),
            sources: Sources::new("sample", &[], Arguments::default()),
            seen: 0,
            applied: Arc::new(Applied {
                fingerprint: 0,
                warnings: Vec::new(),
            }),
        };
        let begun = Instant::now();
        let look = tokio::spawn(watched.look::<Nothing>());
        while stalled.reads() == 0 {
            yield_now().await;
        }
        // This runtime has one thread, which is here and not with the file.
        assert!(begun.elapsed() < LIMIT && !look.is_finished());
        stalled.end();
        let (_, newest) = look.await.unwrap().unwrap();
        assert!(newest.is_none());
    }
}
