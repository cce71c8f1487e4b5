use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use super::Arguments;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// The longest wait for the files.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// The files that settings come from.
pub(super) struct Files {
    config: Option<Reader>,
    secrets: Option<Reader>,
}

/// What the files held at one moment. It may be secret.
#[derive(Hash)]
pub(super) struct Texts {
    pub(super) config: Option<Text>,
    pub(super) secrets: Option<Text>,
}

/// What one file held.
#[derive(Hash)]
pub(super) struct Text {
    /// The file.
    pub(super) path: PathBuf,
    /// Its text, or why it cannot be read.
    pub(super) read: Result<String, String>,
}

impl Files {
    pub(super) fn new(arguments: &Arguments) -> Self {
        let reader = |path: &PathBuf| Reader::new(path.clone(), contents);
        Self {
            config: arguments.config.as_ref().map(reader),
            secrets: arguments.secrets.as_ref().map(reader),
        }
    }

    /// Reads them, within 5 s.
    pub(super) fn read(&mut self) -> Texts {
        let until = Instant::now() + LIMIT;
        Texts {
            config: self.config.as_mut().map(|file| file.read(until)),
            secrets: self.secrets.as_mut().map(|file| file.read(until)),
        }
    }
}

impl Texts {
    /// Changes whenever one of the files does.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Reads one file, each time in a thread of its own: a file system may stall for as long as it
/// likes, and neither a request nor the stop of the process waits for it.
struct Reader {
    path: PathBuf,
    contents: fn(&Path) -> Result<String, String>,
    /// The thread that has not come back, instead of which no second one is started.
    unfinished: Option<Receiver<Result<String, String>>>,
}

impl Reader {
    fn new(path: PathBuf, contents: fn(&Path) -> Result<String, String>) -> Self {
        Self {
            path,
            contents,
            unfinished: None,
        }
    }

    fn read(&mut self, until: Instant) -> Text {
        let path = self.path.clone();
        let read = self.begin().and_then(|receiver| {
            let left = until.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok(read) => read,
                Err(RecvTimeoutError::Timeout) => {
                    self.unfinished = Some(receiver);
                    Err(format!("is not read within {}s", LIMIT.as_secs()))
                }
                Err(RecvTimeoutError::Disconnected) => Err("cannot be read".to_owned()),
            }
        });
        Text { path, read }
    }

    fn begin(&mut self) -> Result<Receiver<Result<String, String>>, String> {
        if let Some(unfinished) = self.unfinished.take() {
            return Ok(unfinished);
        }
        let (sender, receiver) = channel();
        let (path, contents) = (self.path.clone(), self.contents);
        thread::Builder::new()
            .name("settings-file".to_owned())
            // Nobody waits any more for what took too long before the process ended.
            .spawn(move || drop(sender.send(contents(&path))))
            .map_err(|error| error.to_string())?;
        Ok(receiver)
    }
}

/// Follows symbolic links, which is how Kubernetes swaps a config map.
fn contents(path: &Path) -> Result<String, String> {
    let reason = |error: io::Error| error.to_string();
    // Asked before it is opened: to open a FIFO is to wait for its writer.
    if !fs::metadata(path).map_err(reason)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let file = fs::File::open(path).map_err(reason)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    if read.map_err(reason)? as u64 > MAX_BYTES {
        return Err("is larger than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// A file on a file system that stalls until the file's folder is gone.
#[cfg(test)]
pub(super) struct Stalled(tempfile::TempDir);

#[cfg(test)]
impl Stalled {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn files(&self) -> Files {
        Files {
            config: Some(self.reader()),
            secrets: None,
        }
    }

    /// How often the file system was asked for it.
    pub(super) fn reads(&self) -> usize {
        fs::read(self.0.path().join("config.reads")).map_or(0, |reads| reads.len())
    }

    /// Ends the stall; by now there is no file.
    pub(super) fn end(self) {
        self.0.close().unwrap();
    }

    fn reader(&self) -> Reader {
        Reader::new(self.0.path().join("config.toml"), |path| {
            let reads = path.with_extension("reads");
            let mut reads = fs::OpenOptions::new().create(true).append(true).open(reads);
            io::Write::write_all(reads.as_mut().unwrap(), b".").unwrap();
            while path.parent().is_some_and(Path::exists) {
                thread::yield_now();
            }
            fs::read_to_string(path).map_err(|_| "gone".to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Stalled;

    #[test]
    fn a_file_that_stalls_is_given_up_and_holds_one_thread_however_often_it_is_read() {
        let stalled = Stalled::new();
        let mut reader = stalled.reader();
        for _ in 0..3 {
            let read = reader.read(Instant::now()).read;
            assert_eq!(read, Err("is not read within 5s".to_owned()));
        }
        while stalled.reads() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(stalled.reads(), 1);
        stalled.end();
        let patient = Instant::now() + Duration::from_mins(1);
        assert_eq!(reader.read(patient).read, Err("gone".to_owned()));
    }
}
