//! `ssh` on the wire.

use std::collections::BTreeMap;

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::id::Id;
use crate::config::net::AddressMatch;
use crate::config::ssh::PublicKey;

/// The port of SSH (RFC 4253 section 4.1).
pub(in crate::config) const PORT: u16 = 22;

const fn port() -> u16 {
    PORT
}

/// SSH for the router's operators: they come in with a key, and there is no password.
///
/// It answers on the addresses of the interfaces with the role management; on one that is public too, only on those of
/// the management's own, if there are any.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Ssh {
    /// The TCP port.
    #[schemars(default = "port", range(min = 1))]
    pub port: u16,
    /// Who may come in: at least one, or nobody could.
    #[schemars(extend("minProperties" = 1))]
    pub keys: BTreeMap<Id, SshKey>,
}

/// Somebody who may come in.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct SshKey {
    /// The line of the `.pub` file. Its comment is not kept. A security key's signature is verified; that it was touched is
    /// its own affair.
    pub public_key: PublicKey,
    /// What whoever has the key may do.
    pub role: SshRole,
    /// Where from; by default from anywhere.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub allowed_sources: Option<Vec<AddressMatch>>,
}

/// What whoever has a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum SshRole {
    /// Look.
    Read,
    /// Look, and change the router.
    Write,
}
