//! `diff`: what a generation changed, or what differs between two.

use serde_json::{Map, Value};

use super::client::{Client, Question};
use super::error::{CliError, Exit};
use super::field::text;
use super::output::{Output, plain};

/// Prints each object that differs, before and after.
pub(super) async fn show(
    generation: u64,
    to: Option<u64>,
    json: bool,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let path = format!("/v1/generations/{generation}/diff");
    let target = to.map_or_else(|| path.clone(), |to| format!("{path}?to={to}"));
    let answer = client.ask(Question::get(target)).await?;
    let lines = match json {
        true => answer.pretty()?,
        false => page(&answer.value).ok_or_else(|| answer.nonsense("no `objects`"))?,
    };
    output.print(&lines)?;
    Ok(Exit::Done)
}

/// The objects with their members, `-` as they were and `+` as they are; nothing where the answer has none of them.
fn page(answer: &Value) -> Option<String> {
    let objects = answer.get("objects")?.as_array()?;
    let [from, to, added, changed, removed] =
        ["from", "to", "added", "changed", "removed"].map(|name| text(answer, name));
    let mut page =
        format!("from generation {from} to {to}: {added} added, {changed} changed, {removed} removed\n");
    if let Some(generation) = answer.get("generation").filter(|generation| generation.is_object()) {
        let by = super::generations::author(generation);
        let [time, origin] = ["time", "origin"].map(|name| text(generation, name));
        page.push_str(&format!("{time}, {}, by {}\n", plain(&origin), plain(&by)));
    }
    for object in objects {
        page.push_str(&format!("{} {}\n", text(object, "change"), plain(&text(object, "pointer"))));
        let nothing = Value::Null;
        let [before, after] = ["before", "after"].map(|name| object.get(name).unwrap_or(&nothing));
        match (before.as_object(), after.as_object()) {
            (None, None) => {
                said(&mut page, '-', "", Some(before).filter(|value| !value.is_null()));
                said(&mut page, '+', "", Some(after).filter(|value| !value.is_null()));
            }
            (before, after) => {
                members(&mut page, before.unwrap_or(&Map::new()), after.unwrap_or(&Map::new()))
            }
        }
    }
    Some(page)
}

/// The members that differ, by name.
fn members(page: &mut String, before: &Map<String, Value>, after: &Map<String, Value>) {
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        if old != new {
            said(page, '-', name, old);
            said(page, '+', name, new);
        }
    }
}

fn said(page: &mut String, sign: char, name: &str, value: Option<&Value>) {
    let Some(value) = value else { return };
    let value = value.to_string();
    match name {
        "" => page.push_str(&format!("  {sign} {}\n", plain(&value))),
        name => page.push_str(&format!("  {sign} {}: {}\n", plain(name), plain(&value))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_told_by_the_members_that_differ() {
        let answer = json!({"from": 6, "to": 7, "added": 1, "changed": 2, "removed": 1,
            "generation": {"generation": 7, "time": "2026-11-21T00:00:00Z", "origin": "patch",
                           "author": {"name": "token cloud", "from": "192.0.2.1:4711"}},
            "objects": [
                {"pointer": "/hostname", "change": "changed", "before": "vr-1", "after": "vr\u{1b}2"},
                {"pointer": "/eips/a", "change": "added", "after": {"address": "198.51.100.7"}},
                {"pointer": "/interfaces/guest", "change": "changed",
                 "before": {"mtu": 1500, "roles": ["guest"]}, "after": {"isolated": true, "roles": ["guest"]}},
                {"pointer": "/eips/b", "change": "removed", "before": {"address": "198.51.100.8"}}]});
        let expected = "\
from generation 6 to 7: 1 added, 2 changed, 1 removed
2026-11-21T00:00:00Z, patch, by token cloud from 192.0.2.1:4711
changed /hostname
  - \"vr-1\"
  + \"vr\\u001b2\"
added /eips/a
  + address: \"198.51.100.7\"
changed /interfaces/guest
  + isolated: true
  - mtu: 1500
removed /eips/b
  - address: \"198.51.100.8\"
";
        assert_eq!(page(&answer).unwrap(), expected);
        assert_eq!(page(&json!({})), None);
    }
}
