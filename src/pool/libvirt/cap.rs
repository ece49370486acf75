//! The most that one overlay takes. qcow2 knows no such bound, so QEMU is asked to tell when a VM writes beyond it, and that
//! VM is ended: whoever fills the host's disk on purpose fills his own share and loses his session. Called by `mod.rs`,
//! `domains.rs` and `instant.rs`; blocking but for [`end_full`].

use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use virt::domain::Domain as Virt;
use virt::sys;

use super::call::{self, failed};
use super::connection::Shared;
use super::domains;
use crate::pool::clone::read;
use crate::pool::config::Config;
use crate::pool::hypervisor::{Answer, HypervisorError};

const CALL: &str = "bounding an overlay";

/// Asks to be told when a VM that runs has written as much as it may.
#[expect(unsafe_code, reason = "the bindings have no safe wrapper for this call")]
pub(super) fn bound(domain: &Virt, config: &Config) -> Answer<()> {
    let limit = config.clones.overlay_limit;
    if limit == 0 {
        return Ok(());
    }
    let refused = |message: String| HypervisorError::Refused { call: CALL, message };
    let text = domain.get_xml_desc(0).map_err(failed(CALL))?;
    let disk = read::Golden::read(&text).map_err(|error| refused(error.to_string()))?;
    let target = CString::new(disk.target).map_err(|error| refused(error.to_string()))?;
    // SAFETY: the domain is valid and the name ends with a zero octet.
    let set = unsafe { sys::virDomainSetBlockThreshold(domain.as_ptr(), target.as_ptr(), limit, 0) };
    if set < 0 {
        return Err(failed(CALL)(virt::error::Error::last_error()));
    }
    Ok(())
}

/// Ends VMs whose overlay is full, for as long as somebody tells of them.
pub(super) async fn end_full(
    config: Arc<Config>,
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    mut full: mpsc::Receiver<String>,
) {
    let deadline = Duration::from_secs(config.hypervisor.call_seconds);
    while let Some(name) = full.recv().await {
        let (config, vm) = (config.clone(), name.clone());
        let ended = match shared.connection() {
            Ok(connection) => {
                call::run(&room, CALL, deadline, move || domains::destroy(&connection, &config, &vm)).await
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => tracing::warn!(vm = name, "it was ended: it wrote as much as an overlay may take"),
            Err(HypervisorError::NotOurs(_)) => {}
            Err(error) => tracing::error!(vm = name, %error, "its overlay is full, and it does not end"),
        }
    }
}
