//! Commands of a ZStack management node, one after the other: none crashes, what is refused has a reason, what is done can be
//! done again and changes nothing more, and whatever the document becomes, the router is still ZStack's and its uuid stays.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vrouter::config::Config;
use vrouter::zstack::{Facts, Nic, command, first_document, manner};

/// The paths that change something; the first octet of a line chooses one.
const PATHS: [&str; 34] = [
    "/init",
    "/configurenic",
    "/removenic",
    "/configurenicdefaultaction",
    "/changedefaultnic",
    "/createvip",
    "/removevip",
    "/adddhcp",
    "/removedhcp",
    "/refreshdhcpserver",
    "/stopdhcpserver",
    "/setdns",
    "/removedns",
    "/setvpcdns",
    "/setsnat",
    "/removesnat",
    "/syncsnat",
    "/setsnatservicestate",
    "/createeip",
    "/removeeip",
    "/synceip",
    "/createportforwarding",
    "/revokeportforwarding",
    "/syncportforwarding",
    "/appliancevm/refreshfirewall",
    "/syncroutes",
    "/getroutes",
    "/certificate/create",
    "/certificate/delete",
    "/lb/refresh",
    "/lb/delete",
    "/fw/apply/rule",
    "/fw/create/rule",
    "/fw/delete/rule",
];

static FIRST: LazyLock<Config> = LazyLock::new(|| {
    let bootstrap = include_bytes!("../seeds/virtio_serial/host");
    let bootstrap: Value = serde_json::from_slice(bootstrap).expect("JSON");
    let document = first_document(&bootstrap).expect("a host's words");
    Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"))
});

static FACTS: LazyLock<Facts> = LazyLock::new(|| Facts {
    nics: (0..4)
        .map(|number| Nic {
            mac: format!("fa:00:00:00:00:{number:02x}").parse().expect("a MAC"),
            device: format!("eth{number}"),
        })
        .collect(),
    version: "1".to_owned(),
    ..Facts::default()
});

fuzz_target!(|data: &[u8]| {
    let mut config = FIRST.clone();
    for line in data.split(|octet| *octet == b'\n') {
        let Some((choice, body)) = line.split_first() else { continue };
        let path = PATHS[usize::from(*choice) % PATHS.len()];
        let Ok(body) = serde_json::from_slice::<Value>(body) else { continue };
        assert!(manner(path).is_some(), "{path}");
        let before = document(&config);
        match command(path, &body, &before, &FACTS) {
            Err(refusal) => assert!(!refusal.to_string().is_empty()),
            Ok(done) => {
                let Some(after) = done.document else { continue };
                // What the commands lead to may have faults, which the loop refuses; nothing has changed then.
                let Ok(next) = config.replace(after) else { continue };
                let owner = next.owner().and_then(|owner| owner.zstack.as_ref());
                assert!(owner.is_some(), "{path} gave the router away");
                config = next;
            }
        }
    }
});

fn document(config: &Config) -> Value {
    serde_json::to_value(config.document()).expect("a document is JSON")
}
