//! The lines that a station reads: which, and when. No line ever waits for its reader: what does not fit is left out.

use std::fmt;
use std::io;

use tokio::net::TcpStream;

use crate::pool::state::{Finish, Told};

/// The line that stations wait for. Old ones compare it as a whole.
pub(super) const CONNECT: &str = "RULE ADDED, CONNECT NOW!";
/// The line by which a station asks to be told of its session as well. Without it the connection is closed once the viewer
/// is connected, because an old station's `nc` ends only then.
const STAY: &[u8] = b"STAY";
/// The most octets that wait for a station; a line that does not fit is left out.
const PENDING: usize = 4096;
/// How many beats pass until a line that says nothing new comes again, so that a station that is gone is noticed.
const REPEAT: u8 = 5;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// The one that counts.
    Connect,
    /// The ticket, which comes before it.
    Ticket(String),
    /// The place in the queue and what is waited for.
    Wait { position: usize, reason: String },
    /// The session goes on.
    InSession,
    /// The session ends soon.
    Idle { seconds: u64 },
    /// The end.
    Over(Finish),
    /// The station has another connection.
    Replaced,
    /// More stations than are listened to.
    TooMany,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => writeln!(f, "{CONNECT}"),
            Self::Ticket(ticket) => writeln!(f, "TICKET {ticket}"),
            Self::Wait { position, reason } => writeln!(f, "WAIT {position}: {reason}"),
            Self::InSession => writeln!(f, "SESSION: your VM is running"),
            Self::Idle { seconds } => {
                writeln!(f, "WARNING: nobody touches anything; the session ends in {seconds} s")
            }
            Self::Over(Finish::Connected) => writeln!(f, "CONNECTED"),
            Self::Over(Finish::NotCome) => writeln!(f, "TIMEOUT: no viewer came, the VM is given to others"),
            Self::Over(Finish::TooLong) => writeln!(f, "TIMEOUT: no VM became free, ask again later"),
            Self::Over(Finish::SessionOver) => writeln!(f, "SESSION OVER"),
            Self::Replaced => {
                writeln!(f, "CLOSED: this station asks by another connection, or the pool ends")
            }
            Self::TooMany => writeln!(f, "BUSY: too many stations wait, ask again later"),
        }
    }
}

/// What is said to one station.
#[derive(Debug, Default)]
pub(super) struct Lines {
    told: Option<Told>,
    pending: Vec<u8>,
    beats: u8,
    heard: Vec<u8>,
    stays: bool,
    may_connect: bool,
}

impl Lines {
    /// What is told is another thing now: it is said at once.
    pub(super) fn changed(&mut self, told: &Told) {
        if self.told.as_ref() == Some(told) {
            return;
        }
        self.may_connect |= matches!(told, Told::Connect { .. });
        if let Told::Connect { ticket: Some(ticket) } = told {
            self.say(&Words::Ticket(ticket.clone()));
        }
        self.told = Some(told.clone());
        self.beats = 0;
        self.repeat();
    }

    /// A second passed.
    pub(super) fn beat(&mut self) {
        self.beats = self.beats.saturating_add(1);
        let each = if matches!(self.told, Some(Told::Connect { .. })) { 1 } else { REPEAT };
        if self.beats >= each {
            self.beats = 0;
            self.repeat();
        }
    }

    /// Whether something waits for room.
    pub(super) const fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the connection ends with what is told now. An old station's does once its viewer is connected, whichever of
    /// the words for that it was told.
    pub(super) const fn ends(&self) -> bool {
        match &self.told {
            Some(Told::Over(Finish::Connected)) => !self.stays,
            Some(Told::Over(_)) => true,
            Some(Told::InSession | Told::Idle { .. }) => self.may_connect && !self.stays,
            _ => false,
        }
    }

    /// A station said something.
    pub(super) fn heard(&mut self, octets: &[u8]) {
        for octet in octets {
            if *octet == b'\n' {
                self.stays |= self.heard.strip_suffix(b"\r").unwrap_or(&self.heard) == STAY;
                self.heard.clear();
            } else if self.heard.len() <= STAY.len() {
                self.heard.push(*octet);
            }
        }
    }

    /// Says a line, if it fits.
    pub(super) fn say(&mut self, words: &Words) {
        let line = words.to_string();
        if self.pending.len() + line.len() <= PENDING {
            self.pending.extend_from_slice(line.as_bytes());
        }
    }

    /// Sends what the kernel takes without waiting.
    pub(super) fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.pending.is_empty() {
            match stream.try_write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn repeat(&mut self) {
        let words = match &self.told {
            None => return,
            Some(Told::Connect { .. }) => Words::Connect,
            // Before the manager has looked there is nothing to say.
            Some(Told::Wait { position: 0, .. }) => return,
            Some(Told::Wait { position, reason }) => {
                Words::Wait { position: *position, reason: reason.clone() }
            }
            Some(Told::InSession) => Words::InSession,
            Some(Told::Idle { left }) => Words::Idle { seconds: left.as_secs() },
            Some(Told::Over(finish)) => Words::Over(*finish),
        };
        self.say(&words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &mut Lines) -> String {
        String::from_utf8(std::mem::take(&mut lines.pending)).unwrap()
    }

    #[test]
    fn the_line_that_counts_comes_at_once_and_each_second() {
        let mut lines = Lines::default();
        lines.changed(&Told::Wait { position: 2, reason: "all VMs are in use".to_owned() });
        assert_eq!(said(&mut lines), "WAIT 2: all VMs are in use\n");
        lines.changed(&Told::Connect { ticket: Some("t".to_owned()) });
        assert_eq!(said(&mut lines), "TICKET t\nRULE ADDED, CONNECT NOW!\n");
        for _ in 0..3 {
            lines.beat();
            assert_eq!(said(&mut lines), "RULE ADDED, CONNECT NOW!\n");
        }
        lines.changed(&Told::Over(Finish::Connected));
        assert_eq!(said(&mut lines), "CONNECTED\n");
        assert!(lines.ends());
        lines.changed(&Told::InSession);
        assert!(lines.ends(), "whichever of the two was seen");
    }

    #[test]
    fn whoever_does_not_read_is_not_waited_for() {
        let mut lines = Lines::default();
        lines.changed(&Told::Connect { ticket: None });
        for _ in 0..10_000 {
            lines.beat();
        }
        assert!(lines.pending.len() <= PENDING);
        assert!(said(&mut lines).lines().all(|line| line == CONNECT), "no line is cut");
    }

    #[test]
    fn a_station_that_asks_for_it_hears_of_its_session() {
        let mut lines = Lines::default();
        lines.heard(b"noise that is longer than the word\r\nST");
        assert!(!lines.stays);
        lines.heard(b"AY\r\n");
        lines.changed(&Told::Over(Finish::Connected));
        assert!(!lines.ends());
        lines.changed(&Told::Over(Finish::TooLong));
        assert!(lines.ends());
    }
}
