//! Stopping: the first signal drains, the second ends at once.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// Tells every part of a process that it is stopping. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    begun_at: Arc<OnceLock<Instant>>,
    /// Whether Ctrl-C is somebody else's to pass on.
    supervised: Arc<AtomicBool>,
}

impl Shutdown {
    /// Starts the stop. Further calls change nothing.
    pub fn begin(&self) {
        // Whoever was first counts.
        let _ = self.begun_at.set(Instant::now());
        self.draining.cancel();
    }

    /// Whether the stop has started.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// When the stop has started; now, if it has not.
    pub(crate) fn begun_at(&self) -> Instant {
        self.begun_at.get().copied().unwrap_or_else(Instant::now)
    }

    /// Waits until the stop has started.
    pub async fn begun(&self) {
        self.draining.cancelled().await;
    }

    /// Begins the stop at the first SIGTERM or SIGINT and ends the process at the second.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let supervised = shutdown.supervised.load(Ordering::Relaxed);
            let mut next = async || loop {
                tokio::select! {
                    _ = terminate.recv() => return "SIGTERM",
                    // Heard, so that it does not end the process, but not heeded.
                    _ = interrupt.recv() => if !supervised { return "SIGINT" },
                }
            };
            let first = next().await;
            tracing::info!(signal = first, "stopping; a second signal ends at once");
            shutdown.begin();
            let second = next().await;
            tracing::warn!(signal = second, "ended at once");
            telemetry::flush_log();
            std::process::exit(1);
        });
        Ok(())
    }

    /// For a process that another one has started and stops: begins the stop when that parent is
    /// gone, however early that was, and leaves Ctrl-C, which reaches both, to the parent.
    pub fn with_parent(&self, parent: u32) {
        self.supervised.store(true, Ordering::Relaxed);
        let shutdown = self.clone();
        tokio::spawn(async move {
            let mut looks = tokio::time::interval(Duration::from_millis(500));
            while std::os::unix::process::parent_id() == parent {
                looks.tick().await;
            }
            shutdown.begin();
        });
    }
}
