use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use service_defaults::settings::{Checked, Settings};
use settings::{Arguments, Figure, SettingsError, Sources};
use tempfile::TempDir;

pub(crate) const KEY: &str = "sample-key-0123456789";

settings::section! {
    /// The settings of a sample service.
    pub(crate) struct Sample {
        /// The service's own.
        pub(crate) sample: Part;
        /// Live in part.
        pub(crate) mixed: Mixed;
    }
    live { sample }
}

settings::section! {
    pub(crate) struct Mixed {
        /// Taken at once.
        pub(crate) now: String = "default";
        /// Taken at a start.
        pub(crate) later: String = "default";
    }
    live { now }
}

settings::section! {
    pub(crate) struct Part {
        /// A word.
        pub(crate) word: String = "default";
        /// A pause.
        pub(crate) pause: Duration = "10s", in Duration::ZERO..=settings::seconds(60);
    }
    removed {
        "rest" => "is 7 ms",
    }
}

impl Checked for Sample {
    fn worst_case(&self) -> Vec<Figure> {
        let pause = self.sample.pause;
        vec![Figure::duration("longest_pause", pause, "sample.pause")]
    }
}

/// What the service sets otherwise.
const DEFAULTS: &[(&str, &str)] = &[("sample.word", r#""own""#)];

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
        Sources::new("sample", DEFAULTS, self.arguments.clone())
            .with_environment(self.variables.clone())
    }

    pub(crate) fn load(&self) -> Result<Settings<Sample>, SettingsError> {
        self.sources().load()
    }

    pub(crate) fn refused(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}
