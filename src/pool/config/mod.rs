//! The pool's configuration: one TOML file, read once at start. Every fault is told at once.
//!
//! Called by the command line; everything else gets the checked [`Config`].

mod check;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hypervisor::OVERLAY_SUFFIX;

pub use self::check::{Faults, MOST_SLOTS};

/// The configuration of one pool. Where a default is named, the key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The libvirt domain that every VM is a clone of: shut off, without internal snapshots, itself no clone.
    pub base: String,
    /// The pool's name, which its marks carry. Default: `base`.
    #[serde(default)]
    pub name: String,
    /// How many VMs, and which.
    pub slots: Slots,
    /// How VMs are made.
    #[serde(default)]
    pub clones: Clones,
    /// Where stations ask for a VM.
    #[serde(default)]
    pub signal: Signal,
    /// Where stations' viewers connect.
    #[serde(default)]
    pub console: Console,
    /// What ends a session.
    #[serde(default)]
    pub session: Session,
    /// How libvirt is spoken to.
    #[serde(default)]
    pub hypervisor: Libvirt,
    /// The network that VMs are in.
    #[serde(default)]
    pub network: Network,
    /// Where operators speak with the pool.
    #[serde(default)]
    pub control: Control,
}

/// How many VMs, and which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// How many VMs there are at most, used ones and those in the making included: 1 to 256.
    pub size: u16,
    /// How many clean VMs wait for visitors, as far as `size` allows. Default: `size`.
    #[serde(default)]
    pub spare: Option<u16>,
    /// Slots are known by the ports `start_port` + 1 to `start_port` + `size`, VMs by `<base>-<port>`. Default: 5920.
    #[serde(default = "defaults::start_port")]
    pub start_port: u16,
    /// How many VMs are made at the same time. Default: 2.
    #[serde(default = "defaults::parallel")]
    pub parallel: u16,
}

/// How VMs are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clones {
    /// Where overlays are: what visitors write, which a tmpfs forgets best. Default: `/var/lib/vrouter-pool/overlays`.
    pub overlay_dir: PathBuf,
    /// The most octets that one overlay takes; 0 for no cap. Default: 0.
    pub overlay_limit: u64,
    /// Starts VMs from a saved memory image instead of booting them, where that is possible. Default: false.
    pub instant: bool,
    /// Where memory images are kept. Default: `/var/lib/vrouter-pool/images`.
    pub image_dir: PathBuf,
    /// How long a booted VM is given before it is handed out, in seconds. Default: 0.
    pub boot_seconds: u64,
    /// Octets of memory that stay free for the host: no VM is made beyond that. Default: 512 MiB.
    pub memory_reserve: u64,
    /// Octets that stay free where overlays are. Default: 1 GiB.
    pub disk_reserve: u64,
}

/// Where stations ask for a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signal {
    /// Where the signal port is. Default: `0.0.0.0:5905`.
    pub listen: SocketAddr,
    /// The network interface that stations come by, for both ports; empty for any. Default: empty.
    pub interface: String,
    /// How many times, once a second, a station is told to connect, and so how long its VM is reserved (the old
    /// `count_conn_tryes`). Default: 10.
    pub tries: u32,
    /// How many stations are listened to at once; more are told so and let go. Default: 64.
    pub stations: u16,
    /// How long a station may wait in the queue, in seconds. Default: 300.
    pub wait_seconds: u64,
    /// Sends the one-time ticket as a line of its own before a station is told to connect. Default: false.
    pub ticket: bool,
}

/// Where stations' viewers connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// Where the broker listens for SPICE. Default: `0.0.0.0:5906`.
    pub listen: SocketAddr,
    /// Where it listens for SPICE in TLS as well. Default: nowhere.
    pub tls_listen: Option<SocketAddr>,
    /// The certificate chain for TLS, PEM.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// The control socket of the broker, which is a process of its own. Default: `/run/vrouter-pool/broker.sock`.
    pub broker_socket: PathBuf,
    /// How many connections one session may have at once. Default: 32.
    pub channels: u16,
    /// How long a silent station is believed to be there, in seconds: 5 to 30. Default: 25.
    pub dead_after_seconds: u64,
}

/// What ends a session, besides its guest shutting down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// How long a viewer that is gone may come back, in seconds. Default: 0.
    pub grace_seconds: u64,
    /// How long nobody may touch keyboard, mouse or USB, in seconds; 0 for ever. Default: 300.
    pub idle_seconds: u64,
    /// How long before that the visitor is warned, in seconds. Default: 30.
    pub idle_warning_seconds: u64,
    /// The longest session, in seconds; 0 for any. Default: 0.
    pub longest_seconds: u64,
}

/// How libvirt is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Libvirt {
    /// The connection. Default: `qemu:///system`.
    pub uri: String,
    /// How long a call may take, in seconds. Default: 10.
    pub call_seconds: u64,
    /// How long making or starting a VM may take, in seconds. Default: 60.
    pub start_seconds: u64,
}

/// The network that VMs are in, for `vrouter-pool network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Its name in libvirt. Default: `vrouter-pool`.
    pub name: String,
    /// Its bridge on the host. Default: `vrpool0`.
    pub bridge: String,
}

/// Where operators speak with the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// The API's socket. Default: `/run/vrouter-pool/api.sock`.
    pub socket: PathBuf,
    /// Where Prometheus fetches metrics over TCP; the API's socket has them as well. Default: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where the lock file and the journal of sessions are. Default: `/var/lib/vrouter-pool`.
    pub state_dir: PathBuf,
}

mod defaults {
    pub(super) const fn start_port() -> u16 {
        5920
    }

    pub(super) const fn parallel() -> u16 {
        2
    }
}

const fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

impl Default for Clones {
    fn default() -> Self {
        Self {
            overlay_dir: "/var/lib/vrouter-pool/overlays".into(),
            overlay_limit: 0,
            instant: false,
            image_dir: "/var/lib/vrouter-pool/images".into(),
            boot_seconds: 0,
            memory_reserve: 512 << 20,
            disk_reserve: 1 << 30,
        }
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self {
            listen: anywhere(5905),
            interface: String::new(),
            tries: 10,
            stations: 64,
            wait_seconds: 300,
            ticket: false,
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self {
            listen: anywhere(5906),
            tls_listen: None,
            tls_certificate: None,
            tls_key: None,
            broker_socket: "/run/vrouter-pool/broker.sock".into(),
            channels: 32,
            dead_after_seconds: 25,
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self { grace_seconds: 0, idle_seconds: 300, idle_warning_seconds: 30, longest_seconds: 0 }
    }
}

impl Default for Libvirt {
    fn default() -> Self {
        Self { uri: "qemu:///system".to_owned(), call_seconds: 10, start_seconds: 60 }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { name: "vrouter-pool".to_owned(), bridge: "vrpool0".to_owned() }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: "/run/vrouter-pool/api.sock".into(),
            metrics_listen: None,
            state_dir: "/var/lib/vrouter-pool".into(),
        }
    }
}

/// What keeps a configuration from being used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is not TOML, or has keys or types that are not known.
    #[error("not a configuration: {0}")]
    Syntax(#[from] toml::de::Error),
    /// Values do not fit.
    #[error("{0}")]
    Values(Faults),
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read or does not fit.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// It does not fit.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)?;
        if config.name.is_empty() {
            config.name.clone_from(&config.base);
        }
        let faults = config.faults();
        if faults.0.is_empty() { Ok(config) } else { Err(ConfigError::Values(faults)) }
    }

    /// The ports that name the slots.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let first = self.slots.start_port.saturating_add(1);
        (first..).take(usize::from(self.slots.size))
    }

    /// The name of a slot's VM.
    #[must_use]
    pub fn vm_name(&self, port: u16) -> String {
        format!("{}-{port}", self.base)
    }

    /// The slot of a VM's name; nothing where it is not one of this pool's.
    #[must_use]
    pub fn port_of(&self, name: &str) -> Option<u16> {
        let digits = name.strip_prefix(&self.base)?.strip_prefix('-')?;
        let port: u16 = digits.parse().ok()?;
        (self.ports().any(|own| own == port) && port.to_string() == digits).then_some(port)
    }

    /// Where the overlay of a VM is. No two VMs ever share one, so nothing that removes one late can hit another's.
    #[must_use]
    pub fn overlay(&self, port: u16, uuid: &str) -> PathBuf {
        self.clones.overlay_dir.join(format!("{}.{uuid}{OVERLAY_SUFFIX}", self.vm_name(port)))
    }

    /// How many clean VMs are wanted at most.
    #[must_use]
    pub fn spare(&self) -> u16 {
        self.slots.spare.unwrap_or(self.slots.size)
    }
}
