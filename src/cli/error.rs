//! What can go wrong, in words that help, and the exit code that tells scripts which of it did.

use std::io;
use std::process::ExitCode;

use serde_json::Value;

use super::field::text;
use super::output::plain;

/// How the program ends. The numbers are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked is done.
    Done = 0,
    /// The router refused, and nothing changed.
    Refused = 1,
    /// The command line, a file or the output is at fault.
    Usage = 2,
    /// The router cannot be reached.
    Unreachable = 3,
    /// The router failed, or what it says is not understood.
    Failed = 4,
    /// The router answers, and is not as it should be.
    NotOk = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No connection.
    #[error("cannot reach the router at {address}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// The system's words.
        reason: String,
    },
    /// A connection, and no whole answer on it.
    #[error("no answer from the router at {address}: {reason}; whether it did what was asked is not known")]
    NoAnswer {
        /// Where it is.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// An answer that a router does not give.
    #[error("{address} answers what is not understood: {what}; is it a vrouter?")]
    Nonsense {
        /// Where it came from.
        address: String,
        /// What is wrong with it.
        what: String,
    },
    /// The router says what is wrong (RFC 9457).
    #[error("{}", problem(document))]
    Problem {
        /// The HTTP status.
        status: u16,
        /// The problem document.
        document: Value,
        /// The same, octet by octet.
        body: Vec<u8>,
    },
    /// A file that cannot be read.
    #[error("cannot read {file}: {reason}")]
    Input {
        /// Which.
        file: String,
        /// Why.
        reason: String,
    },
    /// Output that cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// How the program ends with this.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            // What timed out in the router (408) may have been done: it is no refusal.
            Self::Problem { status: 408, .. } => Exit::Failed,
            Self::Problem { status: 400..=499, .. } => Exit::Refused,
            Self::Problem { .. } | Self::NoAnswer { .. } | Self::Nonsense { .. } => Exit::Failed,
            Self::Input { .. } | Self::Output(_) => Exit::Usage,
        }
    }
}

/// A problem document for people: what is wrong, then each fault of the configuration on a line.
fn problem(document: &Value) -> String {
    let mut lines = vec![format!("{}: {}", text(document, "title"), text(document, "detail"))];
    for fault in document.get("faults").and_then(Value::as_array).into_iter().flatten() {
        let place = fault.get("pointer").and_then(Value::as_str).filter(|place| !place.is_empty());
        lines.push(format!("{}: {}", place.unwrap_or("document"), text(fault, "detail")));
    }
    let lines: Vec<_> = lines.iter().map(|line| plain(line)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(status: u16, document: Value) -> CliError {
        CliError::Problem { status, document, body: Vec::new() }
    }

    #[test]
    fn a_problem_is_a_line_and_a_line_for_each_fault() {
        let document = json!({
            "type": "urn:vrouter:problem:invalid-configuration",
            "title": "The configuration has faults; nothing changed",
            "status": 422,
            "detail": "/eips/7f0c/address: expected an address; and 1 more",
            "faults": [
                {"pointer": "/eips/7f0c/address", "rule": "invalid-value", "detail": "expected an address"},
                {"pointer": "", "rule": "syntax", "detail": "a \u{1b}[31mred\u{9b}31m sentence"},
            ],
        });
        let expected = "\
The configuration has faults; nothing changed: /eips/7f0c/address: expected an address; and 1 more
/eips/7f0c/address: expected an address
document: a \\u{1b}[31mred\\u{9b}31m sentence";
        assert_eq!(refused(422, document).to_string(), expected);
        assert_eq!(refused(500, json!({})).to_string(), "-: -");
    }

    #[test]
    fn refusals_and_failures_end_differently() {
        let exits =
            [400, 404, 408, 409, 412, 422, 500, 503, 507].map(|status| refused(status, json!({})).exit());
        let (no, bad) = (Exit::Refused, Exit::Failed);
        assert_eq!(exits, [no, no, bad, no, no, no, bad, bad, bad]);
    }
}
