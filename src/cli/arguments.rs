//! The command line: its commands and options are a contract with scripts, and its help is the manual.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use super::address::{Address, SOCKET, Url};

/// How long the name of a network may be, in characters.
const ID_LENGTH: usize = 64;

/// What stands over the options that every command has.
const ROUTER: &str = "Options of every command";

const ABOUT_ROUTER: &str = "\
Where the router is looked for: --url or --socket; without either VROUTER_URL, then VROUTER_SOCKET, then
/run/vrouter/api.sock.

Exit codes:
  0  done; for `status`: the router is ok
  1  the router refused: faults, a conflict, another generation than --if-match says, no such thing. Nothing changed
  2  the command line is wrong, a file cannot be read, or the output cannot be written
  3  the router cannot be reached; nothing was asked
  4  the router failed, did not answer in 90 seconds, or answered what is not understood
  5  for `status`: the router answers and is degraded, failed or starting";

const EXAMPLES: &str = "\
Examples:
  vrctl apply router.json                          replace the configuration of the router on this machine
  vrctl --url http://192.168.0.188:7270 status     how a router elsewhere is
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
  vrctl apply --if-match 7 router.json      only if generation 7 still runs")]
    Apply(ChangeArguments),
    /// Change the configuration with a merge patch (RFC 7396).
    ///
    /// What the patch does not name stays; a member that is null is removed.
    #[command(after_help = "\
Examples:
  vrctl patch eip.json
  echo '{\"eips\":{\"7f0c\":{\"target\":\"10.1.1.21\"}}}' | vrctl patch -
  echo '{\"eips\":{\"7f0c\":null}}' | vrctl patch -")]
    Patch(ChangeArguments),
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
    /// List the generations of the configuration that are remembered, oldest first; `*` marks the one that runs.
    #[command(after_help = "\
Example:
  vrctl generations")]
    Generations,
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
fn id(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > ID_LENGTH || !text.chars().all(allowed) {
        return Err(format!("an id is 1 to {ID_LENGTH} of A-Z a-z 0-9 . _ -"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, ErrorKind> {
        Arguments::read(line.split(' ').map(OsString::from)).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_behind_the_command() {
        for line in
            ["vrctl --url http://router:7270 --json status", "vrctl status --json --url http://router:7270"]
        {
            let arguments = read(line).unwrap();
            assert!(arguments.json);
            assert_eq!(arguments.address().to_string(), "http://router:7270");
        }
        let arguments = read("vrctl leases --socket /tmp/api.sock --network guest").unwrap();
        assert_eq!(arguments.address(), Address::Unix("/tmp/api.sock".into()));
    }

    #[test]
    fn what_is_watched_may_say_how_often() {
        for (line, seconds, name) in [
            ("vrctl balancers", None, None),
            ("vrctl balancers --watch", Some(1), None),
            ("vrctl balancers web --watch", Some(1), Some("web")),
            ("vrctl balancers --watch 5 web", Some(5), Some("web")),
        ] {
            let Command::Balancers { id, watch } = read(line).unwrap().command else { panic!("{line}") };
            assert_eq!((watch, id.as_deref()), (seconds, name), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_a_fault_of_usage() {
        for (line, kind) in [
            ("vrctl --url http://a --socket /b status", ErrorKind::ArgumentConflict),
            ("vrctl --url http://a status --socket /b", ErrorKind::ArgumentConflict),
            ("vrctl --url https://a status", ErrorKind::ValueValidation),
            ("vrctl apply", ErrorKind::MissingRequiredArgument),
            ("vrctl apply --if-match seven -", ErrorKind::ValueValidation),
            ("vrctl leases --network a&b", ErrorKind::ValueValidation),
            ("vrctl balance", ErrorKind::InvalidSubcommand),
            ("vrctl balancers a/b", ErrorKind::ValueValidation),
            ("vrctl balancers web --watch 0", ErrorKind::ValueValidation),
            ("vrctl balancers --watch web", ErrorKind::ValueValidation),
            ("vrctl completion csh", ErrorKind::InvalidValue),
        ] {
            assert_eq!(read(line).err(), Some(kind), "{line}");
        }
    }
}
