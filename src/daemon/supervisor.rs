//! What the service manager is told (sd_notify(3)); where there is none, nobody is told anything.

use sd_notify::NotifyState;

use super::memory;
use crate::reconcile::Supervisor;

/// The service manager that started the process.
#[derive(Debug)]
pub(super) struct ServiceManager;

impl Supervisor for ServiceManager {
    fn ready(&mut self) {
        notify(&[NotifyState::Ready]);
    }

    fn alive(&mut self) {
        notify(&[NotifyState::Watchdog]);
    }

    fn status(&mut self, line: &str) {
        notify(&[NotifyState::Status(line)]);
    }

    fn relieved(&mut self) {
        memory::give_back();
    }
}

/// The service is ending.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Everything is looked at again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told the time"),
    }
}

/// Everything was looked at again.
pub(super) fn reloaded() {
    notify(&[NotifyState::Ready]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
