use std::{ffi::OsString, path::PathBuf};

use config::{ConfigError, File, FileFormat, Map, Source as _, Value};

use super::{
    Checked, Settings, SettingsError, Violations, common,
    file::{Files, Text, Texts},
    sections::{Sections, check_numbers, lay_over, without_quoted_value},
    variables::Variables,
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
    variables: Variables,
}

impl Sources {
    /// The sources of the service of this name (also the section of the secrets file and, in
    /// upper case, the prefix of its variables) with its own parts of the manual.
    pub fn new(service: &'static str, manual: &[&'static str], arguments: Arguments) -> Self {
        Self {
            service,
            manual: [&[common::MANUAL], manual].concat(),
            arguments,
            variables: Variables::new(service, std::env::vars_os()),
        }
    }

    /// Takes these variables for the environment instead of the process's own.
    #[must_use]
    pub fn with_environment<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        self.variables = Variables::new(self.service, variables);
        self
    }

    /// Reads, layers and checks the settings.
    pub fn load<S: Checked>(&self) -> Result<Settings<S>, SettingsError> {
        self.settings(&self.files().read())
    }

    /// What is probably meant otherwise, a sentence each. It holds no value.
    pub fn warnings(&self) -> Vec<String> {
        // A manual that cannot be read is told by `load`.
        let manual = self.manual();
        manual.map_or_else(|_| Vec::new(), |manual| self.variables.warnings(&manual))
    }

    /// The files that can be watched.
    pub(super) fn files(&self) -> Files {
        Files::new(&self.arguments)
    }

    /// Whether there is a file whose changes can be watched.
    pub(crate) fn has_files(&self) -> bool {
        self.arguments.config.is_some() || self.arguments.secrets.is_some()
    }

    /// Layers and checks the settings, with the files as they were read.
    pub(super) fn settings<S: Checked>(&self, texts: &Texts) -> Result<Settings<S>, SettingsError> {
        let manual = self.manual()?;
        let mut layered = manual.clone();
        if let Some(config) = &texts.config {
            lay_over(&mut layered, parse(config, FileFormat::Toml)?);
        }
        if let Some(secrets) = &texts.secrets {
            let mut services = parse(secrets, FileFormat::Json)?.into_table()?;
            if let Some(section) = services.remove(self.service) {
                let section = section.into_table().map_err(|_| SettingsError::Value {
                    setting: format!("{}.{}", secrets.path.display(), self.service),
                    reason: "is no table of settings".to_owned(),
                })?;
                lay_over(&mut layered, Value::new(None, section));
            }
        }
        lay_over(&mut layered, self.variables.settings()?);
        checked(&manual, layered, texts.fingerprint())
            .map_err(|error| self.variables.named_in(error))
    }

    fn manual(&self) -> Result<Value, SettingsError> {
        let mut manual = Value::new(None, Map::<String, Value>::new());
        for part in &self.manual {
            let part = File::from_str(part, FileFormat::Toml).collect()?;
            lay_over(&mut manual, Value::new(None, part));
        }
        Ok(manual)
    }
}

fn checked<S: Checked>(
    manual: &Value,
    layered: Value,
    fingerprint: u64,
) -> Result<Settings<S>, SettingsError> {
    let mut violations = Violations::default();
    check_numbers("", manual, &layered, &mut violations);
    violations.into_result()?;
    let sections = Sections::from(layered.into_table()?);
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

fn parse(text: &Text, format: FileFormat) -> Result<Value, SettingsError> {
    let file = |reason: String| SettingsError::File {
        path: text.path.display().to_string(),
        reason,
    };
    let text = text.read.clone().map_err(file)?;
    // A file that is being written is empty for a moment; defaults must not sneak in with it.
    if text.trim().is_empty() {
        return Err(file("is empty".to_owned()));
    }
    // Not through a builder, which would take a key with a dot for a path.
    let table = File::from_str(&text, format).collect();
    let table = table.map_err(|error| {
        file(without_quoted_value(without_source_lines(
            &error.to_string(),
        )))
    })?;
    Ok(Value::new(None, table))
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
