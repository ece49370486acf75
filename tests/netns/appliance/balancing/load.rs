//! Load by real clients: wrk for HTTP/1.1, h2load for HTTP/2, both counting what failed.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, until};

/// How many requests h2load makes before it says what it saw and begins anew, which it does only then.
const ROUND: &str = "4000";

/// A client that runs until it is told to end.
#[derive(Debug)]
pub(crate) enum Load {
    /// One that says what it saw when it is interrupted.
    Wrk(Option<Child>),
    /// One that is started again and again.
    H2load(Arc<AtomicBool>, Option<JoinHandle<Seen>>),
}

/// What a client saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
}

impl Lab {
    /// HTTP/1.1 over so many connections that are kept.
    pub(crate) fn wrk(&self, station: &str, url: &str, connections: u32) -> Load {
        let connections = connections.to_string();
        let arguments = ["wrk", "-t1", "-c", &connections, "-d", "600s", "--timeout", "30s", url];
        Load::Wrk(Some(quiet(self.command(station, &arguments)).spawn().unwrap()))
    }

    /// HTTP/2 over so many connections with four streams each.
    pub(crate) fn h2load(&self, station: &str, url: &str, connections: u32) -> Load {
        let connections = connections.to_string();
        let arguments = ["h2load", "-n", ROUND, "-c", &connections, "-m4", "-N", "30", url];
        let mut command = quiet(self.command(station, &arguments));
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let running = thread::spawn(move || {
            let mut all = Seen::default();
            while !stopped.load(Ordering::SeqCst) {
                let output = command.output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let seen = of_h2load(&text).unwrap_or_else(|| panic!("h2load said:\n{text}"));
                all.answered += seen.answered;
                all.failed += seen.failed;
            }
            all
        });
        Load::H2load(stop, Some(running))
    }
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Load {
    /// Ends the client, which says what it saw.
    pub(crate) fn end(mut self) -> Seen {
        match &mut self {
            Self::Wrk(child) => {
                let child = child.take().unwrap();
                // `ip netns exec` becomes the program: the signal reaches it.
                kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
                let output = child.wait_with_output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                of_wrk(&text).unwrap_or_else(|| panic!("wrk said:\n{text}"))
            }
            Self::H2load(stop, running) => {
                stop.store(true, Ordering::SeqCst);
                running.take().unwrap().join().unwrap()
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        match self {
            Self::Wrk(child) => {
                if let Some(mut child) = child.take() {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
            Self::H2load(stop, _) => stop.store(true, Ordering::SeqCst),
        }
    }
}

/// `  12345 requests in 1.00s, …`, `  Socket errors: connect 0, read 1, write 0, timeout 0`, `  Non-2xx or 3xx responses: 5`.
fn of_wrk(text: &str) -> Option<Seen> {
    let numbers = |line: &str| -> Vec<u64> {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    let answered = *numbers(text.lines().find(|line| line.contains(" requests in "))?).first()?;
    let errors = text.lines().find(|line| line.contains("Socket errors:"));
    let wrong = text.lines().find(|line| line.contains("Non-2xx"));
    let errors: u64 = errors.map(|line| numbers(line).iter().sum()).unwrap_or_default();
    let wrong = wrong.and_then(|line| numbers(line).last().copied()).unwrap_or_default();
    Some(Seen { answered, failed: errors + wrong })
}

/// `requests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout`.
fn of_h2load(text: &str) -> Option<Seen> {
    let line = text.lines().find(|line| line.starts_with("requests: "))?;
    let number = |word: &str| {
        let part = line.split(", ").find(|part| part.ends_with(word))?;
        part.trim_start_matches("requests: ").split(' ').next()?.parse::<u64>().ok()
    };
    Some(Seen { answered: number("succeeded")?, failed: number("failed")? + number("timeout")? })
}

/// Waits until a counter has grown by so much.
pub(crate) fn grows(what: &str, by: u64, counter: impl Fn() -> u64) {
    let before = counter();
    until(what, || (counter() >= before + by).then_some(()));
}
