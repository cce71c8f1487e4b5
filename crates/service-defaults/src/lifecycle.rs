//! Stopping: the first signal drains, the second ends at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells every part of a process that it is stopping. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
}

impl Shutdown {
    /// Starts the stop. Further calls change nothing.
    pub fn begin(&self) {
        self.draining.cancel();
    }

    /// Whether the stop has started.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
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
            let first = next(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = first, "stopping; a second signal ends at once");
            shutdown.begin();
            let second = next(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = second, "ended at once");
            std::process::exit(1);
        });
        Ok(())
    }

    /// Begins the stop when the parent process is gone, for a process that must not outlive it.
    pub fn with_parent(&self) {
        let shutdown = self.clone();
        let parent = std::os::unix::process::parent_id();
        tokio::spawn(async move {
            let mut looks = tokio::time::interval(Duration::from_millis(500));
            while std::os::unix::process::parent_id() == parent {
                looks.tick().await;
            }
            shutdown.begin();
        });
    }
}

async fn next(
    terminate: &mut tokio::signal::unix::Signal,
    interrupt: &mut tokio::signal::unix::Signal,
) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
