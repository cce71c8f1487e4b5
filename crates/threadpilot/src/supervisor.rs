//! Keeps a service running.

use std::{
    convert::Infallible,
    fs::File,
    future::pending,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    child::Service,
    error::Error,
    fault::{Database, Fault},
    options::ServiceName,
    screen,
};

/// The pause before a program is started again. It doubles with each further end.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After it has run for so long the first pause is due again.
const STEADY: Duration = Duration::from_secs(30);

/// A pause that doubles, up to a bound.
pub(crate) struct Backoff {
    next: Duration,
    started: Option<Instant>,
}

impl Backoff {
    /// Of a program that has just been started.
    pub(crate) fn new() -> Self {
        Self {
            next: FIRST_PAUSE,
            started: Some(Instant::now()),
        }
    }

    /// How long to wait now that it has ended, or could not be started.
    pub(crate) fn pause(&mut self) -> Duration {
        let ran = self.started.take().map(|at| at.elapsed());
        if ran.is_some_and(|ran| ran >= STEADY) {
            self.next = FIRST_PAUSE;
        }
        let pause = self.next;
        self.next = LONGEST_PAUSE.min(pause * 2);
        pause
    }

    /// It runs again.
    pub(crate) fn started(&mut self) {
        self.started = Some(Instant::now());
    }
}

/// How a service is started, the first time and after each end.
pub(crate) struct Start {
    pub(crate) name: ServiceName,
    pub(crate) address: SocketAddr,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) log: PathBuf,
}

/// A service that is started again when it ends.
pub(crate) struct Supervised {
    start: Start,
    fault: Fault,
    service: Option<Service>,
    backoff: Backoff,
    /// When the next start is due, if it does not run.
    due: Option<Instant>,
}

impl Supervised {
    /// Starts the service on its open socket; that it cannot start at all is an error.
    pub(crate) async fn start(start: Start, listener: TcpListener) -> Result<Self, Error> {
        // The log of the last run goes.
        File::create(&start.log).map_err(Error::file(&start.log))?;
        let service = Service::start(&start, Database::Own, listener).await?;
        Ok(Self {
            start,
            fault: Fault::Normal,
            service: Some(service),
            backoff: Backoff::new(),
            due: None,
        })
    }

    /// Starts the service again whenever it ends, and lets it fail as it is told to.
    pub(crate) async fn keep_running(
        &mut self,
        mut next_fault: impl AsyncFnMut() -> Fault,
    ) -> Infallible {
        loop {
            let fault = tokio::select! {
                fault = next_fault() => fault,
                never = self.start_whenever_it_ends() => match never {},
            };
            self.fail(fault).await;
        }
    }

    /// Lets the service fail in this way from now on.
    pub(crate) async fn fail(&mut self, fault: Fault) {
        let before = std::mem::replace(&mut self.fault, fault);
        if let Some(service) = &self.service {
            service.resume();
        }
        if before.process() == fault.process() {
            if let (Some(service), Fault::Slow) = (&self.service, fault) {
                service.pause();
            }
        } else {
            if let Some(service) = self.service.take() {
                service.kill().await;
            }
            if let Err(error) = self.start_again().await {
                screen::complain(&error);
            }
        }
        // One that does not run is told when it runs again.
        if self.service.is_some() == fault.process().is_some() {
            screen::step(fault.told());
        }
    }

    /// Asks the service to stop and waits for it.
    pub(crate) async fn stop(self) {
        if let Some(service) = self.service {
            service.stop().await;
        }
    }

    async fn start_whenever_it_ends(&mut self) -> Infallible {
        let name = self.start.name.as_str();
        loop {
            if let Some(service) = &mut self.service {
                let how = service.ended().await;
                self.service = None;
                let log = self.start.log.display();
                screen::step(&format!("{name} has ended ({how}); its log is {log}"));
            }
            if self.fault.process().is_none() {
                return pending().await;
            }
            // A fault that is typed meanwhile puts off no start.
            let due = *self.due.get_or_insert_with(|| {
                let pause = self.backoff.pause();
                screen::step(&format!(
                    "starting {name} again in {} ms",
                    pause.as_millis()
                ));
                Instant::now() + pause
            });
            sleep_until(due).await;
            self.due = None;
            match self.start_again().await {
                Ok(()) if self.fault == Fault::Normal => {
                    screen::step(&format!("{name} runs again"));
                }
                Ok(()) => screen::step(self.fault.told()),
                Err(error) => screen::complain(&error),
            }
        }
    }

    async fn start_again(&mut self) -> Result<(), Error> {
        let Some(database) = self.fault.process() else {
            return Ok(());
        };
        let listener = Service::listen(self.start.name, self.start.address)?;
        let service = Service::start(&self.start, database, listener).await?;
        if self.fault == Fault::Slow {
            service.pause();
        }
        self.service = Some(service);
        self.backoff.started();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pause_doubles_up_to_a_bound_and_begins_anew_after_a_steady_run() {
        let mut backoff = Backoff::new();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push(backoff.pause().as_millis());
            // A start that takes long and fails is no run.
            advance(STEADY).await;
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        backoff.started();
        advance(STEADY).await;
        assert_eq!(backoff.pause(), FIRST_PAUSE);
    }
}
