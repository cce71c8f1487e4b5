use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// Most bytes of lines that wait to be written.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Longest wait for the lines that are left when the process ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Writes log lines in a thread of its own, so that nobody waits for whoever reads them. Lines for
/// which there is no room are dropped and counted. Clones share the thread.
///
/// `tracing-appender` does the same, but bounds the number of lines, not their bytes, and when the
/// reader stalls, its guard complains on stdout, which waits for that same reader.
#[derive(Clone)]
pub(super) struct LogWriter {
    queue: Sender<Entry>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    queued_bytes: AtomicUsize,
    dropped_lines: AtomicU64,
}

enum Entry {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(Sender<()>),
}

impl LogWriter {
    /// Starts the thread.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, entries) = mpsc::channel();
        let counts = Arc::<Counts>::default();
        let writing = counts.clone();
        thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || write(to, &entries, &writing))?;
        Ok(Self { queue, counts })
    }

    /// Takes a line, whole.
    pub(super) fn take(&self, line: Vec<u8>) {
        let (counts, length) = (&self.counts, line.len());
        let queued = counts.queued_bytes.fetch_add(length, Ordering::Relaxed);
        let full = queued.saturating_add(length) > QUEUE_BYTES;
        if full || self.queue.send(Entry::Line(line)).is_err() {
            counts.queued_bytes.fetch_sub(length, Ordering::Relaxed);
            counts.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the lines so far are written, for a second at most.
    pub(super) fn flush_lines(&self) {
        let (sender, flushed) = mpsc::channel();
        if self.queue.send(Entry::Flush(sender)).is_ok() {
            // Without an answer in time the reader stalls, and its lines are lost.
            let _ = flushed.recv_timeout(FLUSH_LIMIT);
        }
    }

    /// Lines that were not written.
    pub(super) fn dropped_lines(&self) -> u64 {
        self.counts.dropped_lines.load(Ordering::Relaxed)
    }
}

fn write(mut to: impl Write, entries: &Receiver<Entry>, counts: &Counts) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                if to.write_all(&line).is_err() {
                    counts.dropped_lines.fetch_add(1, Ordering::Relaxed);
                }
                counts.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            }
            Entry::Flush(done) => {
                let _ = to.flush();
                // Whoever asked may have given up.
                let _ = done.send(());
            }
        }
    }
}

/// Takes one line at a time, whole, as `tracing_subscriber::fmt` writes them.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{
            Arc, Mutex,
            mpsc::{self, Receiver, Sender},
        },
        time::{Duration, Instant},
    };

    use super::{LogWriter, QUEUE_BYTES};

    /// A reader that takes a line whenever the test lets it.
    struct Reader {
        turns: Receiver<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turns.recv().map_err(io::Error::other)?;
            self.read.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalled() -> (LogWriter, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (turn, turns) = mpsc::channel();
        let read = Arc::<Mutex<Vec<u8>>>::default();
        let reader = Reader {
            turns,
            read: read.clone(),
        };
        (LogWriter::start(reader).unwrap(), turn, read)
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_no_time() {
        let (mut writer, turn, read) = stalled();
        let line = vec![b'x'; QUEUE_BYTES / 8];
        for _ in 0..11 {
            writer.write_all(&line).unwrap();
        }
        assert_eq!(writer.dropped_lines(), 3);
        // It reads again: what had room arrives, and there is room for more.
        for _ in 0..9 {
            turn.send(()).unwrap();
        }
        writer.flush_lines();
        writer.write_all(b"last").unwrap();
        writer.flush_lines();
        assert_eq!(read.lock().unwrap().len(), 8 * line.len() + 4);
        assert_eq!(writer.dropped_lines(), 3);
    }

    #[test]
    fn a_flush_to_a_stalled_reader_is_given_up() {
        let (mut writer, _turn, read) = stalled();
        writer.write_all(b"line").unwrap();
        let started = Instant::now();
        writer.flush_lines();
        assert!(started.elapsed() < Duration::from_secs(20));
        assert!(read.lock().unwrap().is_empty());
    }

    #[test]
    fn lines_for_a_reader_that_is_gone_are_counted() {
        let (mut writer, turn, _) = stalled();
        drop(turn);
        writer.write_all(b"line").unwrap();
        writer.flush_lines();
        assert_eq!(writer.dropped_lines(), 1);
    }
}
