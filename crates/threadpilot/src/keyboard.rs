//! Faults of Vehicle, typed into the terminal that runs the stack.

use std::{
    future::pending,
    io::{IsTerminal, Stdin, stdin},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::getpgrp,
    termios::tcgetpgrp,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{fault::Fault, screen};

/// How often a program in the background looks whether it has come to the foreground.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The words that are typed, one on a line.
pub(crate) struct Keyboard(UnboundedReceiver<Fault>);

impl Keyboard {
    /// `None` when nobody can type.
    pub(crate) fn open() -> Option<Self> {
        let terminal = stdin();
        if !terminal.is_terminal() {
            return None;
        }
        let (typed, faults) = unbounded_channel();
        // Not tokio's standard input, whose read would hold up the end of the program.
        thread::spawn(move || read(&terminal, &typed));
        Some(Self(faults))
    }

    /// The next fault that is typed.
    pub(crate) async fn next(&mut self) -> Fault {
        match self.0.recv().await {
            Some(fault) => fault,
            // The terminal is gone.
            None => pending().await,
        }
    }
}

fn read(terminal: &Stdin, typed: &UnboundedSender<Fault>) {
    let mut buffer = [0; 128];
    loop {
        let waited = poll(&mut [PollFd::new(terminal, PollFlags::IN)], None);
        // A read in the background would stop the whole program.
        if waited.is_ok() && !in_foreground(terminal) {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        let line = match waited.and_then(|_| rustix::io::read(terminal, &mut buffer)) {
            Err(Errno::INTR) => continue,
            Ok(0) | Err(_) => return,
            // A terminal gives one line at a time.
            Ok(length) => String::from_utf8_lossy(&buffer[..length]),
        };
        match Fault::typed(&line) {
            Some(fault) => {
                if typed.send(fault).is_err() {
                    return;
                }
            }
            None if line.trim().is_empty() => {}
            None => screen::step(screen::FAULTS),
        }
    }
}

fn in_foreground(terminal: &Stdin) -> bool {
    // It fails for a terminal that does not control this program and so does not stop it either.
    tcgetpgrp(terminal).map_or(true, |group| group == getpgrp())
}
