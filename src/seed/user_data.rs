//! User data: what whoever made the machine wrote for it. A router reads its own document, alone or under `vrouter` beside
//! its tokens, as JSON or in a `#cloud-config`. Pure.

use serde_json::{Map, Value};

use super::notes::Notes;
use super::yaml;
use crate::config::json;

/// What makes a text a `#cloud-config`.
const CLOUD_CONFIG: &str = "#cloud-config";
/// Where the router's document stands among other things.
const DOCUMENT: &str = "vrouter";
/// Where its tokens do: a list of lines, or a text of them.
const TOKENS: &str = "vrouter_tokens";
/// What cloud-init's clouds set and a router has no use for, without a word.
const SILENT: &[&str] = &["manage_etc_hosts", "preserve_hostname", "prefer_fqdn_over_hostname"];

/// What user data say.
#[derive(Debug, Default)]
pub(super) struct UserData {
    /// The router's own document.
    pub(super) document: Option<Map<String, Value>>,
    /// Lines of a file of tokens.
    pub(super) tokens: Option<String>,
    /// The machine's name.
    pub(super) hostname: Option<String>,
}

/// Reads user data.
pub(super) fn read(octets: &[u8], notes: &mut Notes) -> UserData {
    let Ok(text) = std::str::from_utf8(octets) else {
        notes.note(match octets {
            [0x1f, 0x8b, ..] => "packed user data are left out; give them as they are",
            _ => "it is no text in UTF-8 and is left out",
        });
        return UserData::default();
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let start = text.trim_start();
    if start.is_empty() {
        return UserData::default();
    }
    if start.starts_with('{') {
        return match json::parse(start.as_bytes()) {
            Ok(Value::Object(object)) if is_envelope(&object) => envelope(object, notes),
            Ok(Value::Object(document)) => UserData { document: Some(document), ..UserData::default() },
            Ok(_) => UserData::default(),
            Err(faults) => {
                notes.fault(faults.to_string().replace('\n', "; "));
                UserData::default()
            }
        };
    }
    if text.lines().next().is_some_and(|line| line.trim_end() == CLOUD_CONFIG) {
        return match yaml::parse(text) {
            Ok(Value::Object(object)) => envelope(object, notes),
            Ok(Value::Null) => UserData::default(),
            Ok(_) => {
                notes.fault("a #cloud-config is a mapping");
                UserData::default()
            }
            Err(fault) => {
                notes.fault(fault.to_string());
                UserData::default()
            }
        };
    }
    let kind = match start.lines().next().unwrap_or_default() {
        line if line.starts_with("#!") => "a script",
        line if line.starts_with("#include") => "a list of what to fetch",
        line if line.starts_with("## template") => "a template",
        line if line.starts_with("#cloud-boothook") => "a script",
        line if line.to_ascii_lowercase().starts_with("content-type:") || line.starts_with("MIME-") => {
            "a message of several parts"
        }
        _ => "neither a JSON object nor a #cloud-config",
    };
    notes.note(format!("it is {kind}, of which a router has no use; it is left out"));
    UserData::default()
}

/// Whether an object holds the document, and is not it.
fn is_envelope(object: &Map<String, Value>) -> bool {
    object.contains_key(DOCUMENT) || object.contains_key(TOKENS)
}

fn envelope(object: Map<String, Value>, notes: &mut Notes) -> UserData {
    let mut user = UserData::default();
    let mut without_use = Vec::new();
    for (key, value) in object {
        match (key.as_str(), value) {
            (DOCUMENT, Value::Object(document)) => user.document = Some(document),
            (DOCUMENT, Value::Null) => {}
            (DOCUMENT, _) => notes.fault("`vrouter` is a configuration, and so a mapping"),
            (TOKENS, value) => user.tokens = tokens(&value, notes),
            ("hostname", Value::String(name)) => user.hostname = Some(name),
            // The name that is no name of a domain wins over this one.
            ("fqdn", Value::String(name)) => user.hostname = user.hostname.or(Some(name)),
            (key, _) if SILENT.contains(&key) => {}
            (key, _) => without_use.push(format!("`{key}`")),
        }
    }
    if !without_use.is_empty() {
        notes.note(format!("of no use to a router and left out: {}", without_use.join(", ")));
    }
    user
}

fn tokens(said: &Value, notes: &mut Notes) -> Option<String> {
    match said {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(lines) if lines.iter().all(Value::is_string) => {
            Some(lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
        }
        _ => {
            notes.fault("`vrouter_tokens` are lines `NAME read|write SECRET`");
            None
        }
    }
}
