use std::{ffi::OsString, path::PathBuf};

use config::{FileFormat, Value};

use crate::{
    Section, SettingsError, Violations,
    file::{Files, Texts},
    layers::{self, lay_over},
    reader::{self, Findings},
    reference,
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
    defaults: &'static [(&'static str, &'static str)],
    arguments: Arguments,
    variables: Variables,
}

/// Settings as they were read.
#[derive(Debug)]
pub struct Loaded<R> {
    /// What they say.
    pub settings: R,
    pub(crate) applied: Applied,
}

/// What settings were made of.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The contents of the files.
    pub(crate) fingerprint: u64,
    /// What there was to say about them and about the variables.
    pub(crate) warnings: Vec<String>,
}

impl Sources {
    /// The sources of the service of this name (also the section of the secrets file and, in
    /// upper case, the prefix of its variables), with the defaults that it sets for itself: paths
    /// and TOML values.
    pub fn new(
        service: &'static str,
        defaults: &'static [(&'static str, &'static str)],
        arguments: Arguments,
    ) -> Self {
        Self {
            service,
            defaults,
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
    pub fn load<R: Section>(&self) -> Result<R, SettingsError> {
        self.read().0.map(|loaded| loaded.settings)
    }

    /// The same, and what is probably meant otherwise or gone, a sentence each, which holds no
    /// value.
    pub fn read<R: Section>(&self) -> (Result<Loaded<R>, SettingsError>, Vec<String>) {
        self.settings(&self.files().read())
    }

    /// All settings with their defaults, as a TOML file.
    pub fn reference<R: Section>(&self) -> String {
        reference(&R::fields(), self.defaults)
    }

    /// The files that can be watched.
    pub(crate) fn files(&self) -> Files {
        Files::new(&self.arguments)
    }

    /// Whether there is a file whose changes can be watched.
    pub fn has_files(&self) -> bool {
        self.arguments.config.is_some() || self.arguments.secrets.is_some()
    }

    /// Layers and checks the settings, with the files as they were read.
    pub(crate) fn settings<R: Section>(
        &self,
        texts: &Texts,
    ) -> (Result<Loaded<R>, SettingsError>, Vec<String>) {
        let mut warnings = Vec::new();
        let read = self.layered(texts, &mut warnings);
        let loaded = read.map(|settings| Loaded {
            settings,
            applied: Applied {
                fingerprint: texts.fingerprint(),
                warnings: warnings.clone(),
            },
        });
        (loaded, warnings)
    }

    fn layered<R: Section>(
        &self,
        texts: &Texts,
        warnings: &mut Vec<String>,
    ) -> Result<R, SettingsError> {
        let mut layered = table_of(&self.reference::<R>())?;
        *warnings = self.variables.warnings(&layered);
        let files = layers::of_files(texts, self.service)?;
        for (_, layer) in &files {
            lay_over(&mut layered, layer.clone());
        }
        lay_over(&mut layered, self.variables.settings()?);
        let mut findings = Findings::default();
        let read = reader::read("", layered, &mut findings);
        let origin = |setting: &str| {
            let variables = self.variables.that_set(setting);
            let file = || files.iter().rev().find(|(_, it)| layers::sets(it, setting));
            variables.or_else(|| file().map(|(name, _)| name.clone()))
        };
        warnings.extend(findings.removed.with_origins(origin).sentences());
        finished(read, findings.violations.with_origins(origin))
    }
}

/// One table at this path, such as `database`: its defaults with what this TOML changes in it.
pub fn parse<S: Section>(at: &str, toml: &str) -> Result<S, SettingsError> {
    let mut findings = Findings::default();
    let mut layered = table_of(&reference(&S::fields(), &[]))?;
    lay_over(&mut layered, table_of(toml)?);
    let read = reader::read(at, layered, &mut findings);
    finished(read, findings.violations)
}

/// What was read, if nothing is wrong with it. Where nothing was read, it was said why.
fn finished<S>(read: Option<S>, violations: Violations) -> Result<S, SettingsError> {
    violations.into_result()?;
    read.ok_or(SettingsError::Violations(Vec::new()))
}

fn table_of(toml: &str) -> Result<Value, SettingsError> {
    layers::table(toml, FileFormat::Toml).map_err(|reason| SettingsError::File {
        path: "defaults".to_owned(),
        reason,
    })
}
