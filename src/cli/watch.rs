//! Printing something again and again, until it cannot be printed any more: what `--watch` does.

use std::time::Duration;

use super::error::{CliError, Exit};
use super::output::Output;

/// Prints what `ask` has got, in place where the output is a terminal, then waits so long and asks again.
pub(super) async fn watch(
    interval: Duration,
    json: bool,
    output: &mut Output<'_>,
    mut ask: impl AsyncFnMut() -> Result<String, CliError>,
) -> Result<Exit, CliError> {
    loop {
        match ask().await {
            Ok(lines) => output.repaint(&lines)?,
            // A router that is started again is to be seen coming back.
            Err(error) => {
                output.repaint("")?;
                output.error(&error, json);
            }
        }
        tokio::time::sleep(interval).await;
    }
}
