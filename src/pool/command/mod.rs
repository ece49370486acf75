//! The command line of `vrouter-pool`. Called by `bin/vrouter-pool.rs`.

mod import;
mod network;
mod service;
mod show;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use hyper::Method;

use super::api::client::{ClientError, ask};
use super::config::{Config, ConfigError};
use super::hypervisor::{Hypervisor, HypervisorError};
use super::journal::{Journal, JournalError};

/// Where the configuration is unless it is said.
const CONFIG: &str = "/etc/vrouter-pool.toml";

/// The KVM host's companion: a pool of disposable VMs for walk-up stations.
///
/// A station reads lines at the signal port (5905) until `RULE ADDED, CONNECT NOW!` comes, and connects its SPICE viewer to
/// the console port (5906). When the session ends, its VM and all that was done in it are gone.
#[derive(Debug, Parser)]
#[command(name = "vrouter-pool", version)]
pub struct Arguments {
    /// The configuration; every key is explained in the example that comes with the sources.
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the pool's manager until it is told to end; sessions go on without it.
    Run {
        /// Shows the whole pool on a machine without libvirt: the VMs are made up, their consoles are real sockets. Needs no
        /// configuration.
        #[arg(long)]
        fake: bool,
        /// Runs the console broker in this process as well: then sessions end with it.
        #[arg(long)]
        with_broker: bool,
    },
    /// Runs the console broker, a process of its own, so that sessions outlive the manager.
    Broker,
    /// Shows slots and stations, since when and why.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hands no VM out any more and removes the clean ones; sessions go on. Stays so until `resume`.
    Drain,
    /// Hands VMs out again.
    Resume,
    /// Keeps the VM of a slot as it is, cut off from its station, to look at it; `recycle` ends that.
    Quarantine {
        /// The slot: its port or its VM's name.
        slot: String,
    },
    /// Removes the VM of a slot, whatever it is doing, and makes a new one.
    Recycle {
        /// The slot: its port or its VM's name.
        slot: String,
    },
    /// The emergency reset: removes every VM and overlay that carries this pool's mark, by the manager or, where none runs,
    /// at once.
    Clear,
    /// Reads the configuration of the old scripts and prints ours.
    ImportConfig {
        /// The old file: lines of `name=value`.
        file: PathBuf,
    },
    /// Prints the libvirt network for the pool's VMs.
    Network {
        /// Defines and starts it instead.
        #[arg(long)]
        define: bool,
    },
    /// Reads the configuration and says what is wrong with it.
    CheckConfig,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The old configuration.
    #[error(transparent)]
    Import(#[from] import::ImportError),
    /// The pool does not answer, or says no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The hypervisor.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// The state directory.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The service.
    #[error(transparent)]
    Service(#[from] service::ServiceError),
    /// This program knows no hypervisor but the made-up one.
    #[cfg(not(feature = "pool"))]
    #[error(
        "this vrouter-pool was built without libvirt; `run --fake` works, the rest needs the feature `pool`"
    )]
    NoLibvirt,
    /// Not everything is gone.
    #[error("not everything could be removed:\n{}", .0.join("\n"))]
    Left(Vec<String>),
    /// It cannot be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl CommandError {
    /// Whether nothing but another configuration helps.
    #[must_use]
    pub const fn is_of_configuration(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

impl Arguments {
    /// Whether this is a service, which writes a log.
    #[must_use]
    pub const fn is_service(&self) -> bool {
        matches!(self.command, Command::Run { .. } | Command::Broker)
    }
}

/// Does what the arguments say. Answers go to `out`.
///
/// # Errors
/// Why it was not done, in words for whoever typed it.
pub async fn run(arguments: Arguments, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let file = arguments.config;
    let config = || Config::read(&file);
    match arguments.command {
        Command::Run { fake: true, .. } => {
            let config = if file.exists() { Some(config()?) } else { None };
            Ok(service::run_fake(config).await?)
        }
        Command::Run { fake: false, with_broker } => {
            let config = config()?;
            let hypervisor = open(&config)?;
            Ok(service::run(config, hypervisor, with_broker).await?)
        }
        Command::Broker => Ok(service::run_broker(&config()?).await?),
        Command::Status { json } => {
            let status = ask(&socket(&file)?, Method::GET, "/v1/status").await?;
            let text = if json { format!("{status:#}\n") } else { show::status(&status) };
            Ok(out.write_all(text.as_bytes())?)
        }
        Command::Drain => order(&file, "/v1/drain").await,
        Command::Resume => order(&file, "/v1/resume").await,
        Command::Quarantine { slot } => order(&file, &format!("/v1/slots/{slot}/quarantine")).await,
        Command::Recycle { slot } => order(&file, &format!("/v1/slots/{slot}/recycle")).await,
        Command::Clear => match order(&file, "/v1/clear").await {
            Err(CommandError::Client(ClientError::Unreached { .. })) => {
                let config = config()?;
                // Nobody starts a manager meanwhile.
                let _lock = Journal::open(&config.control.state_dir)?;
                let removed = clear(&open(&config)?).await?;
                Ok(writeln!(out, "{removed} VMs and overlays were removed")?)
            }
            done => done,
        },
        Command::ImportConfig { file } => Ok(out.write_all(import::import(&file)?.as_bytes())?),
        Command::Network { define } => {
            let config = config()?;
            let xml = network::xml(&config.network);
            if define {
                open(&config)?.define_network(&xml).await?;
                return Ok(writeln!(out, "network {} is defined and runs", config.network.name)?);
            }
            Ok(out.write_all(xml.as_bytes())?)
        }
        Command::CheckConfig => {
            config()?;
            Ok(writeln!(out, "{}: good", file.display())?)
        }
    }
}

/// The API's socket: of the configuration, or of the made-up pool where there is none.
fn socket(file: &std::path::Path) -> Result<PathBuf, CommandError> {
    if file.exists() {
        return Ok(Config::read(file)?.control.socket);
    }
    Ok(service::fake_directory().join(service::FAKE_SOCKET))
}

async fn order(file: &std::path::Path, path: &str) -> Result<(), CommandError> {
    ask(&socket(file)?, Method::POST, path).await?;
    Ok(())
}

/// Removes everything of the pool, whatever fails in between. How many things were removed.
async fn clear<H: Hypervisor>(hypervisor: &H) -> Result<usize, CommandError> {
    let mut removed = 0;
    let mut left = Vec::new();
    for domain in hypervisor.domains().await? {
        let gone = async {
            hypervisor.destroy(&domain.name).await?;
            hypervisor.undefine(&domain.name).await
        };
        match gone.await {
            Ok(()) => removed += 1,
            Err(error) => left.push(error.to_string()),
        }
    }
    for overlay in hypervisor.overlays().await? {
        match hypervisor.delete_overlay(&overlay).await {
            Ok(()) => removed += 1,
            Err(error) => left.push(error.to_string()),
        }
    }
    if left.is_empty() { Ok(removed) } else { Err(CommandError::Left(left)) }
}

#[cfg(feature = "pool")]
fn open(config: &Config) -> Result<super::libvirt::Libvirt, CommandError> {
    Ok(super::libvirt::Libvirt::open(&std::sync::Arc::new(config.clone()))?)
}

#[cfg(not(feature = "pool"))]
fn open(_config: &Config) -> Result<super::fake::FakeHypervisor, CommandError> {
    Err(CommandError::NoLibvirt)
}
