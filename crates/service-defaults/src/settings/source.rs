use std::{
    collections::HashMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use config::{Config, ConfigError, Environment, File, FileFormat};

use super::{
    Checked, Settings, SettingsError, Violations, common,
    sections::{Sections, without_quoted_value},
};

/// The options of a service's command line that say where settings come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Arguments {
    /// TOML file with settings that differ from the defaults
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// JSON file with secrets, one section for each service
    #[arg(long, value_name = "FILE", global = true)]
    pub secrets: Option<PathBuf>,
}

/// Where a service's settings come from.
#[derive(Clone)]
pub struct Sources {
    service: &'static str,
    manual: Vec<&'static str>,
    arguments: Arguments,
    environment: HashMap<String, String>,
}

impl Sources {
    /// The sources of the service of this name (also the section of the secrets file and, in
    /// upper case, the prefix of its variables) with its own parts of the manual.
    pub fn new(service: &'static str, manual: &[&'static str], arguments: Arguments) -> Self {
        Self {
            service,
            manual: manual.to_vec(),
            arguments,
            // Only the service's own are kept: others may be secrets, or no text at all.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .filter(|(name, _)| {
                    let name = name.to_ascii_lowercase();
                    name.strip_prefix(service)
                        .is_some_and(|rest| rest.starts_with("__"))
                })
                .collect(),
        }
    }

    /// Takes these variables for the environment instead of the process's own.
    #[must_use]
    pub fn with_environment<K: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.environment = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        self
    }

    /// Reads, layers and checks the settings.
    pub fn load<S: Checked>(&self) -> Result<Settings<S>, SettingsError> {
        // Before the files are read, so that a change in between is seen as one.
        let fingerprint = self.fingerprint();
        let mut layers =
            Config::builder().add_source(File::from_str(common::MANUAL, FileFormat::Toml));
        for part in &self.manual {
            layers = layers.add_source(File::from_str(part, FileFormat::Toml));
        }
        if let Some(path) = &self.arguments.config {
            layers = layers.add_source(parse(path, FileFormat::Toml)?);
        }
        if let Some(path) = &self.arguments.secrets {
            let secrets = parse(path, FileFormat::Json)?;
            if let Some(section) = secrets.cache.into_table()?.remove(self.service) {
                let section = section.into_table().map_err(|_| SettingsError::Value {
                    setting: format!("{}.{}", path.display(), self.service),
                    reason: "is no table of settings".to_owned(),
                })?;
                let mut own = Config::builder();
                for (name, value) in section {
                    own = own.set_override(name, value)?;
                }
                layers = layers.add_source(own.build()?);
            }
        }
        let variables = Environment::with_prefix(&self.service.to_ascii_uppercase())
            .prefix_separator("__")
            .separator("__")
            .source(Some(self.environment.clone()));
        let layered = layers.add_source(variables).build()?;
        let sections = Sections::from(layered.cache.into_table()?);
        let (common, service) = sections.read::<S>()?;
        let mut violations = Violations::default();
        common.check(&mut violations);
        service.check(&common, &mut violations);
        violations.into_result()?;
        Ok(Settings {
            common,
            service,
            fingerprint,
            sections,
        })
    }

    /// A hash over the contents of the files, which changes whenever one of them does; follows
    /// symbolic links, so that it sees a Kubernetes config map being swapped.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for path in [&self.arguments.config, &self.arguments.secrets]
            .into_iter()
            .flatten()
        {
            fs::read(path).ok().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Whether there is a file whose changes can be watched.
    pub(super) fn has_files(&self) -> bool {
        self.arguments.config.is_some() || self.arguments.secrets.is_some()
    }
}

fn parse(path: &Path, format: FileFormat) -> Result<Config, SettingsError> {
    let file = |reason: String| SettingsError::File {
        path: path.display().to_string(),
        reason,
    };
    let text = fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
    // A file that is being written is empty for a moment; defaults must not sneak in with it.
    if text.trim().is_empty() {
        return Err(file("is empty".to_owned()));
    }
    Config::builder()
        .add_source(File::from_str(&text, format))
        .build()
        .map_err(|error| {
            file(without_quoted_value(without_source_lines(
                &error.to_string(),
            )))
        })
}

/// TOML errors quote the line at fault (`3 | key = "…"`), which may hold a secret.
fn without_source_lines(error: &str) -> String {
    error
        .lines()
        .filter(|line| !line.contains('|'))
        .collect::<Vec<_>>()
        .join(" ")
}

impl From<ConfigError> for SettingsError {
    fn from(error: ConfigError) -> Self {
        Self::Syntax(error.to_string())
    }
}
