//! The ZStack personality: what its management node posts, in the words of the one configuration.
//!
//! [`command()`] is pure: a command and the document that runs become the document that should run, or a refusal. The
//! door beside it takes commands in, hands documents to the loop and posts results back. What ZStack says and the
//! configuration has no noun for (which addresses are VIPs, the router's UUID) stands in the document's `owner`, so that one
//! generation holds all of it and nothing has to be replayed after a power cut.

mod absent;
mod appliance;
mod body;
pub mod bootstrap;
mod callback;
mod certificate;
mod command;
mod dhcp;
mod dns;
mod door;
mod draft;
mod eip;
mod firewall;
mod firewall_rule;
mod gate;
mod ledger;
mod listener;
mod machine;
mod metrics;
mod nic;
mod parameters;
mod ping;
mod port_forward;
mod qos;
mod redirect;
mod request;
mod route;
mod rule_set;
mod server;
pub mod service;
mod snat;
mod tasks;
#[cfg(test)]
mod tests;
mod translate;
mod vip;
pub(crate) mod vport;
mod worker;

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

pub use appliance::first_document;
pub use command::{command, manner};
pub use vport::{PORT, hand_over};

use crate::config::MacAddress;

/// What a command has to know of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The network devices that are there; a NIC that a command names by a MAC that is none of these is refused.
    pub nics: Vec<Nic>,
    /// The device by which the command came in: the management network's, where no interface has that role yet.
    pub management: Option<MacAddress>,
    /// The management node that called, by the host of `callbackurl` where that is an address.
    pub node: Option<Ipv4Addr>,
    /// The product's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Its name in the kernel.
    pub device: String,
}

/// How a path is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// In the response itself; it changes nothing and needs neither `taskuuid` nor `callbackurl`.
    AtOnce,
    /// By a callback, in the order of arrival.
    Queued,
}

/// A command that was understood.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Done {
    /// The document that should run, whole; nothing where it is the one that runs.
    pub document: Option<Value>,
    /// What the result says beside `success` and `error`.
    pub reply: Map<String, Value>,
}

/// Why a command is not carried out; the text is the result's `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No path of ZStack's: the door answers 404.
    #[error("there is no command {0}")]
    NoPath(String),
    /// This product does not do it.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The command makes no sense by itself or on this router.
    #[error("{0}")]
    Invalid(String),
    /// The router is commanded by its native API.
    #[error(
        "this router is configured by its native API; give it to ZStack with `owner: {{\"zstack\": {{}}}}` there first"
    )]
    Owned,
}

/// What is posted to `callbackurl`: `success`, `error`, and what the command adds.
#[must_use]
pub fn result(reply: Map<String, Value>) -> Value {
    let mut result = reply;
    result.insert("success".to_owned(), true.into());
    result.insert("error".to_owned(), "".into());
    Value::Object(result)
}

/// What is posted to `callbackurl` where a command was not carried out.
#[must_use]
pub fn failure(error: &str) -> Value {
    json!({ "success": false, "error": error })
}

/// The UUID that the management node gave the router; its absence in a ping's answer asks for everything anew.
#[must_use]
pub fn uuid(document: &Value) -> Option<&str> {
    document.pointer("/owner/zstack/uuid").and_then(Value::as_str)
}
