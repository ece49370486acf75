//! What the loop looks at by itself: everything that is there, the broker's sessions, the golden image, the host. Each look
//! is a task; one of a kind is under way at most.

use std::time::Duration;

use super::{Mail, Manager};
use crate::pool::door::{Door, DoorError, DoorSession};
use crate::pool::hypervisor::{Golden, Hypervisor, HypervisorError, Resources};
use crate::pool::slot::Now;
use crate::pool::state::Listing;

/// How often everything is listed: though nothing was told, while the hypervisor is not reached, and at the start.
const LIST_EACH: Duration = Duration::from_secs(30);
const LIST_AGAIN: Duration = Duration::from_secs(2);
const LIST_FIRST: Duration = Duration::from_millis(300);
/// How often the broker is asked what goes on, which idle ends are measured by.
const SESSIONS_EACH: Duration = Duration::from_secs(1);
/// How often the golden image and the host are looked at.
const HOST_EACH: Duration = Duration::from_secs(5);
/// How long a manager that starts waits for the broker before it takes all sessions for lost.
const BROKER_PATIENCE: Duration = Duration::from_secs(10);

/// When each look was taken last, and whether one is under way.
#[derive(Debug, Default)]
pub(super) struct Looks {
    list: Look,
    sessions: Look,
    host: Look,
}

#[derive(Debug, Default)]
struct Look {
    under_way: bool,
    wanted: bool,
    last: Option<Duration>,
}

/// What was seen.
#[derive(Debug)]
pub(super) enum Seen {
    List { sessions: Option<Result<Vec<DoorSession>, DoorError>>, list: Result<Listing, HypervisorError> },
    Sessions { asked: u64, sessions: Result<Vec<DoorSession>, DoorError> },
    Host { golden: Result<Golden, HypervisorError>, resources: Result<Resources, HypervisorError> },
}

impl Looks {
    /// Everything is listed at once.
    pub(super) const fn list_soon(&mut self) {
        self.list.wanted = true;
    }

    /// The broker is asked at once.
    pub(super) const fn sessions_soon(&mut self) {
        self.sessions.wanted = true;
    }
}

impl Look {
    /// Whether it is to be taken now; then it is under way.
    fn take(&mut self, each: Duration, now: Now) -> bool {
        let due = self.wanted || self.last.is_none_or(|last| now.at.saturating_sub(last) >= each);
        let take = due && !self.under_way;
        if take {
            *self = Self { under_way: true, wanted: false, last: Some(now.at) };
        }
        take
    }
}

impl<H: Hypervisor, D: Door> Manager<H, D> {
    /// Takes the looks that are due.
    pub(super) fn look(&mut self, now: Now) {
        let each = match (self.pool.known(), self.pool.reached().0) {
            (false, _) => LIST_FIRST,
            (true, false) => LIST_AGAIN,
            (true, true) => LIST_EACH,
        };
        if self.looks.list.take(each, now) {
            self.list();
        }
        // The first answer of the broker comes with the first list.
        if self.pool.known() && self.looks.sessions.take(SESSIONS_EACH, now) {
            let asked = self.pool.ask();
            let (door, sender) = (self.door.clone(), self.sender.clone());
            tokio::spawn(async move {
                let seen = Seen::Sessions { asked, sessions: door.sessions().await };
                let _ = sender.send(Mail::Seen(Box::new(seen))).await;
            });
        }
        if self.looks.host.take(HOST_EACH, now) {
            let (hypervisor, sender) = (self.hypervisor.clone(), self.sender.clone());
            tokio::spawn(async move {
                let (golden, resources) = tokio::join!(hypervisor.golden(), hypervisor.resources());
                let _ = sender.send(Mail::Seen(Box::new(Seen::Host { golden, resources }))).await;
            });
        }
    }

    fn list(&mut self) {
        let asked = self.pool.ask();
        let first = !self.pool.known();
        let (hypervisor, door, sender) = (self.hypervisor.clone(), self.door.clone(), self.sender.clone());
        tokio::spawn(async move {
            let sessions = if first { Some(door.sessions().await) } else { None };
            let list = async {
                let domains = hypervisor.domains().await?;
                Ok(Listing { asked, domains, overlays: hypervisor.overlays().await? })
            };
            let seen = Seen::List { sessions, list: list.await };
            // The loop has ended where nobody takes this.
            let _ = sender.send(Mail::Seen(Box::new(seen))).await;
        });
    }

    /// Takes in what was seen.
    pub(super) fn seen(&mut self, seen: Seen) {
        let now = self.now();
        match seen {
            Seen::List { sessions, list } => {
                self.looks.list.under_way = false;
                self.listed(sessions, list, now);
            }
            Seen::Sessions { asked, sessions } => {
                self.looks.sessions.under_way = false;
                match sessions {
                    Ok(sessions) => self.pool.door_sessions(&sessions, asked, now),
                    Err(DoorError::Refused(why)) => tracing::warn!(why, "the broker lists nothing"),
                    Err(DoorError::Disconnected(_)) => self.pool.door_is(false),
                }
            }
            Seen::Host { golden, resources } => {
                self.looks.host.under_way = false;
                if let Err(error) = &golden {
                    tracing::warn!(%error, "nothing is known of the golden domain");
                }
                if let Err(error) = &resources {
                    tracing::warn!(%error, "nothing is known of the host");
                }
                self.pool.golden_is(golden.ok());
                self.pool.host(resources.ok());
            }
        }
    }

    fn listed(
        &mut self,
        sessions: Option<Result<Vec<DoorSession>, DoorError>>,
        list: Result<Listing, HypervisorError>,
        now: Now,
    ) {
        let list = match list {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(%error, "the hypervisor lists nothing");
                return self.pool.hypervisor(false);
            }
        };
        let sessions = match sessions {
            None => Vec::new(),
            Some(Ok(sessions)) => {
                self.pool.door_is(true);
                sessions
            }
            Some(Err(error)) if now.at < BROKER_PATIENCE => {
                tracing::debug!(%error, "the broker is waited for");
                return self.pool.hypervisor(true);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the broker's sessions are taken for lost");
                Vec::new()
            }
        };
        let first = !self.pool.known();
        self.pool.listed(&list, &sessions, now);
        if first {
            // Whoever removed their VMs did not live to say so.
            self.pool.finish_records(self.journal.unfinished(), now);
            tracing::info!(
                domains = list.domains.len(),
                overlays = list.overlays.len(),
                sessions = sessions.len(),
                "the pool knows what there is"
            );
        }
    }
}
