//! A blocking call with a deadline, and what libvirt's errors mean to the pool.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use virt::error::{Error, ErrorDomain, ErrorNumber};

use crate::pool::hypervisor::{Answer, HypervisorError};

/// Runs a blocking call on a thread of its own. It counts as hanging until it comes back, however long nobody waits for it.
pub(super) async fn run<T: Send + 'static>(
    room: &Arc<Semaphore>,
    call: &'static str,
    deadline: Duration,
    act: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let Ok(place) = room.clone().try_acquire_owned() else {
        return Err(HypervisorError::Disconnected("too many calls have not come back yet".to_owned()));
    };
    let running = tokio::task::spawn_blocking(move || {
        let answer = act();
        drop(place);
        answer
    });
    match timeout(deadline, running).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Err(HypervisorError::Refused { call, message: error.to_string() }),
        Err(_) => Err(HypervisorError::Deadline { call, after: deadline }),
    }
}

/// What libvirt said, in the pool's terms.
pub(super) fn failed(call: &'static str) -> impl Fn(Error) -> HypervisorError {
    move |error| {
        let message = error.message().to_owned();
        match (error.domain(), error.code()) {
            (_, ErrorNumber::NoDomain | ErrorNumber::NoNetwork) => HypervisorError::NotFound(message),
            (_, ErrorNumber::DomExist | ErrorNumber::NetworkExist) => HypervisorError::Exists(message),
            (ErrorDomain::Rpc, _)
            | (_, ErrorNumber::Rpc | ErrorNumber::NoConnect | ErrorNumber::InvalidConn) => {
                HypervisorError::Disconnected(message)
            }
            (_, ErrorNumber::NoMemory) => HypervisorError::NoRoom(message),
            _ => HypervisorError::Refused { call, message },
        }
    }
}

/// Whether a domain or network is not there, which is what was wanted where something is removed.
pub(super) fn is_absent(error: &HypervisorError) -> bool {
    matches!(error, HypervisorError::NotFound(_))
}

/// Text for libvirt, which ends at a zero octet.
pub(super) fn plain<'a>(call: &'static str, text: &'a str) -> Answer<&'a str> {
    if text.contains('\0') {
        return Err(HypervisorError::Refused { call, message: "a zero octet is in the text".to_owned() });
    }
    Ok(text)
}
