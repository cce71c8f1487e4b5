use std::net::{Ipv4Addr, TcpListener};

use insurance_service::InsuranceSettings;
use service_defaults::settings::Arguments;
use tokio::signal::unix::{Signal, SignalKind, signal};
use vehicle_service::VehicleSettings;

use crate::{
    certificate,
    child::Service,
    error::Error,
    folder::Folder,
    options::{Options, ServiceName},
    postgres::Postgres,
    screen::{self, Summary},
    variables::{self, Places, Secrets},
};

/// Exit code after a signal during the start, as shells have it for Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Runs the local stack until a signal, or until a part of it ends by itself.
pub(crate) async fn run(options: &Options) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let vehicle = listen(options, ServiceName::Vehicle)?;
    let insurance = listen(options, ServiceName::Insurance)?;
    let folder = Folder::open(options.data_dir.as_deref())?;
    let secrets = Secrets::open(&folder)?;
    if options.https {
        certificate::make(&folder)?;
    }
    let logins = secrets.logins();
    let postgres = tokio::select! {
        postgres = Postgres::start(options, &folder, &logins) => postgres?,
        // A download may be under way, which nobody has to wait for; the server that may run
        // already ends with this process.
        _ = signals.next() => std::process::exit(INTERRUPTED),
    };
    let result = serve(
        options,
        &folder,
        &secrets,
        &postgres,
        vehicle,
        insurance,
        &mut signals,
    )
    .await;
    postgres.stop()?;
    result
}

async fn serve(
    options: &Options,
    folder: &Folder,
    secrets: &Secrets,
    postgres: &Postgres,
    vehicle: Socket,
    insurance: Socket,
    signals: &mut Signals,
) -> Result<(), Error> {
    let places = Places {
        database_url: &postgres.url,
        vehicle_url: &vehicle.url,
        https: options.https,
    };
    let of = |service| variables::of(service, &places, secrets, folder);

    screen::step("bringing both schemas and the sample data up to date");
    let settings = vehicle_service::sources(Arguments::default())
        .with_environment(of(ServiceName::Vehicle))
        .load::<VehicleSettings>()?;
    vehicle_service::SCHEMA
        .migrate(&settings.service.database)
        .await?;
    vehicle_service::SCHEMA
        .seed(&settings.service.database)
        .await?;
    let settings = insurance_service::sources(Arguments::default())
        .with_environment(of(ServiceName::Insurance))
        .load::<InsuranceSettings>()?;
    insurance_service::SCHEMA
        .migrate(&settings.service.database)
        .await?;
    insurance_service::SCHEMA
        .seed(&settings.service.database)
        .await?;

    screen::step("starting both services");
    let toggles = folder.toggles()?;
    let log = folder.log(ServiceName::Vehicle);
    let variables = of(ServiceName::Vehicle);
    let mut vehicle_service =
        Service::start(ServiceName::Vehicle, vehicle.listener, variables, None, log).await?;
    let log = folder.log(ServiceName::Insurance);
    let variables = of(ServiceName::Insurance);
    let config = Some(toggles.clone());
    let mut insurance_service = Service::start(
        ServiceName::Insurance,
        insurance.listener,
        variables,
        config,
        log,
    )
    .await?;

    screen::summary(&Summary {
        vehicle_url: &vehicle.url,
        insurance_url: &insurance.url,
        key: &secrets.key,
        toggles: &toggles.display().to_string(),
        logs: &folder
            .log(ServiceName::Vehicle)
            .with_file_name("*.log")
            .display()
            .to_string(),
        certificate: options
            .https
            .then(|| folder.certificate().display().to_string()),
    });
    let (result, asked_already) = tokio::select! {
        stop = signals.next() => (Ok(()), stop == Stop::WholeGroup),
        error = vehicle_service.ended() => (Err(error), false),
        error = insurance_service.ended() => (Err(error), false),
    };
    screen::step("stopping");
    tokio::join!(
        insurance_service.stop(asked_already),
        vehicle_service.stop(asked_already)
    );
    result
}

/// A listening socket of one service, opened before anything else.
struct Socket {
    listener: TcpListener,
    url: String,
}

fn listen(options: &Options, service: ServiceName) -> Result<Socket, Error> {
    let port = options.port(service);
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => Error::PortTaken {
                port,
                service: service.as_str(),
            },
            _ => Error::Listen { port, source },
        })?;
    let address = listener
        .local_addr()
        .map_err(|source| Error::Listen { port, source })?;
    let scheme = if options.https { "https" } else { "http" };
    Ok(Socket {
        listener,
        url: format!("{scheme}://{address}"),
    })
}

/// The signals that stop the stack.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// Whom a signal reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Ctrl-C in a terminal, or the terminal closing: the services got it as well.
    WholeGroup,
    /// SIGTERM: this process alone.
    ThisProcess,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::WholeGroup,
            _ = self.hang_up.recv() => Stop::WholeGroup,
            _ = self.terminate.recv() => Stop::ThisProcess,
        }
    }
}
