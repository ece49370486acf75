//! `vrouterd`: the virtual router's service. Arguments, logging and the runtime; everything else is the library's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vrouter::daemon::{self, AccessOptions, FirmwareOptions, Given, Options};
use vrouter::zstack;

/// The systemd credentials that a router without a memory starts from: a configuration, and what a seed disk held.
const CONFIG: &str = "vrouter.config";
const SEED: &str = "vrouter.seed";

/// The service of a virtual router: DHCP, DNS, SNAT, EIP, port forwarding and firewall from one JSON document.
///
/// It needs no configuration file. With an empty state directory it starts with nothing configured and waits for a
/// document at its API, or takes the systemd credential `vrouter.config` or what a seed disk held, where there is one.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where generations of the configuration and leases are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/vrouter")]
    state_dir: PathBuf,
    /// Where the API answers; may be given several times. Off loopback, management interfaces alone reach it, and it takes
    /// tokens or client certificates.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7270")]
    listen: Vec<SocketAddr>,
    /// The API's socket in the file system.
    #[arg(long, value_name = "PATH", default_value = "/run/vrouter/api.sock")]
    socket: PathBuf,
    /// Where ZStack's management node commands the router, such as 0.0.0.0:7272; may be given several times. Only the
    /// management network may speak there.
    #[arg(long, value_name = "ADDR:PORT")]
    zstack_listen: Vec<SocketAddr>,
    /// The virtio-serial port by which a ZStack host tells a fresh machine what it is.
    #[arg(long, value_name = "PATH", default_value = zstack::PORT)]
    zstack_vport: PathBuf,
    /// Hands that port to this user and ends: for root, before the service starts as a user who may not open it.
    #[arg(long, value_name = "USER")]
    hand_zstack_vport_to: Option<String>,
    /// Hands the slot of the disk that an update goes to to this user and ends: for root, before the service starts.
    #[arg(long, value_name = "USER")]
    hand_idle_slot_to: Option<String>,
    #[command(flatten)]
    firmware: FirmwareOptions,
    #[command(flatten)]
    access: AccessOptions,
}

fn main() -> ExitCode {
    let Arguments {
        state_dir,
        listen,
        socket,
        firmware,
        access,
        zstack_listen,
        zstack_vport,
        hand_zstack_vport_to,
        hand_idle_slot_to,
    } = Arguments::parse();
    vrouter::log::start(std::env::var_os("JOURNAL_STREAM").is_some());
    let port = hand_zstack_vport_to.map(|user| ("the port", zstack::hand_over(&zstack_vport, &user)));
    let slot = hand_idle_slot_to.map(|user| ("the idle slot", firmware.hand_over(&user)));
    if port.is_some() || slot.is_some() {
        let failed =
            [port, slot].into_iter().flatten().filter_map(|(what, handed)| Some((what, handed.err()?)));
        let failed = failed.inspect(|(what, error)| tracing::error!(%error, "{what} cannot be handed over"));
        return if failed.count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let zstack = (!zstack_listen.is_empty())
        .then_some(zstack::service::Options { listen: zstack_listen, port: zstack_vport });
    daemon::process::prepare();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let given = Given { config: credential(CONFIG), seed: credential(SEED) };
    let options = Options { state_dir, listen, socket, access, given, zstack, firmware };
    match runtime.block_on(daemon::run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn credential(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name);
    std::fs::read(&path)
        .inspect_err(|error| tracing::debug!(path = %path.display(), %error, "not given"))
        .ok()
}
