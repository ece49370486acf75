//! Balancers under load: real clients in front, web servers behind, and everything edited, killed and restarted between.

mod deaths;
mod edits;
mod full;
mod keys;
mod least_change;
mod load;
pub(crate) mod web;

use serde_json::{Value, json};

/// A chain of one and its key, in PEM, for these names.
fn certificate(names: &[&str]) -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let chain = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    json!({"chain_pem": chain.pem(), "key_pem": key.serialize_pem()})
}

/// A balancer on the public side of the house.
fn balancer(port: u16, protocol: &str, backends: &Value) -> Value {
    json!({"address": "198.51.100.8", "port": port, "protocol": protocol,
           "pools": {"app": {"backends": backends}}})
}
