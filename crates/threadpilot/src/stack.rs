use std::{
    convert::Infallible,
    future::pending,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use insurance_service::{InsuranceService, InsuranceSettings};
use service_defaults::{service::Service as _, settings::Settings};
use settings::Arguments;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use vehicle_service::{VehicleService, VehicleSettings};

use crate::{
    certificate,
    child::Service,
    error::Error,
    fault::Fault,
    folder::Folder,
    keyboard::Keyboard,
    options::{Options, ServiceName},
    postgres::Postgres,
    screen::{self, Summary},
    supervisor::{Start, Supervised},
    variables::{self, Places, Secrets},
};

/// Exit code after a signal during the start, as shells have it for Ctrl-C.
const INTERRUPTED: i32 = 130;
/// How much later than a service's end the signal that ended it may be seen.
const SIGNAL_GRACE: Duration = Duration::from_millis(200);

/// Runs the local stack until a signal. What ends by itself meanwhile is started again.
pub(crate) async fn run(options: &Options) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let started = tokio::select! {
        biased;
        () = signals.next() => None,
        started = Stack::start(options) => Some(started),
    };
    let mut stack = match started {
        Some(Ok(stack)) => stack,
        Some(Err(error)) if timeout(SIGNAL_GRACE, signals.next()).await.is_err() => {
            return Err(error);
        }
        // A download may be under way, which nobody has to wait for; what runs already ends with
        // this process.
        _ => std::process::exit(INTERRUPTED),
    };
    tokio::select! {
        biased;
        () = signals.next() => {}
        never = stack.keep_running() => match never {},
    }
    screen::step("stopping");
    stack.stop().await
}

/// Everything that runs.
struct Stack {
    postgres: Postgres,
    vehicle: Supervised,
    insurance: Supervised,
    keyboard: Option<Keyboard>,
}

impl Stack {
    async fn start(options: &Options) -> Result<Self, Error> {
        let (vehicle, vehicle_url) = listen(options, ServiceName::Vehicle)?;
        let (insurance, insurance_url) = listen(options, ServiceName::Insurance)?;
        let folder = Folder::open(options.data_dir.as_deref())?;
        let secrets = Secrets::open(&folder)?;
        if options.https {
            certificate::make(&folder)?;
        }
        let postgres = Postgres::start(options, &folder, &secrets.logins()).await?;
        let places = Places {
            database_url: &postgres.url,
            vehicle_url: &vehicle_url,
            https: options.https,
            log_filter: &options.log_filter,
        };
        let of = |service| variables::of(service, &places, &secrets, &folder);

        screen::step("bringing both schemas and the sample data up to date");
        fill(of(ServiceName::Vehicle), of(ServiceName::Insurance)).await?;

        screen::step("starting both services");
        let toggles = folder.toggles()?;
        let start = async |name, listener: TcpListener, config| {
            let start = Start {
                name,
                address: address(&listener)?,
                variables: of(name),
                config,
                log: folder.log(name),
            };
            Supervised::start(start, listener).await
        };
        let mut vehicle = start(ServiceName::Vehicle, vehicle, None).await?;
        let insurance = start(ServiceName::Insurance, insurance, Some(toggles.clone())).await?;
        if options.vehicle_fault != Fault::Normal {
            vehicle.fail(options.vehicle_fault).await;
        }

        let keyboard = Keyboard::open();
        let logs = folder.log(ServiceName::Vehicle).with_file_name("*.log");
        screen::summary(&Summary {
            vehicle_url: &vehicle_url,
            insurance_url: &insurance_url,
            key: &secrets.key,
            operations_key: &secrets.operations_key,
            toggles: &toggles.display().to_string(),
            logs: &logs.display().to_string(),
            certificate: options
                .https
                .then(|| folder.certificate().display().to_string()),
            keyboard: keyboard.is_some(),
        });
        Ok(Self {
            postgres,
            vehicle,
            insurance,
            keyboard,
        })
    }

    async fn keep_running(&mut self) -> Infallible {
        let keyboard = &mut self.keyboard;
        let typed = async || match keyboard {
            Some(keyboard) => keyboard.next().await,
            None => pending().await,
        };
        tokio::select! {
            never = self.postgres.keep_running() => never,
            never = self.vehicle.keep_running(typed) => never,
            never = self.insurance.keep_running(pending) => never,
        }
    }

    async fn stop(self) -> Result<(), Error> {
        tokio::join!(self.insurance.stop(), self.vehicle.stop());
        self.postgres.stop()
    }
}

/// Variables of a service.
type Variables = Vec<(String, String)>;

async fn fill(vehicle: Variables, insurance: Variables) -> Result<(), Error> {
    let settings = VehicleService::sources(Arguments::default())
        .with_environment(vehicle)
        .load::<Settings<VehicleSettings>>()?;
    let database = &settings.service.database;
    vehicle_service::SCHEMA.migrate(database).await?;
    vehicle_service::SCHEMA.seed(database).await?;
    let settings = InsuranceService::sources(Arguments::default())
        .with_environment(insurance)
        .load::<Settings<InsuranceSettings>>()?;
    let database = &settings.service.database;
    insurance_service::SCHEMA.migrate(database).await?;
    insurance_service::SCHEMA.seed(database).await?;
    Ok(())
}

/// Opens the listening socket of a service, before anything else; with the service's URL.
fn listen(options: &Options, service: ServiceName) -> Result<(TcpListener, String), Error> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port(service)));
    let listener = Service::listen(service, wanted)?;
    let address = address(&listener)?;
    let scheme = if options.https { "https" } else { "http" };
    Ok((listener, format!("{scheme}://{address}")))
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    let unknown = |source| Error::Listen { port: 0, source };
    listener.local_addr().map_err(unknown)
}

/// The signals that stop the stack. The services get Ctrl-C as well and leave it to this process.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use tokio::{net::TcpStream, task::JoinSet, time::timeout};

    use super::listen;
    use crate::options::{Options, ServiceName};

    #[tokio::test]
    async fn a_burst_waits_while_the_services_start() {
        let options = Options::parse_from(["threadpilot", "--vehicle-port", "0"]);
        let (listener, _url) = listen(&options, ServiceName::Vehicle).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || timeout(Duration::from_secs(30), TcpStream::connect(address));
        let callers: JoinSet<_> = (0..600).map(|_| connect()).collect();
        for connection in callers.join_all().await {
            connection.unwrap().unwrap();
        }
    }
}
