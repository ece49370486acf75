//! What SSH counts, as metrics. Called by `mod.rs`.

use std::fmt;

use super::out::{Out, count, number};
use crate::ssh::Status;

/// Writes it.
pub(super) fn encode(ssh: &Status, out: &mut Out<'_, '_>) -> fmt::Result {
    out.gauge("ssh_operators", "Operators who are connected over SSH", None, |sample| {
        sample(&[], count(ssh.operators))
    })?;
    out.counter("ssh_admitted", "Connections of SSH on which somebody came in", None, |sample| {
        sample(&[], number(ssh.admitted))
    })?;
    out.counter("ssh_refused", "Connections of SSH on which nobody came in", None, |sample| {
        sample(&[], number(ssh.refused))
    })
}
