//! The document while a command is translated: members by their nouns, interfaces by their MAC, and what `owner` keeps.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};

use super::Refusal;
use crate::config::{MacAddress, empty_document};

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
        Self { members, nowhere: Map::new() }
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
        if self.has_role(interface, "guest") || self.has_role(interface, "public") {
            return;
        }
        if let Some(Value::Array(roles)) = self.object(&["interfaces", interface]).get_mut("roles") {
            roles.push("public".into());
        }
    }

    /// The addresses on an interface.
    pub(super) fn addresses(&self, interface: &str) -> impl Iterator<Item = Ipv4Net> {
        let addresses = self.at(&["interfaces", interface, "addresses"]).and_then(Value::as_array);
        addresses.into_iter().flatten().filter_map(|text| text.as_str()?.parse().ok())
    }

    /// The router's own address on an interface: the first that is no VIP.
    pub(super) fn own_address(&self, interface: &str) -> Option<Ipv4Net> {
        self.addresses(interface).find(|net| !self.is_vip(net.addr()))
    }

    /// Whether an address is one that an interface has for itself.
    pub(super) fn is_own(&self, address: Ipv4Addr) -> bool {
        let interfaces = self.interfaces();
        interfaces.iter().any(|id| self.own_address(id).is_some_and(|net| net.addr() == address))
    }

    fn is_vip(&self, address: Ipv4Addr) -> bool {
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
            let mut wanted: Vec<Value> =
                self.own_address(&id).map(|net| net.to_string().into()).into_iter().collect();
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
