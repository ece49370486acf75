//! The command line: its commands and options are a contract with scripts, and its help is the manual.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use super::address::{Address, SOCKET, Url};
use super::connection::ConnectionArguments;
use super::credentials::Files;
use super::system::SystemCommand;
use super::trace::TraceArguments;

/// How long the name of a network may be, in characters.
const ID_LENGTH: usize = 64;

/// What stands over the options that every command has.
const ROUTER: &str = "Options of every command";

const ABOUT_ROUTER: &str = "\
Where the router is looked for: --url or --socket; without either VROUTER_URL, then VROUTER_SOCKET, then
/run/vrouter/api.sock.

Who asks: the token of --token-file, or without it of the variable VROUTER_TOKEN, so that no list of processes shows it;
over https:// also the certificate of --cert and --key. On the socket, root needs neither.

Exit codes:
  0  done; for `status`: the router is ok
  1  the router refused: faults, a conflict, another generation than --if-match says, no such thing, not allowed to.
     Nothing changed
  2  the command line is wrong, a file cannot be read, or the output cannot be written
  3  the router cannot be reached; nothing was asked
  4  the router failed, did not answer in 90 seconds, or answered what is not understood
  5  for `status`: the router answers and is degraded, failed or starting; for `trace`: the kernel does otherwise than
     the configuration says";

const EXAMPLES: &str = "\
Examples:
  vrctl apply router.json                          replace the configuration of the router on this machine
  vrctl --url http://192.168.0.188:7270 --token-file token status     how a router elsewhere is
  echo '{\"eips\":{\"7f0c\":null}}' | vrctl patch -    remove one EIP
  vrctl plan router.json                           what `apply` would do
  vrctl --json leases | jq -r '.leases[].address'  for programs";

/// The command line of a virtual router.
///
/// It asks the router's API and shows the answer as text for people, or with --json as the router gave it.
#[derive(Debug, Parser)]
#[command(name = "vrctl", version, after_help = ABOUT_ROUTER, after_long_help = format!("{EXAMPLES}\n\n{ABOUT_ROUTER}"))]
pub struct Arguments {
    /// The router's API over TCP, such as http://127.0.0.1:7270.
    #[arg(long, global = true, help_heading = ROUTER, value_name = "URL", env = "VROUTER_URL")]
    url: Option<Url>,
    /// The router's API on a socket of this machine; /run/vrouter/api.sock where nothing else is said.
    #[arg(long, global = true, help_heading = ROUTER, value_name = "PATH", env = "VROUTER_SOCKET")]
    socket: Option<PathBuf>,
    /// A file that holds the token to ask with, and nothing else.
    #[arg(long, global = true, help_heading = ROUTER, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Who vouches for the router, as PEM; https:// takes it.
    #[arg(long, global = true, help_heading = ROUTER, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The client certificate to show, as PEM.
    #[arg(long, global = true, help_heading = ROUTER, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, global = true, help_heading = ROUTER, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Print the router's answer as JSON; a refusal too goes to standard output, as a problem document (RFC 9457).
    #[arg(long, global = true, help_heading = ROUTER)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replace the configuration with a whole document.
    ///
    /// What the document does not name is removed. Either all of it is accepted, stored and carried out, or nothing
    /// changes and every fault is printed. A document that says what runs already changes nothing.
    #[command(after_help = "\
Examples:
  vrctl apply router.json
  vrctl config | jq '.hostname = \"vr-2\"' | vrctl apply -
  vrctl apply --if-match 7 router.json      only if generation 7 still runs
  vrctl apply --confirm 60 router.json && vrctl confirm      goes back by itself where the router is lost")]
    Apply {
        /// What is changed, and when.
        #[command(flatten)]
        change: ChangeArguments,
        /// Whether it goes back by itself.
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
    /// Change the configuration with a merge patch (RFC 7396).
    ///
    /// What the patch does not name stays; a member that is null is removed.
    #[command(after_help = "\
Examples:
  vrctl patch eip.json
  echo '{\"eips\":{\"7f0c\":{\"target\":\"10.1.1.21\"}}}' | vrctl patch -
  echo '{\"eips\":{\"7f0c\":null}}' | vrctl patch -")]
    Patch {
        /// What is changed, and when.
        #[command(flatten)]
        change: ChangeArguments,
        /// Whether it goes back by itself.
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
    /// Keep a change that was made with --confirm.
    ///
    /// Without it the generation before the change comes back when its time is over, also where the router was killed or
    /// lost its power meanwhile; and earlier, where whoever made the change over TCP cannot be reached any more.
    #[command(after_help = "\
Examples:
  vrctl confirm
  vrctl confirm --generation 8      only if generation 8 still runs; may be asked twice")]
    Confirm {
        /// Refuse unless this generation runs.
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
    },
    /// Show what `apply` or `patch` would do, and do nothing.
    ///
    /// Prints the objects that would differ, then every step in the kernel. A document with faults is refused as
    /// `apply` would refuse it.
    #[command(after_help = "\
Examples:
  vrctl plan router.json
  vrctl plan --patch eip.json")]
    Plan {
        /// The document or the patch, and the generation that it is for.
        #[command(flatten)]
        change: ChangeArguments,
        /// FILE is a merge patch, not a whole document.
        #[arg(long)]
        patch: bool,
    },
    /// Print the configuration as JSON: the one that runs, or an older one.
    ///
    /// What is printed can be given to `apply`.
    #[command(after_help = "\
Examples:
  vrctl config > router.json
  vrctl config --generation 6 | diff - router.json")]
    Config {
        /// An older generation; `vrctl generations` lists those that are remembered.
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
    },
    /// Show how the router is: its generation, services, interfaces, and what its kernel lacks.
    ///
    /// Exits with 0 where the router is ok and with 5 where it is degraded, failed or starting.
    #[command(after_help = "\
Examples:
  vrctl status
  vrctl status --watch
  until vrctl status >/dev/null; do sleep 1; done      wait until the router is ok")]
    Status {
        /// Print it again every second until interrupted, in place where the output is a terminal.
        ///
        /// A router that cannot be reached is asked again, so that it can be seen coming back.
        #[arg(long)]
        watch: bool,
    },
    /// Say on a console what the router is: name, version, state, addresses.
    ///
    /// Prints a few lines at the start, again when they change, and when Enter is pressed. Never ends by itself.
    #[command(after_help = "\
Examples:
  vrctl console")]
    Console,
    /// List the addresses that DHCP has given out, or keeps from being given out.
    #[command(after_help = "\
Examples:
  vrctl leases
  vrctl leases --network guest")]
    Leases {
        /// Only those of this DHCP network, by its id in the configuration.
        #[arg(long, value_name = "ID", value_parser = id)]
        network: Option<String>,
    },
    /// List the connections that the router follows: between whom, as whom they leave, and how they are.
    ///
    /// What goes through the balancers that vrouterd itself serves are two of them each: the client's to the router, and the
    /// router's to the backend.
    #[command(after_help = "\
Examples:
  vrctl connections
  vrctl connections --address 10.1.1.20 --protocol tcp
  vrctl connections --port 443 --limit 20
  vrctl --json connections | jq .total")]
    Connections(ConnectionArguments),
    /// Show what load balancers do: state, connections, octets, requests, and the same of every pool and backend.
    #[command(after_help = "\
Examples:
  vrctl balancers
  vrctl balancers web --watch
  vrctl balancers --watch 5
  vrctl --json balancers web | jq .pools.app.backends.a.state")]
    Balancers {
        /// Only this one, by its id in the configuration.
        #[arg(value_name = "ID", value_parser = id)]
        id: Option<String>,
        /// Print it again every so many seconds until interrupted, in place where the output is a terminal; every
        /// second unless told otherwise.
        ///
        /// A router that cannot be reached is asked again, so that it can be seen coming back.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
              value_parser = clap::value_parser!(u64).range(1..=86_400))]
        watch: Option<u64>,
    },
    /// Show what becomes of a packet: which rule, translation, balancer and route decide, each by its place in the
    /// configuration, and whether the kernel is such that it does the same.
    ///
    /// The packet is the first of a connection, as it comes in by an interface; nothing is sent. With ports it is tcp, and
    /// without any an ICMP echo request, unless --protocol says otherwise. Exits with 0 where the kernel agrees, whatever
    /// becomes of the packet, and with 5 where it does not.
    #[command(after_help = "\
Examples:
  vrctl trace public 192.0.2.53 198.51.100.7:80
  vrctl trace guest 10.1.1.20 192.0.2.53:53 --protocol udp
  vrctl trace guest 10.1.1.20 10.2.2.20                       a ping
  vrctl --json trace public 192.0.2.53:40000 198.51.100.7:80 | jq -r .verdict")]
    Trace(TraceArguments),
    /// List the generations of the configuration that are remembered, oldest first; `*` marks the one that runs.
    #[command(after_help = "\
Example:
  vrctl generations")]
    Generations,
    /// Show what a generation changed, or what differs between two: each object before and after.
    #[command(after_help = "\
Examples:
  vrctl diff 7            what generation 7 changed
  vrctl diff 3 7          from generation 3 to generation 7
  vrctl diff 0 7          all of generation 7
  vrctl --json diff 7 | jq '.objects[].pointer'")]
    Diff {
        /// The generation; `vrctl generations` lists those that are remembered.
        #[arg(value_name = "A")]
        generation: u64,
        /// The generation that it is compared with; without it, A is compared with the one before it.
        #[arg(value_name = "B")]
        to: Option<u64>,
    },
    /// Bring an older generation of the configuration back, as a new generation.
    #[command(after_help = "\
Examples:
  vrctl rollback 6
  vrctl rollback 6 --if-match 7      only if generation 7 still runs")]
    Rollback {
        /// The generation; `vrctl generations` lists those that are remembered.
        #[arg(value_name = "N")]
        generation: u64,
        /// Refuse unless this generation runs.
        #[arg(long, value_name = "N")]
        if_match: Option<u64>,
        /// Whether it goes back by itself.
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
    /// The firmware: which version runs, updates, and a start of the machine.
    System {
        /// What to do with it.
        #[command(subcommand)]
        command: SystemCommand,
    },
    /// Print a script that completes the words of this command line in a shell. No router is asked.
    #[command(after_help = "\
Examples:
  vrctl completion bash > /usr/share/bash-completion/completions/vrctl
  source <(vrctl completion bash)")]
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// What is changed, and when.
#[derive(Debug, Args)]
pub struct ChangeArguments {
    /// The JSON, at most 64 MiB; `-` is standard input.
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Refuse unless this generation runs: nobody else changed anything meanwhile.
    #[arg(long, value_name = "N")]
    pub if_match: Option<u64>,
}

/// Whether a change goes back by itself.
#[derive(Debug, Args)]
pub struct ConfirmArguments {
    /// The change goes back by itself after so many seconds unless `vrctl confirm` keeps it.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub confirm: Option<u32>,
}

impl Arguments {
    /// Understands a command line, of which the first word is the program.
    ///
    /// # Errors
    /// It is not understood, or asks for help or the version; the error prints what is to be said and knows the exit
    /// code.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        let mut read = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        // What stands on the command line goes before the environment.
        let written = |option| matches.value_source(option) == Some(ValueSource::CommandLine);
        match (written("url"), written("socket")) {
            (true, true) => {
                let said = "--url and --socket are two ways to the router: give one of them";
                return Err(command.error(ErrorKind::ArgumentConflict, said));
            }
            (false, true) => read.url = None,
            (true, false) | (false, false) => {}
        }
        Ok(read)
    }

    /// The files that say who asks.
    pub(super) fn files(&self) -> Files<'_> {
        let Self { token_file, ca, cert, key, .. } = self;
        Files { token: token_file.as_deref(), ca: ca.as_deref(), cert: cert.as_deref(), key: key.as_deref() }
    }

    /// Where the router is.
    #[must_use]
    pub fn address(&self) -> Address {
        match (&self.url, &self.socket) {
            (Some(url), _) => Address::Tcp(url.clone()),
            (None, Some(path)) => Address::Unix(path.clone()),
            (None, None) => Address::Unix(SOCKET.into()),
        }
    }
}

/// The script that completes the words of this command line.
pub(super) fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "vrctl", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// An id of the configuration; others cannot be in it.
pub(super) fn id(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > ID_LENGTH || !text.chars().all(allowed) {
        return Err(format!("an id is 1 to {ID_LENGTH} of A-Z a-z 0-9 . _ -"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
