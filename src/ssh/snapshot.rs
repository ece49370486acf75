//! What the configuration says of SSH: where it answers, and whom it lets in. Pure; made by `engines.rs` for each
//! configuration.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use russh::keys::PublicKey;

use super::command::Operator;
use crate::config::Config;
use crate::config::ssh::{Ssh, SshKey};

/// What is served. Nothing is, unless the configuration says so.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    ssh: Option<Ssh>,
    pub(super) listen: Vec<SocketAddrV4>,
}

impl Snapshot {
    /// What a configuration wants.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let Some(ssh) = config.ssh() else { return Self::default() };
        let listen = config.ssh_addresses().into_iter().map(|address| SocketAddrV4::new(address, ssh.port));
        Self { ssh: Some(ssh.clone()), listen: listen.collect() }
    }

    /// Whether anything is served.
    pub(super) const fn is_on(&self) -> bool {
        self.ssh.is_some()
    }

    /// Whether SSH answers there.
    pub(super) fn listens_at(&self, address: SocketAddr) -> bool {
        self.listen.iter().any(|listened| SocketAddr::V4(*listened) == address)
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.ssh.as_ref().map_or(0, |ssh| ssh.keys.len())
    }

    /// Who shows this key from there, if he may come in with it. That he has its private half is not known here.
    pub(super) fn operator(&self, key: &PublicKey, from: SocketAddr) -> Option<Operator> {
        let keys = self.ssh.iter().flat_map(|ssh| &ssh.keys);
        let (id, known) =
            keys.into_iter().find(|(_, known)| known.public_key.key().key_data() == key.key_data())?;
        let (name, role) = (Arc::from(id.as_str()), known.role);
        is_allowed(known, from.ip().to_canonical()).then_some(Operator { name, role, from })
    }
}

fn is_allowed(key: &SshKey, from: IpAddr) -> bool {
    let IpAddr::V4(from) = from else { return false };
    key.allowed_sources
        .as_ref()
        .is_none_or(|sources| sources.iter().any(|source| source.range().contains(from)))
}
