use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// Most bytes of lines that wait to be written, those in hand included.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// How long lines are collected after a write. Under load one write takes many lines, and nobody
/// has to wake the thread for each of them.
const COLLECT: Duration = Duration::from_millis(5);
/// Most bytes of one write, unless a line is longer: a slow reader makes room with each of them.
const WRITE_BYTES: usize = 64 * 1024;
/// Longest wait for the lines that are left when the process ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Writes log lines in a thread of its own, so that nobody waits for whoever reads them. Lines for
/// which there is no room are dropped and counted. Clones share the thread.
///
/// `tracing-appender` does the same, but bounds the number of lines, not their bytes, wakes its
/// thread for each line, and when the reader stalls, its guard complains on stdout, which waits for
/// that same reader.
#[derive(Clone)]
pub(super) struct LogWriter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Told when the thread has to look at the queue.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Bytes that the thread has taken and not written yet.
    in_hand: usize,
    /// The thread waits for a line, however long.
    idle: bool,
    /// Answered when everything before them is written.
    flushes: Vec<mpsc::Sender<()>>,
    dropped_lines: u64,
}

impl LogWriter {
    /// Starts the thread.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writing = shared.clone();
        thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writing.write(to))?;
        Ok(Self(shared))
    }

    /// Takes a line, whole and with its end.
    pub(super) fn take(&self, line: &[u8]) {
        let mut queue = self.0.queue();
        if queue.lines.len() + queue.in_hand + line.len() > QUEUE_BYTES {
            queue.dropped_lines += 1;
            return;
        }
        queue.lines.extend_from_slice(line);
        let wake = mem::take(&mut queue.idle);
        drop(queue);
        if wake {
            self.0.changed.notify_one();
        }
    }

    /// Waits until the lines so far are written, for a second at most.
    pub(super) fn flush_lines(&self) {
        let (sender, flushed) = mpsc::channel();
        self.0.queue().flushes.push(sender);
        self.0.changed.notify_one();
        // Without an answer in time the reader stalls, and its lines are lost.
        let _ = flushed.recv_timeout(FLUSH_LIMIT);
    }

    /// Lines that were not written.
    pub(super) fn dropped_lines(&self) -> u64 {
        self.0.queue().dropped_lines
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut to: impl Write) {
        let mut lines = Vec::new();
        loop {
            let flushes = self.next(&mut lines);
            self.write_pieces(&mut to, &lines);
            // What one burst of lines took is given back.
            lines.clear();
            lines.shrink_to(WRITE_BYTES);
            for done in flushes {
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            let queue = self.queue();
            let nobody_asks = |queue: &mut Queue| queue.flushes.is_empty();
            let _ = self.changed.wait_timeout_while(queue, COLLECT, nobody_asks);
        }
    }

    fn write_pieces(&self, to: &mut impl Write, mut lines: &[u8]) {
        while !lines.is_empty() {
            let piece;
            (piece, lines) = lines.split_at(piece_bytes(lines));
            let failed = to.write_all(piece).and_then(|()| to.flush()).is_err();
            let mut queue = self.queue();
            queue.in_hand -= piece.len();
            if failed {
                let count = piece.split_inclusive(|byte| *byte == b'\n').count();
                queue.dropped_lines += count as u64;
            }
        }
    }

    /// Waits for lines, or for somebody who wants to know that they are written.
    fn next(&self, lines: &mut Vec<u8>) -> Vec<mpsc::Sender<()>> {
        let mut queue = self.queue();
        while queue.lines.is_empty() && queue.flushes.is_empty() {
            queue.idle = true;
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle = false;
        queue.in_hand = queue.lines.len();
        mem::swap(lines, &mut queue.lines);
        mem::take(&mut queue.flushes)
    }
}

/// Whole lines for one write.
fn piece_bytes(lines: &[u8]) -> usize {
    let ends = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
    match lines.get(..WRITE_BYTES) {
        None => lines.len(),
        Some(first) => match ends(first) {
            Some(end) => end + 1,
            None => lines
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(lines.len(), |end| end + 1),
        },
    }
}

/// Takes one line at a time, whole, as `tracing_subscriber::fmt` writes them.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
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
        thread,
        time::{Duration, Instant},
    };

    use super::{LogWriter, QUEUE_BYTES, WRITE_BYTES, piece_bytes};

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
        let line = long_line();
        for _ in 0..11 {
            writer.write_all(&line).unwrap();
        }
        assert_eq!(writer.dropped_lines(), 3);
        // It reads again: what had room arrives, and there is room for more.
        for _ in 0..9 {
            turn.send(()).unwrap();
        }
        writer.flush_lines();
        writer.write_all(b"last\n").unwrap();
        writer.flush_lines();
        assert_eq!(read.lock().unwrap().len(), 8 * line.len() + 5);
        assert_eq!(writer.dropped_lines(), 3);
    }

    /// An eighth of what may wait.
    fn long_line() -> Vec<u8> {
        let mut line = vec![b'x'; QUEUE_BYTES / 8 - 1];
        line.push(b'\n');
        line
    }

    fn wait_until_in_hand(writer: &LogWriter, bytes: usize) {
        while writer.0.queue().in_hand != bytes {
            thread::yield_now();
        }
    }

    #[test]
    fn a_slow_reader_makes_room_with_each_piece() {
        let (writer, turn, _read) = stalled();
        let line = long_line();
        writer.take(&line);
        wait_until_in_hand(&writer, line.len());
        for _ in 0..7 {
            writer.take(&line);
        }
        writer.take(&line);
        assert_eq!(writer.dropped_lines(), 1);
        // The first line by itself, then the first of the seven.
        turn.send(()).unwrap();
        turn.send(()).unwrap();
        wait_until_in_hand(&writer, 6 * line.len());
        for _ in 0..2 {
            writer.take(&line);
        }
        assert_eq!(writer.dropped_lines(), 1);
        writer.take(&line);
        assert_eq!(writer.dropped_lines(), 2);
    }

    #[test]
    fn a_write_ends_with_a_line() {
        let mut lines = [b'x'; 100].repeat(WRITE_BYTES / 100 + 1);
        lines[99] = b'\n';
        assert_eq!(piece_bytes(&lines), 100);
        assert_eq!(piece_bytes(&lines[..WRITE_BYTES - 1]), WRITE_BYTES - 1);
        assert_eq!(piece_bytes(&lines[100..]), lines.len() - 100);
    }

    /// A reader that says what each write brought.
    struct Told(Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_written_without_another_one() {
        let (sender, written) = mpsc::channel();
        let writer = LogWriter::start(Told(sender)).unwrap();
        for line in [&b"first\n"[..], b"second\n"] {
            writer.take(line);
            assert_eq!(written.recv_timeout(Duration::from_secs(20)).unwrap(), line);
        }
    }

    #[test]
    fn lines_that_come_during_a_write_are_written_together() {
        let (writer, turn, read) = stalled();
        writer.take(b"a\n");
        // The thread holds the first line, and nobody reads yet.
        wait_until_in_hand(&writer, 2);
        for _ in 0..100 {
            writer.take(b"b\n");
        }
        for _ in 0..2 {
            turn.send(()).unwrap();
        }
        drop(turn);
        writer.flush_lines();
        assert_eq!(read.lock().unwrap().len(), 202);
        assert_eq!(writer.dropped_lines(), 0);
    }

    #[test]
    fn a_flush_to_a_stalled_reader_is_given_up() {
        let (mut writer, _turn, read) = stalled();
        writer.write_all(b"line\n").unwrap();
        let started = Instant::now();
        writer.flush_lines();
        assert!(started.elapsed() < Duration::from_secs(20));
        assert!(read.lock().unwrap().is_empty());
    }

    #[test]
    fn lines_for_a_reader_that_is_gone_are_counted() {
        let (mut writer, turn, _) = stalled();
        drop(turn);
        writer.write_all(b"line\n").unwrap();
        writer.flush_lines();
        assert_eq!(writer.dropped_lines(), 1);
    }
}
