//! `drift` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;

/// What becomes of what somebody else changed of ours in the kernel: a rule, an address, a route, a value of `/proc/sys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum Drift {
    /// It is put back within a second, and reported.
    #[default]
    Repair,
    /// It is reported, and stays until the next change, a reload, or a device that comes or goes.
    Report,
}

impl Drift {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that skip_serializing_if calls")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
