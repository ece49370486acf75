//! What a machine is started with, by systemd's credentials or the firmware's tables: the first configuration, tokens and
//! certificates. A first configuration without faults is what the router runs; one with faults is refused with a reason and
//! the router runs what it ran; no file of tokens or certificates is beyond reading, and no token is known that is not in it.
//! An input's first octet says which of them it is.
#![no_main]

use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use vrouter::api::access::tls::{Pem, Tls};
use vrouter::api::access::{Role, Tokens};
use vrouter::config::{Config, json};
use vrouter::fuzzing::boot_credential::{first_boot, read};

mod growth;
mod house;
#[path = "../../laws/surroundings.rs"]
mod surroundings;

use self::growth::Growth;
use self::house::{House, same};

static HOUSE: LazyLock<Mutex<(House, Growth)>> = LazyLock::new(|| {
    let house = House::new(surroundings::links(surroundings::ALL), json!({"version": 1}));
    Mutex::new((house, Growth::of_at_most(16 << 20)))
});

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let mut at = HOUSE.lock().expect("nobody panicked");
    let (house, growth) = &mut *at;
    growth.watch(|| {});
    match kind % 8 {
        0 => tokens(data),
        1 => certificates(data),
        _ => configuration(house, data),
    }
});

/// `vrouter.config`. The router had nothing configured before, and has nothing afterwards.
fn configuration(house: &House, data: &[u8]) {
    let meant = json::parse(data).ok().and_then(|document| Config::default().replace(document).ok());
    let before = house.published();
    let taken = read(data).and_then(|document| {
        house.runtime.block_on(first_boot(&house.handle, document, "credential"))
    });
    let after = house.published();
    match taken {
        Ok(()) => {
            assert!(meant.as_ref() == Some(&after.config), "something else runs");
            assert!(after.generation == before.generation + 1 || same(&before, &after));
            house.replace(json!({"version": 1}));
        }
        Err(why) => assert!(!why.is_empty() && same(&before, &after), "refused, and something changed"),
    }
}

/// `vrouter.tokens`.
fn tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Tokens::parse(text) {
        Ok(tokens) => {
            let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
            assert_eq!(tokens.len(), lines.count());
            for guess in ["", "write", "ops", "sha256:", "3a1f5c0b9d8e7f60123456789abcdef"] {
                let in_it = text.split_whitespace().any(|word| word == guess);
                assert!(in_it || tokens.find(guess).is_none(), "{guess:?} is known");
            }
            let commented = Tokens::parse(&format!("# a comment\n\n{text}\n#")).expect("comments are nothing");
            assert_eq!(commented.len(), tokens.len());
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// `vrouter.tls-cert`, `vrouter.tls-key` and `vrouter.client-ca`, with zeros between them.
fn certificates(data: &[u8]) {
    let mut parts = data.split(|octet| *octet == 0).map(<[u8]>::to_vec);
    let (chain, key) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let client_authorities = parts.next().map(|pem| String::from_utf8_lossy(&pem).into_owned());
    let pem = Pem { chain, key, client_authorities };
    for tokens in [false, true] {
        match Tls::new(&pem, Role::Write, tokens) {
            Ok(_) => {}
            Err(fault) => assert!(!fault.to_string().is_empty()),
        }
    }
}
