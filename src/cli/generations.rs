//! `generations`: what can be read back and rolled back to.

use serde_json::Value;

use super::client::{Client, Question};
use super::error::{CliError, Exit};
use super::field::{NOTHING, text};
use super::output::Output;
use super::table::Table;

/// Prints the generations that are remembered.
pub(super) async fn show(json: bool, client: &Client, output: &mut Output<'_>) -> Result<Exit, CliError> {
    let answer = client.ask(Question::get("/v1/generations")).await?;
    let lines = match json {
        true => answer.pretty()?,
        false => table(&answer.value).ok_or_else(|| answer.nonsense("no `generations`"))?,
    };
    output.print(&lines)?;
    Ok(Exit::Done)
}

/// The generations, in the order of the answer; nothing where it holds none of them.
fn table(answer: &Value) -> Option<String> {
    let generations = answer.get("generations")?.as_array()?;
    if generations.is_empty() {
        return Some("nothing was ever configured\n".to_owned());
    }
    let current = answer.get("current");
    let mut table = Table::new(["", "GENERATION", "TIME", "ADDED", "CHANGED", "REMOVED", "AUTHOR", "ORIGIN"]);
    for generation in generations {
        let runs = current.is_some() && generation.get("generation") == current;
        table.row([
            (if runs { "*" } else { "" }).to_owned(),
            text(generation, "generation"),
            text(generation, "time"),
            text(generation, "added"),
            text(generation, "changed"),
            text(generation, "removed"),
            author(generation),
            text(generation, "origin"),
        ]);
    }
    Some(table.text())
}

/// Who asked for a generation, and from where.
pub(super) fn author(generation: &Value) -> String {
    let nobody = Value::Null;
    let author = generation.get("author").unwrap_or(&nobody);
    match [text(author, "name"), text(author, "from")] {
        [name, from] if from == NOTHING => name,
        [name, from] if name == NOTHING => from,
        [name, from] => format!("{name} from {from}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_one_that_runs_is_marked() {
        let answer = json!({"current": 10, "generations": [
            {"generation": 9, "time": "2026-11-20T23:00:00Z", "origin": "replace", "added": 31, "changed": 0, "removed": 0,
             "author": {"name": "token cloud", "from": "192.0.2.1:4711"}},
            {"generation": 10, "time": "2026-11-21T00:00:00Z", "origin": "rollback to 3", "added": 0, "changed": 1},
        ]});
        let expected = "   GENERATION  TIME                  ADDED  CHANGED  REMOVED  AUTHOR                           ORIGIN
   9           2026-11-20T23:00:00Z  31     0        0        token cloud from 192.0.2.1:4711  replace
*  10          2026-11-21T00:00:00Z  0      1        -        -                                rollback to 3
";
        assert_eq!(table(&answer).unwrap(), expected);
    }

    #[test]
    fn an_empty_list_is_told_from_none() {
        assert_eq!(table(&json!({"generations": []})).unwrap(), "nothing was ever configured\n");
        assert_eq!(table(&json!({})), None);
    }
}
