use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use service_defaults::settings::{
    Arguments, Checked, CommonSettings, Settings, SettingsError, Sources, Violations, duration,
};
use service_defaults::worst_case::Figure;
use tempfile::TempDir;

pub(crate) const KEY: &str = "sample-key-0123456789";

/// The settings of a sample service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sample {
    pub(crate) sample: Section,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) word: String,
    #[serde(with = "duration")]
    pub(crate) pause: Duration,
}

impl Checked for Sample {
    const LIVE: &'static [&'static str] = &["sample"];

    fn check(&self, _: &CommonSettings, violations: &mut Violations) {
        let bounds = Duration::ZERO..=Duration::from_mins(1);
        violations.duration("sample.pause", self.sample.pause, bounds);
    }

    fn worst_case(&self, _: &CommonSettings) -> Vec<Figure> {
        let pause = self.sample.pause;
        vec![Figure::duration("longest_pause", pause, "sample.pause")]
    }
}

const MANUAL: &str = "[sample]\nword = \"manual\"\npause = \"1s\"\n";

/// The files and variables of one test. Without any, everything is as it should be.
pub(crate) struct Place {
    folder: TempDir,
    arguments: Arguments,
    variables: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            arguments: Arguments::default(),
            variables: vec![("SAMPLE__API_KEYS__TEST__KEY".into(), KEY.into())],
        }
    }

    /// Without the key that every other place has.
    pub(crate) fn without_key(mut self) -> Self {
        self.variables.clear();
        self
    }

    pub(crate) fn with_config(mut self, text: &str) -> Self {
        self.arguments.config = Some(self.path("config.toml"));
        self.write("config.toml", text);
        self
    }

    pub(crate) fn with_secrets(mut self, text: &str) -> Self {
        self.arguments.secrets = Some(self.path("secrets.json"));
        self.write("secrets.json", text);
        self
    }

    pub(crate) fn with_config_at(mut self, path: &Path) -> Self {
        self.arguments.config = Some(path.to_owned());
        self
    }

    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn sources(&self) -> Sources {
        Sources::new("sample", &[MANUAL], self.arguments.clone())
            .with_environment(self.variables.clone())
    }

    pub(crate) fn load(&self) -> Result<Settings<Sample>, SettingsError> {
        self.sources().load()
    }

    pub(crate) fn refused(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}
