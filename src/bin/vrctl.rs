//! `vrctl`: the operator's command line. Arguments, the runtime and the exit code; everything else is the library's.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use vrouter::cli::{self, Arguments, Exit, Output};

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(said) => {
            // Help that nobody reads to its end is no failure.
            let _ = said.print();
            return if said.exit_code() == 0 { Exit::Done.into() } else { Exit::Usage.into() };
        }
    };
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let terminal = stdout.is_terminal();
    let mut output = Output::new(&mut stdout, &mut stderr, terminal);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.complain(&format!("no runtime: {error}")).into(),
    };
    let exit = runtime.block_on(cli::run(arguments, &mut output));
    // A name that is still being resolved keeps nobody waiting.
    runtime.shutdown_background();
    exit.into()
}
