//! The engine: takes over what the configuration says of SSH, all of it or nothing, and ends the connections of those whom it
//! does not let in any more. Called by `engines.rs`; status asks it how it does.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use russh::keys::{Algorithm, EcdsaCurve};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, kex, mac};
use tokio::time::timeout;

use super::command::Commands;
use super::desk::Desk;
use super::host_key::{self, HostKey};
use super::listener::{self, Listener};
use super::snapshot::Snapshot;
use super::status::Status;
use super::visitor::PACKET;
use crate::clock;
use crate::config::{Faults, Pointer, Rule};

/// How long connections are given to end when the service does.
const DRAIN: Duration = Duration::from_secs(4);
/// How many keys somebody may offer, since an agent offers all it has; and one more, which asks how anybody comes in.
const OFFERS: usize = 16 + 1;
/// How long it takes at least to be told no. Nothing can be guessed, so it is short.
const REFUSAL: Duration = Duration::from_millis(100);
/// How often a client that says nothing is asked whether it is there, and how often in vain.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVES: usize = 4;
/// How much a channel's client may send that is not taken yet, in octets, and in how many pieces.
const WINDOW: u32 = 256 << 10;
const PIECES: usize = 8;

/// What keeps SSH from being served.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for SSH: {reason}")]
    Listen {
        /// The address and the port.
        address: SocketAddrV4,
        /// The system's words.
        reason: io::Error,
    },
    /// There is no host key, and nothing to make one of.
    #[error("no host key of SSH can be made: {0}")]
    Random(#[from] getrandom::Error),
    /// The thread that would have read it is gone.
    #[error("the host key of SSH cannot be read: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl SshError {
    /// What is wrong with the configuration that wants it.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        if matches!(self, Self::Listen { .. }) {
            faults.add(Pointer::root().key("ssh").key("port"), Rule::Conflict, self.to_string());
        }
        faults
    }
}

/// SSH.
#[derive(Debug)]
pub struct Service {
    desk: Arc<Desk>,
    state_dir: PathBuf,
    served: Mutex<Served>,
}

/// What is served.
#[derive(Debug, Default)]
struct Served {
    listeners: BTreeMap<SocketAddrV4, Listener>,
    /// The host key, once there was need of one.
    host: Option<Host>,
}

#[derive(Debug, Clone)]
struct Host {
    config: Arc<Config>,
    fingerprint: String,
    fault: Option<String>,
}

impl Service {
    /// The service, which serves nothing yet. Its host key is in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { desk: Arc::new(Desk::new()), state_dir: state_dir.to_owned(), served: Mutex::default() }
    }

    /// What can be asked from now on; nobody comes in before.
    pub fn answer_with(&self, commands: Arc<dyn Commands>) {
        self.desk.answer_with(Some(commands));
    }

    /// Lets go of the addresses and ports that a configuration does not want here, so that others can have them.
    pub async fn release(&self, snapshot: &Snapshot) {
        let is_left = |address: &SocketAddrV4| !snapshot.listen.contains(address);
        let left: Vec<_> = {
            let listeners = &mut self.served.lock().listeners;
            let addresses: Vec<_> = listeners.keys().copied().filter(is_left).collect();
            addresses.iter().filter_map(|address| listeners.remove(address)).collect()
        };
        for listener in left {
            listener.close().await;
        }
    }

    /// Takes over what a configuration says.
    ///
    /// # Errors
    /// An address cannot be listened on, or there is nothing to make a host key of; then nobody is let in who was not before.
    pub async fn apply(&self, snapshot: Arc<Snapshot>) -> Result<(), SshError> {
        let host = if snapshot.is_on() { Some(self.host().await?) } else { None };
        let mut served = self.served.lock();
        let mut opened = Vec::new();
        for address in snapshot.listen.iter().filter(|address| !served.listeners.contains_key(address)) {
            let listener = listener::open(*address);
            opened
                .push((*address, listener.map_err(|reason| SshError::Listen { address: *address, reason })?));
        }
        served.listeners.retain(|address, _| snapshot.listen.contains(address));
        for ((address, listener), host) in opened.into_iter().zip(host.iter().cycle()) {
            let listener = Listener::serve(listener, self.desk.clone(), host.config.clone());
            served.listeners.insert(address, listener);
        }
        drop(served);
        self.desk.snapshot.send_if_modified(|current| {
            let differs = *current != snapshot;
            if differs {
                *current = snapshot;
            }
            differs
        });
        Ok(())
    }

    /// The server as its clients know it: made once, which may wait for the disk.
    async fn host(&self) -> Result<Host, SshError> {
        if let Some(host) = self.served.lock().host.clone() {
            return Ok(host);
        }
        let (state_dir, seed) = (self.state_dir.clone(), clock::random_octets()?);
        let host = tokio::task::spawn_blocking(move || host(&state_dir, &seed)).await?;
        self.served.lock().host = Some(host.clone());
        Ok(host)
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> Status {
        let served = self.served.lock();
        let desk = &self.desk;
        Status {
            listeners: served.listeners.keys().copied().collect(),
            keys: desk.snapshot.borrow().keys(),
            host_key: served.host.as_ref().map(|host| host.fingerprint.clone()),
            storage_fault: served.host.as_ref().and_then(|host| host.fault.clone()),
            operators: desk.operators(),
            admitted: desk.admitted.load(Ordering::Relaxed),
            refused: desk.refused.load(Ordering::Relaxed),
        }
    }

    /// Lets nobody in any more, lets go of the commands, and waits until everybody is gone.
    pub async fn close(&self) {
        self.served.lock().listeners.clear();
        self.desk.answer_with(None);
        self.desk.snapshot.send_replace(Arc::default());
        if timeout(DRAIN, self.desk.empty()).await.is_err() {
            tracing::warn!("connections of SSH are cut off");
        }
    }
}

/// The server as its clients know it.
fn host(state_dir: &Path, seed: &[u8; 32]) -> Host {
    let HostKey { key, fault } = host_key::open(state_dir, seed);
    if let Some(fault) = &fault {
        tracing::error!(fault, "the host key of SSH is not kept");
    }
    let fingerprint = host_key::fingerprint(&key);
    let config = Config {
        server_id: SshId::Standard("SSH-2.0-vrouter".into()),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        auth_rejection_time: REFUSAL,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: PIECES,
        preferred: preferred(),
        max_auth_attempts: OFFERS,
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        nodelay: true,
        ..Config::default()
    };
    Host { config: Arc::new(config), fingerprint, fault }
}

/// The keys that clients may have.
const CLIENT_KEYS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
];

/// What every client of the last ten years speaks, and nothing older (RFC 8731, RFC 5647, draft-ietf-sshm-chacha20-poly1305).
fn preferred() -> Preferred {
    Preferred {
        kex: vec![
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::EXTENSION_SUPPORT_AS_SERVER,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
        ]
        .into(),
        // Of the host's keys there is one; those of clients are told by the same list.
        key: CLIENT_KEYS.as_slice().into(),
        cipher: vec![cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_256_CTR].into(),
        mac: vec![mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM].into(),
        ..Preferred::DEFAULT
    }
}
