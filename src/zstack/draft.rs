//! The document while a command is translated: members by their nouns, interfaces by their MAC, and what `owner` keeps.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};

use super::Refusal;
use super::body::Body;
use crate::config::{MacAddress, empty_document};

/// What an interface can be, in the order in which it is written.
pub(super) const ROLES: [&str; 3] = ["management", "public", "guest"];

/// The document that a command is about to change.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    members: Map<String, Value>,
    /// Takes what is written through something that is no object; a document that was valid has nothing of the kind.
    nowhere: Map<String, Value>,
}

impl Draft {
    pub(super) fn new(document: &Value) -> Self {
        let members = match document {
            Value::Object(members) => members.clone(),
            _ => Map::new(),
        };
        let mut draft = Self { members, nowhere: Map::new() };
        draft.take_vips_off();
        draft
    }

    /// Leaves interfaces their own addresses: which VIPs they have is stated anew in the end.
    fn take_vips_off(&mut self) {
        for id in self.interfaces() {
            let own: Vec<Value> = self
                .addresses(&id)
                .filter(|net| !self.is_vip(net.addr()))
                .map(|net| net.to_string().into())
                .collect();
            if let Some(addresses) = self.object(&["interfaces", &id]).get_mut("addresses") {
                *addresses = own.into();
            }
        }
    }

    /// The document as it should run.
    pub(super) fn finish(mut self) -> Value {
        self.settle();
        // What is empty is absent, as the configuration writes itself; `dns` alone means something by being there.
        let is_something = |value: &Value| value.as_object().is_none_or(|all| !all.is_empty());
        self.members.retain(|name, value| name == "dns" || is_something(value));
        let mut document = empty_document();
        if let Value::Object(members) = &mut document {
            members.append(&mut self.members);
        }
        document
    }

    /// Whether nobody has configured anything.
    pub(super) fn is_blank(&self) -> bool {
        self.members.keys().all(|name| name == "version")
    }

    /// Whether ZStack commands this router.
    pub(super) fn is_owned(&self) -> bool {
        self.at(&["owner", "zstack"]).is_some()
    }

    /// What a path of members leads to.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.members.get(*first)?, |value, name| value.get(*name))
    }

    /// The text that a path of members leads to.
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        self.at(path).and_then(Value::as_str)
    }

    /// The members of the object that a path of members leads to, if it is there.
    pub(super) fn entries<'a>(
        &'a self,
        path: &[&str],
    ) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let members = self.at(path).and_then(Value::as_object);
        members.into_iter().flatten().map(|(id, value)| (id.as_str(), value))
    }

    /// The object that a path of members leads to, made on the way.
    pub(super) fn object(&mut self, path: &[&str]) -> &mut Map<String, Value> {
        within(&mut self.members, &mut self.nowhere, path)
    }

    /// Keeps of a collection what `keep` says.
    pub(super) fn retain(&mut self, path: &[&str], mut keep: impl FnMut(&str, &Value) -> bool) {
        if self.at(path).is_some() {
            self.object(path).retain(|id, value| keep(id, value));
        }
    }

    /// Takes an object out of a collection; there may be none.
    pub(super) fn remove(&mut self, path: &[&str], id: &str) -> Option<Value> {
        self.at(path)?;
        self.object(path).remove(id)
    }

    /// Puts an object into a collection, in the place of one that has the id.
    pub(super) fn put(&mut self, path: &[&str], id: &str, value: Value) {
        self.object(path).insert(id.to_owned(), value);
    }

    /// The ids of the interfaces.
    pub(super) fn interfaces(&self) -> Vec<String> {
        self.entries(&["interfaces"]).map(|(id, _)| id.to_owned()).collect()
    }

    /// The id of the interface that is found by a MAC.
    pub(super) fn interface(&self, mac: MacAddress) -> Result<String, Refusal> {
        self.find_interface(mac).ok_or_else(|| {
            Refusal::Invalid(format!("no NIC with the MAC {mac} is configured on this router"))
        })
    }

    /// The id of the interface that is found by a MAC, if there is one.
    pub(super) fn find_interface(&self, mac: MacAddress) -> Option<String> {
        let of = |value: &Value| value.get("mac")?.as_str()?.parse::<MacAddress>().ok();
        let found = self.entries(&["interfaces"]).find(|(_, value)| of(value) == Some(mac));
        found.map(|(id, _)| id.to_owned())
    }

    /// Whether an interface has a role.
    pub(super) fn has_role(&self, interface: &str, role: &str) -> bool {
        let roles = self.at(&["interfaces", interface, "roles"]).and_then(Value::as_array);
        roles.is_some_and(|roles| roles.iter().any(|one| one == role))
    }

    /// An interface that public addresses are asked for is public, unless guests are on it.
    pub(super) fn make_public(&mut self, interface: &str) {
        if !self.has_role(interface, "guest") {
            self.give_role(interface, "public");
        }
    }

    /// Gives an interface a role that a command takes for granted, beside those that it has.
    pub(super) fn give_role(&mut self, interface: &str, role: &str) {
        if self.has_role(interface, role) {
            return;
        }
        if let Some(Value::Array(roles)) = self.object(&["interfaces", interface]).get_mut("roles") {
            roles.push(role.into());
            roles.sort_by_key(|role| ROLES.iter().position(|one| role == one));
        }
    }

    /// Whoever is mapped to is a guest of the NIC that the mapping names, where that NIC is in the network of his.
    pub(super) fn expect_guest(&mut self, mac: Body<'_>, name: &str, guest: Ipv4Addr) -> Result<(), Refusal> {
        if mac.text(name).is_none() {
            return Ok(());
        }
        let found = self.find_interface(mac.mac(name)?);
        let near = found.filter(|id| self.addresses(id).any(|own| own.contains(&guest)));
        if let Some(id) = near {
            self.give_role(&id, "guest");
        }
        Ok(())
    }

    /// The router's own addresses on an interface, one for each of the networks that share it; VIPs are not among them.
    pub(super) fn addresses(&self, interface: &str) -> impl Iterator<Item = Ipv4Net> {
        let addresses = self.at(&["interfaces", interface, "addresses"]).and_then(Value::as_array);
        addresses.into_iter().flatten().filter_map(|text| text.as_str()?.parse().ok())
    }

    /// Whether an address is one that an interface has for itself.
    pub(super) fn is_own(&self, address: Ipv4Addr) -> bool {
        let interfaces = self.interfaces();
        interfaces.iter().any(|id| self.addresses(id).any(|net| net.addr() == address))
    }

    /// Whether an address is a VIP.
    pub(super) fn is_vip(&self, address: Ipv4Addr) -> bool {
        self.at(&["owner", "zstack", "vips", &address.to_string()]).is_some()
    }

    /// States the addresses of each interface: its own first, then its VIPs that are no EIP's. And what lets EIPs in.
    fn settle(&mut self) {
        if !self.is_owned() {
            return;
        }
        let eips = self.entries(&["eips"]).filter_map(|(_, eip)| eip.get("address")?.as_str());
        let eips: BTreeSet<String> = eips.map(str::to_owned).collect();
        for id in self.interfaces() {
            let mut wanted: Vec<Value> = self.addresses(&id).map(|net| net.to_string().into()).collect();
            for (address, vip) in self.entries(&["owner", "zstack", "vips"]) {
                let here = vip.get("interface").and_then(Value::as_str) == Some(&id);
                if here && !eips.contains(address) {
                    wanted.extend(vip.get("address").cloned());
                }
            }
            let interface = self.object(&["interfaces", &id]);
            if wanted.is_empty() {
                interface.remove("addresses");
            } else {
                interface.insert("addresses".to_owned(), wanted.into());
            }
        }
        super::firewall::settle(self);
    }
}

fn within<'a>(
    members: &'a mut Map<String, Value>,
    nowhere: &'a mut Map<String, Value>,
    path: &[&str],
) -> &'a mut Map<String, Value> {
    let Some((first, rest)) = path.split_first() else { return members };
    match members.entry(*first).or_insert_with(|| json!({})) {
        Value::Object(inner) => within(inner, nowhere, rest),
        _ => nowhere,
    }
}
