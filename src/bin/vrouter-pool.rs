//! `vrouter-pool`: the KVM host's companion. Arguments, logging and the runtime; everything else is the library's.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use vrouter::log;
use vrouter::pool::command::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.is_service() {
        log::start(std::env::var_os("JOURNAL_STREAM").is_some());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("no runtime: {error}")),
    };
    let done = runtime.block_on(command::run(arguments, &mut io::stdout()));
    // A call that hangs in the hypervisor's library keeps nobody waiting.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string()),
    }
}

fn complain(why: &str) -> ExitCode {
    // There is nobody left to tell where standard error is closed.
    let _ = writeln!(io::stderr(), "vrouter-pool: {why}");
    ExitCode::FAILURE
}
