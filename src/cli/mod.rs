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
mod confirm;
mod connection;
mod console;
mod credentials;
mod diff;
mod error;
mod field;
mod generations;
mod input;
mod json;
mod leases;
mod output;
mod remote;
mod status;
mod system;
mod table;
mod trace;
mod upload;
mod watch;
mod way;

pub use address::{Address, Url};
pub use arguments::{Arguments, Command};
pub use error::{CliError, Exit};
pub use input::Sent;
pub use output::Output;
pub use remote::{Visit, run as run_remote};
pub use system::SystemCommand;
pub use way::{Bounds, Dial};

use self::client::Client;
use self::credentials::Credentials;
use self::input::Input;
use self::way::Way;

/// Does what the command line says. What went wrong is on standard error when this returns, or, where JSON is asked for
/// and the router refused, on standard output.
pub async fn run(arguments: Arguments, output: &mut Output<'_>) -> Exit {
    let json = arguments.json;
    let address = arguments.address();
    let client = match Credentials::gather(arguments.files(), &address) {
        Ok(credentials) => Client::new(Way::To(address), credentials),
        Err(error) => return output.error(&error, json),
    };
    match command(arguments.command, json, (&client, &Input::Machine), output).await {
        Ok(exit) => exit,
        Err(error) => output.error(&error, json),
    }
}

async fn command(
    command: Command,
    json: bool,
    (client, input): (&Client, &Input),
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let reads = (client, input);
    match command {
        Command::Apply { change, confirm } => change::apply(&change, &confirm, json, reads, output).await,
        Command::Patch { change, confirm } => change::patch(&change, &confirm, json, reads, output).await,
        Command::Plan { change, patch } => change::plan(&change, patch, json, reads, output).await,
        Command::Rollback { generation, if_match, confirm } => {
            change::rollback(generation, if_match, &confirm, json, client, output).await
        }
        Command::Confirm { generation } => confirm::confirm(generation, json, client, output).await,
        Command::Diff { generation, to } => diff::show(generation, to, json, client, output).await,
        Command::Config { generation } => config::show(generation, client, output).await,
        Command::Generations => generations::show(json, client, output).await,
        Command::Leases { network } => leases::show(network.as_deref(), json, client, output).await,
        Command::Connections(which) => connection::show(&which, json, client, output).await,
        Command::Status { watch: false } => status::show(json, client, output).await,
        Command::Status { watch: true } => status::watch(json, client, output).await,
        Command::Console => console::watch(client, input, output).await,
        Command::Trace(packet) => trace::show(&packet, json, client, output).await,
        Command::Balancers { id, watch: None } => balancers::show(id.as_deref(), json, client, output).await,
        Command::Balancers { id, watch: Some(seconds) } => {
            balancers::watch(id.as_deref(), seconds, json, client, output).await
        }
        Command::System { command } => system::run(command, json, reads, output).await,
        Command::Completion { shell } => {
            output.print(&arguments::completion(shell))?;
            Ok(Exit::Done)
        }
    }
}
