use service_database::Login;
use settings::Secret;

use crate::{error::Error, folder::Folder, options::ServiceName};

/// The secrets of the local stack. Made once and kept, so that a second start changes nothing.
pub(crate) struct Secrets {
    /// The key for both services' APIs, with every scope but `admin`.
    pub(crate) key: String,
    /// The key for the operators of Insurance, with the scope `admin`.
    pub(crate) operations_key: String,
    vehicle_client_key: String,
    signing_keys: [String; 2],
    fingerprint_key: String,
    passwords: [String; 4],
}

const ROLES: [&str; 4] = [
    "vehicle_service",
    "vehicle_migrator",
    "insurance_service",
    "insurance_migrator",
];

impl Secrets {
    pub(crate) fn open(folder: &Folder) -> Result<Self, Error> {
        let [a, b, c, d] = ROLES.map(|role| folder.secret(&format!("{role}.password")));
        Ok(Self {
            key: folder.secret("api.key")?,
            operations_key: folder.secret("operations.key")?,
            vehicle_client_key: folder.secret("vehicle-client.key")?,
            signing_keys: [
                folder.secret("vehicle-log.key")?,
                folder.secret("insurance-log.key")?,
            ],
            fingerprint_key: folder.secret("fingerprint.key")?,
            passwords: [a?, b?, c?, d?],
        })
    }

    /// The roles of both services with their passwords.
    pub(crate) fn logins(&self) -> Vec<Login> {
        let passwords = self
            .passwords
            .iter()
            .map(|password| Secret::from(password.as_str()));
        ROLES
            .into_iter()
            .zip(passwords)
            .map(|(role, password)| Login { role, password })
            .collect()
    }
}

/// Where the services are and how they find each other.
pub(crate) struct Places<'a> {
    pub(crate) database_url: &'a str,
    pub(crate) vehicle_url: &'a str,
    pub(crate) https: bool,
    pub(crate) log_filter: &'a str,
}

/// The variables that make a service part of the local stack.
pub(crate) fn of(
    service: ServiceName,
    places: &Places<'_>,
    secrets: &Secrets,
    folder: &Folder,
) -> Vec<(String, String)> {
    let file = |path: std::path::PathBuf| path.display().to_string();
    let [vehicle, vehicle_migrator, insurance, insurance_migrator] = secrets.passwords.clone();
    let [vehicle_log, insurance_log] = secrets.signing_keys.clone();
    let mut settings = vec![
        ("DATABASE__URL", places.database_url.to_owned()),
        ("API_KEYS__LOCAL__KEY", secrets.key.clone()),
        (
            "API_KEYS__LOCAL__SCOPES",
            "read,write,feed,audit".to_owned(),
        ),
        ("SERVER__DRAIN_DELAY", "0s".to_owned()),
        ("SERVER__SHUTDOWN_TIMEOUT", "3s".to_owned()),
        // The line that says that the service listens is waited for.
        (
            "LOG__FILTER",
            format!("{},service_defaults::process=info", places.log_filter),
        ),
    ];
    if places.https {
        settings.push(("SERVER__TLS_CERTIFICATE", file(folder.certificate())));
        settings.push(("SERVER__TLS_PRIVATE_KEY", file(folder.private_key())));
    }
    match service {
        ServiceName::Vehicle => settings.extend([
            ("DATABASE__PASSWORD", vehicle),
            ("DATABASE__MIGRATION_PASSWORD", vehicle_migrator),
            ("EVENT_LOG__SIGNING_KEY", vehicle_log),
            (
                "API_KEYS__INSURANCE_SERVICE__KEY",
                secrets.vehicle_client_key.clone(),
            ),
            // With the feed, so that `replica.enabled` is all that a copy needs.
            (
                "API_KEYS__INSURANCE_SERVICE__SCOPES",
                "read,feed".to_owned(),
            ),
        ]),
        ServiceName::Insurance => {
            settings.extend([
                ("DATABASE__PASSWORD", insurance),
                ("DATABASE__MIGRATION_PASSWORD", insurance_migrator),
                ("EVENT_LOG__SIGNING_KEY", insurance_log),
                (
                    "IDEMPOTENCY__FINGERPRINT_KEY",
                    secrets.fingerprint_key.clone(),
                ),
                ("API_KEYS__OPERATIONS__KEY", secrets.operations_key.clone()),
                ("API_KEYS__OPERATIONS__SCOPES", "admin".to_owned()),
                ("VEHICLE_CLIENT__BASE_URL", places.vehicle_url.to_owned()),
                (
                    "VEHICLE_CLIENT__API_KEY",
                    secrets.vehicle_client_key.clone(),
                ),
            ]);
            if places.https {
                settings.push(("VEHICLE_CLIENT__CA_CERTIFICATE", file(folder.certificate())));
            }
        }
    }
    let prefix = service.as_str().to_ascii_uppercase();
    settings
        .into_iter()
        .map(|(name, value)| (format!("{prefix}__{name}"), value))
        .collect()
}
