//! What SSH says of itself. Made by `service.rs` for status and metrics.

use std::net::SocketAddrV4;

use schemars::JsonSchema;
use serde::Serialize;

/// Where it answers, as whom, and who is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// Where it answers: addresses of management interfaces, each with the port.
    #[schemars(with = "Vec<String>")]
    pub listeners: Vec<SocketAddrV4>,
    /// How many keys may come in.
    pub keys: usize,
    /// The fingerprint of the host key, as `ssh` shows it to be compared. Absent before SSH was turned on.
    pub host_key: Option<String>,
    /// Why the host key ends with this process: the next one has another.
    pub storage_fault: Option<String>,
    /// How many operators are connected.
    pub operators: usize,
    /// How many have come in since the start.
    pub admitted: u64,
    /// How many connections have ended since the start without anybody coming in.
    pub refused: u64,
}
