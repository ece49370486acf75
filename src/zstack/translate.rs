//! A burst of commands becomes one document: each is given what the one before made of it. Pure; called by the worker.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Facts, command, failure, result};

/// One command as it came.
#[derive(Debug, Clone)]
pub(super) struct Command {
    /// Its path.
    pub(super) path: String,
    /// Its body: JSON, or what should be.
    pub(super) body: Bytes,
    /// What it has to know of the machine.
    pub(super) facts: std::sync::Arc<Facts>,
}

/// What a burst comes to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Translated {
    /// The document that should run; nothing where it is the one that runs.
    pub(super) document: Option<Value>,
    /// What each command is answered once that document runs, in their order.
    pub(super) answers: Vec<Answer>,
}

/// What a command is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// The result.
    pub(super) value: Value,
    /// Whether it is true only of a router that runs the new document; a refusal is true of any.
    pub(super) promises: bool,
}

/// Turns commands into the document that should run, from the one that runs.
#[must_use]
pub(super) fn translate(commands: &[Command], before: &Value) -> Translated {
    let mut after: Option<Value> = None;
    let mut answers = Vec::with_capacity(commands.len());
    for one in commands {
        let done = body(&one.body).and_then(|body| {
            command(&one.path, &body, after.as_ref().unwrap_or(before), &one.facts)
                .map_err(|refusal| refusal.to_string())
        });
        answers.push(match done {
            Ok(done) => {
                after = done.document.or(after);
                Answer { value: result(done.reply), promises: true }
            }
            Err(why) => Answer { value: failure(&why), promises: false },
        });
    }
    Translated { document: after.filter(|after| after != before), answers }
}

/// A body as JSON; none at all is a command without fields.
///
/// # Errors
/// It is not JSON, in words for the management node.
pub(super) fn body(octets: &[u8]) -> Result<Value, String> {
    if octets.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(octets).map_err(|error| format!("the body is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_json_or_empty() {
        assert_eq!(body(b" \n"), Ok(json!({})));
        assert_eq!(body(b"{\"a\":1}"), Ok(json!({"a": 1})));
        assert!(body(b"{").unwrap_err().contains("not JSON"));
        assert!(body("[".repeat(100_000).as_bytes()).is_err(), "nesting without end");
    }

    #[test]
    fn a_command_that_is_refused_stops_nobody_else() {
        let facts = std::sync::Arc::new(Facts::default());
        let commands = ["/createeip", "/createeip"].map(|path| Command {
            path: path.to_owned(),
            body: Bytes::from_static(b"{"),
            facts: facts.clone(),
        });
        let before = json!({"version": 1});
        let translated = translate(&commands, &before);
        assert_eq!(translated.document, None);
        assert!(translated.answers.iter().all(|answer| !answer.promises && answer.value["success"] == false));
    }
}
