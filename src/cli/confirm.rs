//! `confirm`: what was changed with `--confirm` stays.

use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, JSON, Question};
use super::error::{CliError, Exit};
use super::field::text;
use super::output::Output;

/// Keeps the change that waits.
pub(super) async fn confirm(
    generation: Option<u64>,
    json: bool,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let body = generation.map_or_else(|| json!({}), |generation| json!({"generation": generation}));
    let question = Question::send(Method::POST, "/v1/confirm", JSON, body.to_string().into_bytes());
    let answer = client.ask(question).await?;
    if answer.value.get("generation").and_then(Value::as_u64).is_none() {
        return Err(answer.nonsense("no `generation`"));
    }
    let lines = if json { answer.pretty()? } else { told(&answer.value) };
    output.print(&lines)?;
    Ok(Exit::Done)
}

fn told(answer: &Value) -> String {
    let generation = text(answer, "generation");
    match answer.get("confirmed") {
        Some(Value::Bool(false)) => format!("nothing waited; generation {generation} runs and stays\n"),
        _ => format!("generation {generation} stays\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_says_what_stays() {
        assert_eq!(told(&json!({"generation": 8, "confirmed": true})), "generation 8 stays\n");
        let twice = told(&json!({"generation": 8, "confirmed": false}));
        assert_eq!(twice, "nothing waited; generation 8 runs and stays\n");
    }
}
