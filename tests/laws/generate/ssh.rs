//! SSH by chance, edits of it, and lines that may be keys.

use proptest::prelude::*;
use serde_json::{Value, json};

const KEYS: [&str; 5] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAorNbpJl12pAco2i3xhnGvolalvsszhVTQI0V3uF3+x",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAHly+SXcNinOJZ4wlVyNWe6fkFU30ijRsbkySYfAFy",
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBLbarKxLE/qy8yZBa1kv5pSs+Q3HfmUi0TrdFjMLsM8XDrvFqDbETQl3/gz6C0rVD2A4hnA04H6GYW5f6qn29z0=",
    "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAEJFUviTtbbx6494CdA0lvU1UviBz6/K16+iIC38IClB5MTmWQn7hPoR3qFVLKvrRJ5ez6PP1b6puhIh4G9Bp2dqwDYvusuZSfhfrOV1yC7dmdGCc9bdJ6C3FmEtx/uZbSaJebzqk64tsKUcupwc6eVabKd9Lv5W0JWKwSBBnv3xJcjIA==",
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAorNbpJl12pAco2i3xhnGvolalvsszhVTQI0V3uF3+xAAAABHNzaDo=",
];

/// Somebody who may come in, with this key.
fn key(line: &'static str) -> impl Strategy<Value = Value> {
    let sources = prop_oneof![
        Just(json!(null)),
        Just(json!(["192.0.2.0/24"])),
        Just(json!(["192.0.2.7", "198.51.100.7-198.51.100.20"])),
    ];
    let role = prop_oneof![Just("read"), Just("write")];
    (role, sources, any::<bool>()).prop_map(move |(role, sources, comment)| {
        let line = if comment { format!("{line} somebody@desk") } else { line.to_owned() };
        let mut key = json!({"public_key": line, "role": role});
        if !sources.is_null() {
            key["allowed_sources"] = sources;
        }
        key
    })
}

/// A valid section, or null: ports that no other object of a generated document has, and each key once.
pub(super) fn ssh() -> impl Strategy<Value = Value> {
    let keys = prop::sample::subsequence(vec![0, 1, 2, 3, 4], 0..=3);
    let keys = keys.prop_flat_map(|keys| {
        let key = |number: usize| key(KEYS[number]).prop_map(move |key| (format!("key-{number}"), key));
        keys.into_iter().map(key).collect::<Vec<_>>()
    });
    (keys, prop_oneof![Just(2222), Just(6022)]).prop_map(|(keys, port)| {
        if keys.is_empty() {
            return Value::Null;
        }
        let keys: serde_json::Map<String, Value> = keys.into_iter().collect();
        json!({"port": port, "keys": keys})
    })
}

/// A patch of the section, some of them wrong: no key, one twice, a port that is taken or none.
pub(super) fn ssh_edit() -> impl Strategy<Value = Value> {
    let change = || prop_oneof![2 => key(KEYS[0]), 1 => key(KEYS[4]), 1 => Just(Value::Null)];
    let keys = prop::collection::btree_map("key-[0-2]", change(), 0..3);
    let port = prop_oneof![Just(json!(22)), Just(json!(7000)), Just(json!(0)), Just(Value::Null)];
    let whole = (keys, prop::option::of(port)).prop_map(|(keys, port)| {
        let mut patch = json!({ "keys": keys });
        if let Some(port) = port {
            patch["port"] = port;
        }
        patch
    });
    prop_oneof![4 => whole, 1 => Just(Value::Null), 1 => Just(json!({}))]
}

/// A line that is nearly a key's: cut, mixed, with words before and behind it.
pub(crate) fn nearly_a_key() -> impl Strategy<Value = String> {
    let cut = |line: &'static str| (0..=line.len()).prop_map(move |length| line[..length].to_owned());
    let part = prop_oneof![
        prop::sample::select(&KEYS[..]).prop_map(str::to_owned),
        prop::sample::select(&KEYS[..]).prop_flat_map(cut),
        prop::sample::select(vec!["ssh-ed25519", "ssh-rsa", "command=\"x\"", "\t", "\n", ""])
            .prop_map(str::to_owned),
        "[ -~]{0,20}",
        any::<String>(),
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.join(" "))
}
