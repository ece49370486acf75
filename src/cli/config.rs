//! `config`: the document of a generation.

use super::client::{Client, Question};
use super::error::{CliError, Exit};
use super::output::Output;

/// Prints the configuration that runs, or an older one.
pub(super) async fn show(
    generation: Option<u64>,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let target = generation.map_or_else(|| "/v1/config".into(), |n| format!("/v1/config?generation={n}"));
    output.print(&client.ask(Question::get(target)).await?.pretty()?)?;
    Ok(Exit::Done)
}
