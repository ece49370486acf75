//! The operator's command line: what `vrctl` asks of a router, and how it shows the answers.
//!
//! It speaks JSON over HTTP as any other client does and sees no other room of the router, so that it also speaks with
//! a router that is newer than itself: what is not known is left out of the tables, what is not there is a `-`.
//! `arguments` is the contract of the command line, `client` the one place that talks to the router, and each command
//! that prints a table has a file. The tables are pure. Called by `bin/vrctl.rs`.

mod address;
mod arguments;
mod balancers;
mod change;
mod client;
mod config;
mod error;
mod field;
mod generations;
mod json;
mod leases;
mod output;
mod status;
mod table;
mod watch;

pub use address::{Address, Url};
pub use arguments::{Arguments, Command};
pub use error::{CliError, Exit};
pub use output::Output;

use self::client::Client;

/// Does what the command line says. What went wrong is on standard error when this returns, or, where JSON is asked for
/// and the router refused, on standard output.
pub async fn run(arguments: Arguments, output: &mut Output<'_>) -> Exit {
    let json = arguments.json;
    let client = Client::new(arguments.address());
    match command(arguments.command, json, &client, output).await {
        Ok(exit) => exit,
        Err(error) => output.error(&error, json),
    }
}

async fn command(
    command: Command,
    json: bool,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    match command {
        Command::Apply(change) => change::apply(&change, json, client, output).await,
        Command::Patch(change) => change::patch(&change, json, client, output).await,
        Command::Plan { change, patch } => change::plan(&change, patch, json, client, output).await,
        Command::Rollback { generation, if_match } => {
            change::rollback(generation, if_match, json, client, output).await
        }
        Command::Config { generation } => config::show(generation, client, output).await,
        Command::Generations => generations::show(json, client, output).await,
        Command::Leases { network } => leases::show(network.as_deref(), json, client, output).await,
        Command::Status { watch: false } => status::show(json, client, output).await,
        Command::Status { watch: true } => status::watch(json, client, output).await,
        Command::Balancers { id, watch: None } => balancers::show(id.as_deref(), json, client, output).await,
        Command::Balancers { id, watch: Some(seconds) } => {
            balancers::watch(id.as_deref(), seconds, json, client, output).await
        }
        Command::Completion { shell } => {
            output.print(&arguments::completion(shell))?;
            Ok(Exit::Done)
        }
    }
}
