//! Calls being made: dull, one task each, each with a deadline of its own beyond that of the hypervisor behind it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Mail, Manager};
use crate::pool::door::{Door, DoorError, vm_of};
use crate::pool::hypervisor::{Hypervisor, HypervisorError};
use crate::pool::state::{Call, CallError, Done, Pool, Started};

/// How much longer than the hypervisor's own deadline a call is waited for.
const SLACK: Duration = Duration::from_secs(2);

/// Makes a call and tells the loop what it came back with.
pub(super) fn spawn<H: Hypervisor, D: Door>(
    pool: &Pool,
    hypervisor: &Arc<H>,
    door: &Arc<D>,
    started: Started,
    loop_: mpsc::Sender<Mail>,
) {
    let limits = &pool.config().hypervisor;
    let seconds = match started.call {
        Call::Create(_) | Call::Start(_) => limits.start_seconds,
        _ => limits.call_seconds,
    };
    let deadline = Duration::from_secs(seconds).saturating_add(SLACK);
    let (hypervisor, door) = (hypervisor.clone(), door.clone());
    tokio::spawn(async move {
        let Started { name, number, call } = started;
        let result = timeout(deadline, make(&*hypervisor, &*door, &name, &call)).await;
        let result = result.unwrap_or_else(|_| {
            let text = format!("no answer within {} s", deadline.as_secs());
            Err(CallError { text, unreached: true })
        });
        // The loop has ended where nobody takes this.
        let _ = loop_.send(Mail::Done { name, number, result }).await;
    });
}

async fn make<H: Hypervisor, D: Door>(
    hypervisor: &H,
    door: &D,
    name: &str,
    call: &Call,
) -> Result<Done, CallError> {
    let done = match call {
        Call::Create(clone) => hypervisor.create(clone).await,
        Call::Start(how) => return hypervisor.start(name, *how).await.map(Done::Started).map_err(failed),
        Call::SetMark(mark) => hypervisor.set_mark(name, mark).await,
        Call::SetTicket(ticket) => hypervisor.set_ticket(name, ticket).await,
        Call::Bind(binding) => return door.bind(binding).await.map(|()| Done::Done).map_err(refused),
        Call::Unbind(id) => return door.unbind(id).await.map(Done::Unbound).map_err(refused),
        Call::Kick(Some(id)) => return door.kick(id).await.map(|()| Done::Done).map_err(refused),
        Call::Destroy => hypervisor.destroy(name).await,
        Call::Undefine => hypervisor.undefine(name).await,
        Call::DeleteOverlay(Some(overlay)) => hypervisor.delete_overlay(overlay).await,
        Call::DeleteOverlay(None) | Call::Kick(None) => Ok(()),
    };
    done.map(|()| Done::Done).map_err(failed)
}

fn failed(error: HypervisorError) -> CallError {
    let unreached = matches!(error, HypervisorError::Deadline { .. } | HypervisorError::Disconnected(_));
    CallError { text: error.to_string(), unreached }
}

fn refused(error: DoorError) -> CallError {
    CallError { unreached: matches!(error, DoorError::Disconnected(_)), text: error.to_string() }
}

impl<H: Hypervisor, D: Door> Manager<H, D> {
    /// Takes a binding back that nobody wants.
    pub(super) fn release(&self, id: String) {
        let door = self.door.clone();
        tokio::spawn(async move {
            match door.kick(&id).await {
                Ok(()) => tracing::info!(binding = id, "a binding of no slot was taken back"),
                // The next list shows it again.
                Err(error) => tracing::warn!(binding = id, %error, "a binding of no slot stays"),
            }
        });
    }

    /// Fetches a connection to a console for the broker.
    pub(super) fn hand_over(&self, request: u64, id: &str) {
        let name = vm_of(id).to_owned();
        let of_slot = self.pool.slots().get(&name).and_then(|slot| slot.visit.as_ref());
        if of_slot.is_none_or(|visit| visit.binding != id) {
            tracing::warn!(binding = id, "a console is asked for by a binding of no slot");
            return;
        }
        let (hypervisor, door) = (self.hypervisor.clone(), self.door.clone());
        tokio::spawn(async move {
            let console = match hypervisor.open_console(&name).await {
                Ok(console) => console,
                Err(error) => return tracing::warn!(vm = name, %error, "the console cannot be opened"),
            };
            if let Err(error) = door.hand_over(request, console).await {
                tracing::warn!(vm = name, %error, "the console cannot be handed over");
            }
        });
    }
}
