//! Standard output and standard error, as writers that tests can read.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use super::error::{CliError, Exit};
use super::json::pretty;

/// Clears a terminal and goes to its upper left corner (ECMA-48: ED, CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Goes to the beginning of the line and clears it (ECMA-48: EL).
const LINE: &str = "\r\x1b[K";

/// Where answers and complaints go.
pub struct Output<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    terminal: bool,
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl<'a> Output<'a> {
    /// Output to these; `terminal` says whether `stdout` is one.
    pub fn new(stdout: &'a mut dyn Write, stderr: &'a mut dyn Write, terminal: bool) -> Self {
        Self { stdout, stderr, terminal }
    }

    /// Prints an answer that ends with a line feed, at once.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())?;
        self.stdout.flush()
    }

    /// Prints an answer in place of the one before; where that cannot be wiped, behind it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn repaint(&mut self, text: &str) -> io::Result<()> {
        let text = if self.terminal { format!("{CLEAR}{text}") } else { format!("{text}\n") };
        self.print(&text)
    }

    /// Says how far something is, in place of what was said before; nobody who reads a file wants to know.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn progress(&mut self, text: &str) -> io::Result<()> {
        if !self.terminal {
            return Ok(());
        }
        write!(self.stderr, "{LINE}{text}")?;
        self.stderr.flush()
    }

    /// Says what went wrong: a problem document as JSON to standard output where JSON is asked for, all else to
    /// standard error.
    pub(super) fn error(&mut self, error: &CliError, json: bool) -> Exit {
        match error {
            // Whoever read the answer has seen enough of it.
            CliError::Output(reason) if reason.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            CliError::Problem { body, .. } if json => match pretty(body) {
                Ok(text) => match self.print(&format!("{text}\n")) {
                    Ok(()) => error.exit(),
                    Err(_) => self.say(error),
                },
                Err(_) => self.say(error),
            },
            CliError::Problem { .. }
            | CliError::Unreachable { .. }
            | CliError::NoAnswer { .. }
            | CliError::Nonsense { .. }
            | CliError::Input { .. }
            | CliError::Output(_) => self.say(error),
        }
    }

    fn say(&mut self, error: &CliError) -> Exit {
        // Where this cannot be written either, the exit code still tells.
        let _ = writeln!(self.stderr, "{error}");
        error.exit()
    }

    /// Says that this machine is at fault.
    pub fn complain(&mut self, what: &str) -> Exit {
        // As above.
        let _ = writeln!(self.stderr, "{what}");
        Exit::Usage
    }
}

/// Text without anything that a terminal would obey, or that would show it in another order than it has.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || c.is_control()
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match obeyed(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}
