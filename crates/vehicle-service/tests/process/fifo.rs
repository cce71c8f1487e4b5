use std::{process::Command, time::Duration};

use tempfile::TempDir;
use tokio::{
    net::unix::pipe::{OpenOptions, Sender},
    time::sleep,
};

/// A named pipe: whoever reads it waits for a writer.
pub(crate) struct Fifo {
    folder: TempDir,
    path: String,
}

impl Fifo {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo").to_str().unwrap().to_owned();
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        Self { folder, path }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path of another file in its folder.
    pub(crate) fn beside(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Waits until somebody reads it, who then waits for as long as the writer is kept.
    pub(crate) async fn reader(&self) -> Sender {
        loop {
            if let Ok(writer) = OpenOptions::new().open_sender(&self.path) {
                return writer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}
