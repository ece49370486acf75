//! What SSH is: a port, and the keys of those who may come in.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::edit::{Collection, Edit, FlatNoun, Noun, collection, read};
use super::fault::{Faults, Pointer, Rule};
use super::load_balancer::within;
use super::net::AddressMatch;
pub use super::public_key::PublicKey;
pub use super::wire::SshRole;
use super::wire::{self, SSH_PORT};

/// The members of `ssh`.
const MEMBERS: [&str; 2] = ["port", "keys"];

/// SSH for the router's operators.
#[derive(Debug, Clone, PartialEq)]
pub struct Ssh {
    /// The TCP port; never 0.
    pub port: u16,
    /// Who may come in; never empty, and each with a key of its own.
    pub keys: Collection<SshKey>,
}

/// Somebody who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey {
    /// The public half of the key.
    pub public_key: PublicKey,
    /// What whoever has it may do.
    pub role: SshRole,
    /// Where from; from anywhere where absent, never empty.
    pub allowed_sources: Option<Vec<AddressMatch>>,
}

impl Noun for Ssh {
    fn edit(previous: Option<&Self>, mut edit: Edit, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        if !matches!(&edit, Edit::Replace(Value::Object(_)) | Edit::Patch(Value::Object(_))) {
            edit.refuse_rest(&MEMBERS, at, faults);
            return None;
        }
        let (none, place) = (Collection::new(), at.key("keys"));
        let before = faults.as_slice().len();
        let keys = collection(previous.map_or(&none, |ssh| &ssh.keys), edit.take("keys"), &place, faults);
        if keys.is_empty() && faults.as_slice().len() == before {
            let detail = "without a key nobody could come in; leave `ssh` out to have no SSH";
            faults.add(place.clone(), Rule::OutOfRange, detail);
        }
        check_twins(&keys, &place, faults);
        let place = at.key("port");
        let port = match edit.take("port") {
            None => previous.map(|ssh| ssh.port),
            Some(edit) if edit.removes() => Some(SSH_PORT),
            Some(Edit::Replace(value) | Edit::Patch(value)) => read(value, &place, faults),
        };
        if let Some(port) = port {
            within(&place, port.into(), 1..=65_535, faults);
        }
        edit.refuse_rest(&MEMBERS, at, faults);
        port.filter(|_| !keys.is_empty()).map(|port| Self { port, keys })
    }
}

/// Reports a key that is there under another id already: it would not be said which role it has.
fn check_twins(keys: &Collection<SshKey>, at: &Pointer, faults: &mut Faults) {
    let mut first = BTreeMap::new();
    for (id, key) in keys {
        if let Some(other) = first.get(&key.public_key) {
            let detail = format!("`{other}` is the same key; it cannot have two roles");
            faults.add(at.key(id.as_str()).key("public_key"), Rule::Conflict, detail);
        } else {
            first.insert(&key.public_key, id);
        }
    }
}

impl Ssh {
    /// What is not a collection, as the wire writes it: what differs of it is told as a change of `ssh` itself.
    pub(super) fn settings(&self) -> Value {
        json!({ "port": self.port })
    }
}

impl From<&Ssh> for wire::Ssh {
    fn from(ssh: &Ssh) -> Self {
        let Ssh { port, keys } = ssh;
        Self { port: *port, keys: keys.iter().map(|(id, key)| (id.clone(), key.write())).collect() }
    }
}

impl FlatNoun for SshKey {
    type Wire = wire::SshKey;

    fn read(wire: wire::SshKey, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::SshKey { public_key, role, allowed_sources } = wire;
        if allowed_sources.as_ref().is_some_and(Vec::is_empty) {
            let detail = "nobody could use it; leave the member out to allow anybody";
            faults.add(at.key("allowed_sources"), Rule::OutOfRange, detail);
        }
        Some(Self { public_key, role, allowed_sources })
    }

    fn write(&self) -> wire::SshKey {
        let Self { public_key, role, allowed_sources } = self.clone();
        wire::SshKey { public_key, role, allowed_sources }
    }
}
