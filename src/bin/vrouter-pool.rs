//! `vrouter-pool`: the KVM host's companion. Arguments, logging and the runtime; everything else is the library's.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use vrouter::log;
use vrouter::pool::command::{self, Arguments};

/// A configuration that cannot be run, as sysexits.h has it (`EX_CONFIG`); the units try no second time.
const CONFIGURATION: u8 = 78;

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
        Err(error) => {
            let failure = complain(&error.to_string());
            if error.is_of_configuration() { ExitCode::from(CONFIGURATION) } else { failure }
        }
    }
}

fn complain(why: &str) -> ExitCode {
    // There is nobody left to tell where standard error is closed.
    let _ = writeln!(io::stderr(), "vrouter-pool: {why}");
    ExitCode::FAILURE
}
