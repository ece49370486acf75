//! `vrouterd`: the virtual router's service. Arguments, logging and the runtime; everything else is the library's.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use vrouter::daemon::{self, Options};

/// What is written to the journal unless RUST_LOG says otherwise.
const LOG: &str = "info";
/// The systemd credential that a router without a memory starts from.
const CREDENTIAL: &str = "vrouter.config";

/// The service of a virtual router: DHCP, DNS, SNAT, EIP, port forwarding and firewall from one JSON document.
///
/// It needs no configuration file. With an empty state directory it starts with nothing configured and waits for a
/// document at its API, or takes the systemd credential `vrouter.config` where there is one.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where generations of the configuration and leases are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/vrouter")]
    state_dir: PathBuf,
    /// Where the API answers; may be given several times. Off loopback, management interfaces alone reach it.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7270")]
    listen: Vec<SocketAddr>,
    /// The API's socket in the file system.
    #[arg(long, value_name = "PATH", default_value = "/run/vrouter/api.sock")]
    socket: PathBuf,
}

fn main() -> ExitCode {
    let Arguments { state_dir, listen, socket } = Arguments::parse();
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(daemon::run(Options { state_dir, listen, socket, first: credential() })) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// To the journal with its fields where systemd runs the service, else as lines to standard error.
fn log() {
    let filter = || EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let lines = journal.is_none().then(|| {
        let ansi = std::io::stderr().is_terminal();
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_filter(filter())
    });
    tracing_subscriber::registry()
        .with(journal.map(|journal| journal.with_filter(filter())))
        .with(lines)
        .init();
}

fn credential() -> Option<Vec<u8>> {
    let path = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    std::fs::read(&path)
        .inspect_err(|error| tracing::info!(path = %path.display(), %error, "no first configuration"))
        .ok()
}
