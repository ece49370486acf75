//! What a cloud or a host tells a fresh machine by a disk: `NoCloud` and `OpenStack`'s config drive, as far as a router has a
//! use for it. Octets of files become the first configuration and tokens, or what is wrong with them; whatever is left out
//! is said by name. Pure; `image/init` reads the disk, and the daemon decides whether the result is wanted.
//!
//! ```text
//! disk ──init──▶ Bundle ──read──▶ network data ─┐
//!                                 user data ────┴─compose──▶ document, tokens, notes
//! ```

pub mod bundle;
mod compose;
mod network;
mod notes;
mod openstack;
mod user_data;
mod version1;
mod version2;
mod yaml;

use serde_json::{Map, Value};

use self::bundle::{Bundle, Kind};
use self::network::Network;
use self::notes::Notes;
use self::yaml::Order;

/// What a seed disk comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// Where it came from, such as `NoCloud disk /dev/vdb`.
    pub source: String,
    /// The first configuration, which is still to be checked; nothing where the disk has none. Otherwise every fault of the
    /// disk's files, a line each.
    pub document: Result<Option<Value>, String>,
    /// Lines of a file of tokens.
    pub tokens: Option<String>,
    /// What on the disk is left out, and why.
    pub notes: Vec<String>,
}

/// Reads what the appliance's first program handed over.
#[must_use]
pub fn read(octets: &[u8]) -> Seed {
    match Bundle::read(octets) {
        Some(bundle) => of_disk(&bundle),
        None => Seed {
            source: "seed disk".to_owned(),
            document: Err("what was handed over is not what a seed disk held".to_owned()),
            tokens: None,
            notes: Vec::new(),
        },
    }
}

fn of_disk(bundle: &Bundle) -> Seed {
    let mut notes = Notes::default();
    for (name, why) in &bundle.left {
        notes.of(name).fault(why);
    }
    let kind = match bundle.kind {
        Kind::NoCloud => "NoCloud",
        Kind::ConfigDrive => "ConfigDrive",
    };
    let (mut network, hostname) = match bundle.kind {
        Kind::NoCloud => no_cloud(bundle, &mut notes),
        Kind::ConfigDrive => config_drive(bundle, &mut notes),
    };
    network.finish(notes.of("network data"));
    let file = match bundle.kind {
        Kind::NoCloud => "user-data",
        Kind::ConfigDrive => "user_data",
    };
    let octets = bundle.file(file).unwrap_or_default();
    let user = user_data::read(octets, notes.of(file));
    let hostname = user.hostname.or(hostname);
    // Whoever has said nothing gets nothing: a name alone makes no router.
    if network.nics.is_empty() {
        network.routes.clear();
    }
    let document = compose::compose(&network, hostname.as_deref(), user.document, notes.of("network data"));
    let (notes, faults) = notes.finish();
    let document = if faults.is_empty() { Ok(document) } else { Err(faults.join("\n")) };
    Seed { source: format!("{kind} disk {}", bundle.disk), document, tokens: user.tokens, notes }
}

/// `meta-data` and `network-config`: the devices, and the machine's name.
fn no_cloud(bundle: &Bundle, notes: &mut Notes) -> (Network, Option<String>) {
    let mut network = Network::default();
    let meta = mapping(bundle, "meta-data", notes).unwrap_or_default();
    for (key, what) in
        [("network-interfaces", "give a network-config"), ("public-keys", "there are no logins")]
    {
        if meta.get(key).is_some_and(|value| !value.is_null()) {
            notes.note(format!("`{key}` is left out: {what}"));
        }
    }
    let hostname = ["local-hostname", "hostname"].into_iter().find_map(|key| meta.get(key)?.as_str());
    let network_config = in_order(bundle, "network-config", version2::IN_ORDER, notes.of("network-config"));
    if let Some((config, order)) = network_config {
        // Some write it as it stands in cloud-init's own files.
        let config = config.get("network").and_then(Value::as_object).unwrap_or(&config);
        match config.get("version").and_then(network::number) {
            _ if config.is_empty() => {}
            _ if config.get("config").and_then(Value::as_str) == Some("disabled") => {}
            Some(1) => version1::read(config.get("config").unwrap_or(&Value::Null), &mut network, notes),
            Some(2) => version2::read(config, &order, &mut network, notes),
            _ => notes.fault("its `version` is neither 1 nor 2"),
        }
    }
    (network, hostname.map(str::to_owned))
}

/// `meta_data.json` and `network_data.json`.
fn config_drive(bundle: &Bundle, notes: &mut Notes) -> (Network, Option<String>) {
    let mut network = Network::default();
    let meta = mapping(bundle, "meta_data.json", notes).unwrap_or_default();
    let keys = ["public_keys", "keys", "admin_pass"];
    if keys.into_iter().any(|key| meta.get(key).is_some_and(|value| !value.is_null())) {
        notes.note("keys and passwords are left out: there are no logins");
    }
    let hostname = ["hostname", "name"].into_iter().find_map(|key| meta.get(key)?.as_str());
    if let Some(data) = mapping(bundle, "network_data.json", notes.of("network_data.json")) {
        openstack::read(&Value::Object(data), &mut network, notes);
    }
    (network, hostname.map(str::to_owned))
}

/// A file that holds a mapping; nothing where it is not there or empty. JSON is YAML as well.
fn mapping(bundle: &Bundle, name: &str, notes: &mut Notes) -> Option<Map<String, Value>> {
    in_order(bundle, name, &[], notes).map(|(mapping, _)| mapping)
}

/// The same, with the order of members of the mappings that have one of these names.
fn in_order(
    bundle: &Bundle,
    name: &str,
    named: &[&str],
    notes: &mut Notes,
) -> Option<(Map<String, Value>, Order)> {
    let octets = bundle.file(name)?;
    let notes = notes.of(name);
    let Ok(text) = std::str::from_utf8(octets) else {
        notes.fault("it is no text in UTF-8");
        return None;
    };
    match yaml::parse_in_order(text, named) {
        Ok((Value::Object(mapping), order)) => Some((mapping, order)),
        Ok((Value::Null, _)) => None,
        Ok(_) => {
            notes.fault("it is no mapping");
            None
        }
        Err(fault) => {
            notes.fault(fault.to_string());
            None
        }
    }
}
