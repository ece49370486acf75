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
            None => Some(previous.map_or(SSH_PORT, |ssh| ssh.port)),
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

/// Reports a key that is there under another id already: which of the two roles it has would be left open.
fn check_twins(keys: &Collection<SshKey>, at: &Pointer, faults: &mut Faults) {
    let mut first = BTreeMap::new();
    for (id, key) in keys {
        if let Some(other) = first.get(&key.public_key) {
            let detail = format!("`{other}` has this key already");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ChangeKind, Config, changes};

    const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICUa3bWSqWJEU2VMkJe7zADi4kgouCpXjbt0Esh4J/ta";
    const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPve6FAuedzrau7dZjA1T5LnF6ihg4DFS5uEgwIThLAp";

    /// A router with management on an interface of its own, guests, and a public side.
    fn router() -> Config {
        let interface = |device: &str, role: &str, address: &str| json!({"device": device, "roles": [role], "addresses": [address]});
        let document = json!({"version": 1, "interfaces": {
            "mgmt": interface("eth0", "management", "192.168.0.188/24"),
            "public": interface("eth1", "public", "198.51.100.5/24"),
            "guest": interface("eth2", "guest", "10.1.1.1/24")}});
        Config::default().replace(document).unwrap()
    }

    fn with_alice() -> Config {
        router().patch(json!({"ssh": {"keys": {"alice": {"public_key": ALICE, "role": "write"}}}})).unwrap()
    }

    fn told(faults: &Faults) -> Vec<(&str, Rule, &str)> {
        faults
            .as_slice()
            .iter()
            .map(|fault| (fault.pointer.as_str(), fault.rule, fault.detail.as_str()))
            .collect()
    }

    fn addresses(config: &Config) -> Vec<String> {
        config.ssh_addresses().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn there_is_none_until_somebody_has_a_key() {
        let off = router();
        assert!(off.ssh().is_none() && off.ssh_addresses().is_empty());
        assert!(off.to_json().get("ssh").is_none());
        let on = with_alice();
        assert_eq!(
            on.to_json()["ssh"],
            json!({"port": 22, "keys": {"alice": {"public_key": ALICE, "role": "write"}}})
        );
        assert_eq!(off.replace(on.to_json()).unwrap(), on);
        assert_eq!(addresses(&on), ["192.168.0.188"]);
        assert_eq!(on.patch(json!({"ssh": null})).unwrap(), off);
        let port = on.patch(json!({"ssh": {"port": 2222}})).unwrap();
        assert_eq!(port.ssh().unwrap().port, 2222);
        assert_eq!(port.patch(json!({"ssh": {"port": null}})).unwrap(), on);
        for nobody in
            [json!({}), json!({"keys": {}}), json!({"keys": null}), json!({"keys": {"alice": null}})]
        {
            let faults = router().patch(json!({ "ssh": nobody })).unwrap_err();
            let detail = "without a key nobody could come in; leave `ssh` out to have no SSH";
            assert_eq!(told(&faults), [("/ssh/keys", Rule::OutOfRange, detail)]);
        }
        assert!(on.patch(json!({"ssh": {"keys": {"alice": null}}})).is_err());
    }

    #[test]
    fn keys_that_stay_share_their_place_in_memory() {
        let before = with_alice();
        let bob = json!({"ssh": {"port": 2222, "keys": {"bob": {"public_key": format!("{BOB} bob@desk"), "role": "read",
                         "allowed_sources": ["192.0.2.0/24"]}}}});
        let after = before.patch(bob).unwrap();
        let (old, new) = (before.ssh().unwrap(), after.ssh().unwrap());
        assert!(std::sync::Arc::ptr_eq(&old.keys["alice"], &new.keys["alice"]));
        assert_eq!((new.keys["bob"].role, new.keys["alice"].role), (SshRole::Read, SshRole::Write));
        let found = |before: &Config, after: &Config| -> Vec<(String, ChangeKind)> {
            changes(before, after)
                .objects
                .into_iter()
                .map(|one| (one.pointer.to_string(), one.change))
                .collect()
        };
        assert_eq!(
            found(&before, &after),
            [("/ssh".to_owned(), ChangeKind::Changed), ("/ssh/keys/bob".to_owned(), ChangeKind::Added)]
        );
        assert_eq!(found(&router(), &after), [("/ssh".to_owned(), ChangeKind::Added)]);
        assert_eq!(found(&after, &router()), [("/ssh".to_owned(), ChangeKind::Removed)]);
    }

    /// Where something of an interface is wrong, SSH is not blamed for it as well.
    #[test]
    fn an_interface_that_could_not_be_read_may_have_been_the_managements() {
        let mut document = with_alice().to_json();
        document["interfaces"]["mgmt"]["addresses"] = json!(["192.168.0.300/24"]);
        let faults = Config::default().replace(document.clone()).unwrap_err();
        let [fault] = faults.as_slice() else { panic!("{faults}") };
        assert_eq!(fault.pointer.as_str(), "/interfaces/mgmt/addresses/0");
        document["interfaces"]["mgmt"]["addresses"] = json!([]);
        let faults = Config::default().replace(document.clone()).unwrap_err();
        let detail = "no interface with the role management has an address, so SSH would answer nowhere";
        assert_eq!(told(&faults), [("/ssh", Rule::Unreachable, detail)]);
        document["interfaces"].as_object_mut().unwrap().remove("mgmt");
        let faults = Config::default().replace(document).unwrap_err();
        let detail = "no interface has the role management, so SSH would answer nowhere";
        assert_eq!(told(&faults), [("/ssh", Rule::Unreachable, detail)]);
    }

    #[test]
    fn it_answers_where_the_management_does() {
        let with = |roles: Value, addresses: Value| {
            let public = json!({"roles": roles, "addresses": addresses, "gateway": "198.51.100.1"});
            with_alice().patch(json!({"interfaces": {"mgmt": null, "public": public}})).unwrap()
        };
        // Public too: the management's own address, if there is one, else all of them.
        let both = json!(["management", "public"]);
        assert_eq!(
            addresses(&with(both.clone(), json!(["198.51.100.5/24", "192.168.0.188/24"]))),
            ["192.168.0.188"]
        );
        assert_eq!(addresses(&with(both, json!(["198.51.100.5/24"]))), ["198.51.100.5"]);
        let merged = with_alice()
            .patch(json!({"interfaces": {"mgmt": null, "guest":
                {"roles": ["guest", "management"], "addresses": ["192.168.0.188/24", "10.1.1.1/24"]}}}))
            .unwrap();
        assert_eq!(addresses(&merged), ["10.1.1.1", "192.168.0.188"]);
    }

    #[test]
    fn nobody_else_has_its_port() {
        let merged = with_alice()
            .patch(json!({"interfaces": {"mgmt": null, "public": {"roles": ["management", "public"]}}}))
            .unwrap();
        let forward = json!({"port_forwards": {"f": {"protocol": "tcp", "address": "198.51.100.5", "ports": "20-30", "target": "10.1.1.20"}}});
        let balancer = json!({"load_balancers": {"b": {"address": "198.51.100.5", "port": 22, "protocol": "tcp", "pools": {"p": {"backends": {}}}}}});
        for (other, named) in [(forward, "port forward `f`"), (balancer, "load balancer `b`")] {
            let faults = merged.patch(other.clone()).unwrap_err();
            let detail = format!("{named} has port 22 of 198.51.100.5");
            assert_eq!(told(&faults), [("/ssh/port", Rule::Overlap, detail.as_str())]);
            // Of UDP, of another port, or beside it they are no matter.
            let moved = merged.patch(json!({"ssh": {"port": 2222}})).unwrap();
            assert!(moved.patch(other.clone()).is_ok());
            assert!(with_alice().patch(other).is_ok());
        }
        let shared = json!({"dns": {}, "ssh": {"port": 53}, "interfaces": {"mgmt": null, "guest":
            {"roles": ["guest", "management"], "addresses": ["192.168.0.188/24", "10.1.1.1/24"]}}});
        let faults = with_alice().patch(shared).unwrap_err();
        let detail = "DNS answers on this port of 10.1.1.1";
        assert_eq!(told(&faults), [("/ssh/port", Rule::Overlap, detail)]);
    }
}
