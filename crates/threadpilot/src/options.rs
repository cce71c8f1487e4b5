use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use settings::Secret;

use crate::fault::Fault;

/// Runs both services with sample data on a private PostgreSQL
#[derive(Debug, Parser)]
#[command(version, args_override_self = true)]
pub(crate) struct Options {
    /// Port of Vehicle; 0 = any free one [default: 5081, with --https 7297]
    #[arg(long, value_name = "PORT")]
    vehicle_port: Option<u16>,
    /// Port of Insurance; 0 = any free one [default: 5082, with --https 7296]
    #[arg(long, value_name = "PORT")]
    insurance_port: Option<u16>,
    /// Folder for the database, keys and logs
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A server of your own, as an administrator, instead of a private one
    #[arg(
        long,
        value_name = "URL",
        env = "THREADPILOT_DATABASE_URL",
        hide_env_values = true
    )]
    database_url: Option<Secret>,
    /// What is wrong with Vehicle from the start
    #[arg(long, value_name = "FAULT", default_value = "normal")]
    pub(crate) vehicle_fault: Fault,
    /// Which log lines the services write
    #[arg(long, value_name = "FILTER", default_value = "info,sqlx=warn")]
    pub(crate) log_filter: String,
    /// Serve HTTPS with a self-made certificate for this machine
    #[arg(long)]
    pub(crate) https: bool,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// What a process that this program starts of itself is.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// One of the two services, on the socket that is its standard input
    #[command(hide = true)]
    Service {
        /// Which
        name: ServiceName,
        /// Process number of this program as the user started it
        #[arg(long)]
        parent: u32,
        /// Settings file of the service
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

/// One of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceName {
    /// Cars by registration number.
    Vehicle,
    /// Policies by person.
    Insurance,
}

impl ServiceName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Vehicle => vehicle_service::NAME,
            Self::Insurance => insurance_service::NAME,
        }
    }
}

impl Options {
    /// The server that was named. A variable that is set to nothing names none.
    pub(crate) fn database_url(&self) -> Option<&Secret> {
        self.database_url.as_ref().filter(|url| !url.is_empty())
    }

    /// The port that was asked for, or the documented one.
    pub(crate) fn port(&self, service: ServiceName) -> u16 {
        let (asked, http, https) = match service {
            ServiceName::Vehicle => (self.vehicle_port, 5081, 7297),
            ServiceName::Insurance => (self.insurance_port, 5082, 7296),
        };
        asked.unwrap_or(if self.https { https } else { http })
    }
}
