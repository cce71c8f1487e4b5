use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use crate::Arguments;

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

/// Reads a file that a setting names, such as a certificate, of at most 1 MiB and within 5 s.
///
/// # Errors
///
/// The reason, in words that follow the path.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut reader = Reader::new(path.to_owned(), bounded);
    reader.begin();
    reader.bytes(Instant::now() + LIMIT)
}

impl Files {
    pub(super) fn new(arguments: &Arguments) -> Self {
        let reader = |path: &PathBuf| Reader::new(path.clone(), contents);
        Self {
            config: arguments.config.as_ref().map(reader),
            secrets: arguments.secrets.as_ref().map(reader),
        }
    }

    /// Reads them side by side, within 5 s.
    pub(super) fn read(&mut self) -> Texts {
        self.read_until(Instant::now() + LIMIT)
    }

    fn read_until(&mut self, until: Instant) -> Texts {
        for file in [&mut self.config, &mut self.secrets].into_iter().flatten() {
            file.begin();
        }
        let text = |file: &mut Reader| file.text(until);
        Texts {
            config: self.config.as_mut().map(text),
            secrets: self.secrets.as_mut().map(text),
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
    contents: fn(&Path) -> Contents,
    /// The thread that reads, also after its time: no second one is started beside it.
    begun: Option<Receiver<Contents>>,
}

/// What a file holds, or why it cannot be read.
type Contents = Result<Vec<u8>, String>;

impl Reader {
    fn new(path: PathBuf, contents: fn(&Path) -> Contents) -> Self {
        Self {
            path,
            contents,
            begun: None,
        }
    }

    fn begin(&mut self) {
        if self.begun.is_some() {
            return;
        }
        let (sender, receiver) = channel();
        let (path, contents) = (self.path.clone(), self.contents);
        // A thread that does not start drops the sender, which is told below.
        let _ = thread::Builder::new()
            .name("settings-file".to_owned())
            // Nobody waits any more for what took too long before the process ended.
            .spawn(move || drop(sender.send(contents(&path))));
        self.begun = Some(receiver);
    }

    fn text(&mut self, until: Instant) -> Text {
        let text = |bytes| String::from_utf8(bytes).map_err(|error| error.to_string());
        Text {
            path: self.path.clone(),
            read: self.bytes(until).and_then(text),
        }
    }

    /// What was read, if it is there by then.
    fn bytes(&mut self, until: Instant) -> Contents {
        let left = until.saturating_duration_since(Instant::now());
        let read = match self.begun.take() {
            None => Err(RecvTimeoutError::Disconnected),
            Some(begun) => begun.recv_timeout(left).inspect_err(|error| {
                if *error == RecvTimeoutError::Timeout {
                    self.begun = Some(begun);
                }
            }),
        };
        read.unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => format!("is not read within {}s", LIMIT.as_secs()),
                RecvTimeoutError::Disconnected => "cannot be read".to_owned(),
            })
        })
    }
}

/// Follows symbolic links, which is how Kubernetes swaps a config map.
fn contents(path: &Path) -> Contents {
    let reason = |error: io::Error| error.to_string();
    // Asked before it is opened: to open a FIFO is to wait for its writer.
    if !fs::metadata(path).map_err(reason)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    bounded(path)
}

fn bounded(path: &Path) -> Contents {
    let reason = |error: io::Error| error.to_string();
    let file = fs::File::open(path).map_err(reason)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    if read.map_err(reason)? as u64 > MAX_BYTES {
        return Err("is larger than 1 MiB".to_owned());
    }
    Ok(bytes)
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

    /// This file with another one that holds `{}`.
    fn files_with_a_good_one(&self) -> Files {
        let good = Reader::new(PathBuf::from("secrets.json"), |_| Ok(b"{}".to_vec()));
        Files {
            secrets: Some(good),
            ..self.files()
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
            fs::read(path).map_err(|_| "gone".to_owned())
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
        let mut read = |until| {
            reader.begin();
            reader.text(until).read
        };
        for _ in 0..3 {
            let read = read(Instant::now());
            assert_eq!(read, Err("is not read within 5s".to_owned()));
        }
        while stalled.reads() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(stalled.reads(), 1);
        stalled.end();
        let patient = Instant::now() + Duration::from_mins(1);
        assert_eq!(read(patient), Err("gone".to_owned()));
    }

    #[test]
    fn a_file_that_stalls_takes_no_time_from_the_other_one() {
        let stalled = Stalled::new();
        let mut files = stalled.files_with_a_good_one();
        let texts = files.read_until(Instant::now() + Duration::from_millis(500));
        let read = [texts.config, texts.secrets].map(|text| text.unwrap().read);
        let late = Err("is not read within 5s".to_owned());
        assert_eq!(read, [late, Ok("{}".to_owned())]);
    }
}
