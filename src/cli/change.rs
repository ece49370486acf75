//! `apply`, `patch`, `plan` and `rollback`: what is changed, or would be.

use hyper::Method;
use serde_json::{Value, json};

use super::arguments::{ChangeArguments, ConfirmArguments};
use super::client::{Answer, Client, JSON, MERGE_PATCH, Question};
use super::error::{CliError, Exit};
use super::field::{count, several, text, took};
use super::input::Input;
use super::output::{Output, plain};
use super::table::Table;

/// Replaces the configuration.
pub(super) async fn apply(
    change: &ChangeArguments,
    confirm: &ConfirmArguments,
    json: bool,
    (client, input): (&Client, &Input),
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let document = input.document(&change.file).await?;
    let question = Question::send(Method::POST, &target("/v1/config", confirm), JSON, document);
    print(&client.ask(question.if_match(change.if_match)).await?, json, done, output)
}

/// Changes the configuration by a merge patch.
pub(super) async fn patch(
    change: &ChangeArguments,
    confirm: &ConfirmArguments,
    json: bool,
    (client, input): (&Client, &Input),
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let document = input.document(&change.file).await?;
    let question = Question::send(Method::PATCH, &target("/v1/config", confirm), MERGE_PATCH, document);
    print(&client.ask(question.if_match(change.if_match)).await?, json, done, output)
}

/// Shows what a document, or a merge patch, would do.
pub(super) async fn plan(
    change: &ChangeArguments,
    patch: bool,
    json: bool,
    (client, input): (&Client, &Input),
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let kind = if patch { MERGE_PATCH } else { JSON };
    let question = Question::send(Method::POST, "/v1/plan", kind, input.document(&change.file).await?);
    print(&client.ask(question.if_match(change.if_match)).await?, json, planned, output)
}

/// Brings an older generation back.
pub(super) async fn rollback(
    generation: u64,
    if_match: Option<u64>,
    confirm: &ConfirmArguments,
    json: bool,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let body = json!({"generation": generation}).to_string().into_bytes();
    let target = target("/v1/rollback", confirm);
    let question = Question::send(Method::POST, &target, JSON, body).if_match(if_match);
    print(&client.ask(question).await?, json, done, output)
}

/// A path with the time in which the change has to be confirmed.
fn target(path: &str, ConfirmArguments { confirm }: &ConfirmArguments) -> String {
    confirm.map_or_else(|| path.to_owned(), |seconds| format!("{path}?confirm={seconds}"))
}

fn print(
    answer: &Answer,
    json: bool,
    told: fn(&Value) -> String,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    if answer.value.get("generation").and_then(Value::as_u64).is_none() {
        return Err(answer.nonsense("no `generation`"));
    }
    let lines = if json { answer.pretty()? } else { told(&answer.value) };
    output.print(&lines)?;
    Ok(Exit::Done)
}

/// What was done.
fn done(answer: &Value) -> String {
    let generation = text(answer, "generation");
    let waits = unconfirmed(answer);
    if answer.get("changed") == Some(&Value::Bool(false)) {
        return format!("nothing changed; generation {generation} runs\n{waits}");
    }
    let (counts, took) = (counts(answer), took(answer, "took_ms"));
    format!("generation {generation}: {counts} in {took}\n{}{waits}", objects(answer))
}

/// What comes back unless it is confirmed.
fn unconfirmed(answer: &Value) -> String {
    let Some(waits) = answer.get("unconfirmed").filter(|waits| waits.is_object()) else {
        return String::new();
    };
    let [back_to, until] = ["back_to", "until"].map(|name| text(waits, name));
    format!("generation {back_to} comes back at {until} unless `vrctl confirm` keeps this one\n")
}

/// What would be done.
fn planned(answer: &Value) -> String {
    let steps: Vec<_> = answer.get("steps").and_then(Value::as_array).into_iter().flatten().collect();
    let total = count(answer, "step_count");
    let generation = text(answer, "generation");
    if answer.get("changed") == Some(&Value::Bool(false)) && steps.is_empty() {
        return format!("nothing would change; generation {generation} runs\n");
    }
    let mut told = format!("on top of generation {generation}: {}\n{}", counts(answer), objects(answer));
    told.push_str(&several(total, "step"));
    // A step in the kernel may be a line for several things, and a very long plan is told in part.
    if usize::try_from(total) != Ok(steps.len()) {
        told.push_str(&format!(", told in {}", several(steps.len() as u64, "line")));
    }
    told.push_str(if steps.is_empty() { "\n" } else { ":\n" });
    for step in steps {
        told.push_str(&format!("  {}\n", plain(&text(step, "step"))));
    }
    told
}

fn counts(answer: &Value) -> String {
    let changes = answer.get("changes").unwrap_or(&Value::Null);
    let [added, changed, removed] = ["added", "changed", "removed"].map(|name| text(changes, name));
    format!("{added} added, {changed} changed, {removed} removed")
}

/// The objects that differ, and how many of them the answer does not name.
fn objects(answer: &Value) -> String {
    let changes = answer.get("changes").unwrap_or(&Value::Null);
    let named: Vec<_> = changes.get("objects").and_then(Value::as_array).into_iter().flatten().collect();
    let total = ["added", "changed", "removed"].map(|name| count(changes, name)).into_iter();
    let total = total.fold(0_u64, u64::saturating_add);
    let unnamed = total.saturating_sub(named.len() as u64);
    let mut table = Table::new([]);
    for object in named {
        table.row([format!("  {}", text(object, "change")), text(object, "pointer")]);
    }
    let mut told = table.text();
    if unnamed > 0 {
        told.push_str(&format!("  and {} more\n", several(unnamed, "object")));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        json!({
            "generation": 7, "changed": true, "took_ms": 12.345, "step_count": 4,
            "changes": {"added": 1, "changed": 1, "removed": 101, "objects": [
                {"pointer": "/eips/7f0c", "change": "added"},
                {"pointer": "/dhcp/guest/hosts/web1", "change": "changed"},
                {"pointer": "/dns/records/db", "change": "removed"},
            ]},
            "steps": [{"step": "link eth0 up mtu 1450", "took_ms": 0.2}, {"step": "nft delete rule forward index 3 count 3"}],
        })
    }

    #[test]
    fn a_change_is_told_with_its_objects() {
        let expected = "\
generation 7: 1 added, 1 changed, 101 removed in 12.3 ms
  added    /eips/7f0c
  changed  /dhcp/guest/hosts/web1
  removed  /dns/records/db
  and 100 objects more
";
        assert_eq!(done(&answer()), expected);
        assert_eq!(done(&json!({"generation": 7})), "generation 7: - added, - changed, - removed in -\n");
        let waits = json!({"generation": 7, "changed": false,
            "unconfirmed": {"back_to": 5, "until": "2026-11-21T00:01:00Z", "seconds": 60}});
        let expected = "nothing changed; generation 7 runs\ngeneration 5 comes back at 2026-11-21T00:01:00Z unless \
                        `vrctl confirm` keeps this one\n";
        assert_eq!(done(&waits), expected);
        let unchanged = json!({"generation": 7, "changed": false, "took_ms": 0.1});
        assert_eq!(done(&unchanged), "nothing changed; generation 7 runs\n");
    }

    #[test]
    fn a_plan_is_told_with_its_steps() {
        let expected = "\
on top of generation 7: 1 added, 1 changed, 101 removed
  added    /eips/7f0c
  changed  /dhcp/guest/hosts/web1
  removed  /dns/records/db
  and 100 objects more
4 steps, told in 2 lines:
  link eth0 up mtu 1450
  nft delete rule forward index 3 count 3
";
        assert_eq!(planned(&answer()), expected);
        let nothing = json!({"generation": 7, "changed": false, "steps": [], "step_count": 0});
        assert_eq!(planned(&nothing), "nothing would change; generation 7 runs\n");
        // The document is the one that runs, and somebody else changed the kernel.
        let repair = json!({"generation": 7, "changed": false, "step_count": 1, "steps": [{"step": "link eth0 up"}],
            "changes": {"added": 0, "changed": 0, "removed": 0, "objects": []}});
        let expected = "\
on top of generation 7: 0 added, 0 changed, 0 removed
1 step:
  link eth0 up
";
        assert_eq!(planned(&repair), expected);
    }
}
