//! A broker that is made up: bindings, and stations that use them when a test says so. It outlives managers, as the real
//! one does.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::pool::door::{Binding, Door, DoorError, DoorEvent, DoorSession};

/// How many events wait for a manager.
const EVENTS: usize = 1024;

#[derive(Debug, Default)]
struct Bound {
    binding: Option<Binding>,
    used: bool,
    idle: Duration,
}

#[derive(Debug, Default)]
struct World {
    bindings: BTreeMap<String, Bound>,
    events: VecDeque<DoorEvent>,
    listener: Option<mpsc::Sender<DoorEvent>>,
    unreached: bool,
}

/// A made-up broker.
#[derive(Debug, Default)]
pub struct FakeDoor(Mutex<World>);

impl FakeDoor {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A station's viewer connects: what it gets to, if anything is bound to it.
    pub fn connect(&self, station: IpAddr) -> Option<String> {
        let mut world = self.world();
        let found = world
            .bindings
            .iter_mut()
            .find(|(_, bound)| bound.binding.as_ref().is_some_and(|binding| binding.station == station))?;
        let (id, first) = (found.0.clone(), !found.1.used);
        found.1.used = true;
        if first {
            world.tell(DoorEvent::Used { id: id.clone() });
        }
        Some(id)
    }

    /// What the broker opens a binding's console with.
    #[must_use]
    pub fn password(&self, id: &str) -> Option<String> {
        let world = self.world();
        world.bindings.get(id)?.binding.as_ref().map(|binding| binding.password.clone())
    }

    /// A station's viewer goes, or its reservation runs out.
    pub fn disconnect(&self, station: IpAddr) {
        let mut world = self.world();
        let of = |bound: &Bound| bound.binding.as_ref().is_some_and(|binding| binding.station == station);
        let Some(id) = world.bindings.iter().find(|(_, bound)| of(bound)).map(|(id, _)| id.clone()) else {
            return;
        };
        world.end(&id, "the viewer was closed");
    }

    /// Nobody touches anything for so long.
    pub fn idle(&self, station: IpAddr, idle: Duration) {
        for bound in self.world().bindings.values_mut() {
            if bound.binding.as_ref().is_some_and(|binding| binding.station == station) {
                bound.idle = idle;
            }
        }
    }

    /// The broker itself dies and is started anew: everything is cut.
    pub fn restart(&self) {
        let mut world = self.world();
        world.bindings.clear();
        world.events.clear();
    }

    /// Whether the broker can be reached.
    pub fn reach(&self, reached: bool) {
        let mut world = self.world();
        world.unreached = !reached;
        world.tell(if reached { DoorEvent::Opened } else { DoorEvent::Closed });
    }

    /// Takes what happened.
    pub fn take_events(&self) -> Vec<DoorEvent> {
        self.world().events.drain(..).collect()
    }

    /// See [`Door::bind`].
    ///
    /// # Errors
    /// The station or the binding is there already.
    pub fn bind_now(&self, binding: &Binding) -> Result<(), DoorError> {
        let mut world = self.reached()?;
        let taken = world.bindings.values().any(|bound| {
            bound
                .binding
                .as_ref()
                .is_some_and(|other| other.station == binding.station || other.id == binding.id)
        });
        if taken {
            return Err(DoorError::Refused(format!("{} has a binding already", binding.station)));
        }
        let bound = Bound { binding: Some(binding.clone()), ..Bound::default() };
        world.bindings.insert(binding.id.clone(), bound);
        Ok(())
    }

    /// See [`Door::unbind`].
    ///
    /// # Errors
    /// The broker is not reached.
    pub fn unbind_now(&self, id: &str) -> Result<Option<bool>, DoorError> {
        let mut world = self.reached()?;
        let used = world.bindings.get(id).map(|bound| bound.used);
        if used == Some(false) {
            world.end(id, "the reservation was taken back");
        }
        Ok(used)
    }

    /// See [`Door::kick`].
    ///
    /// # Errors
    /// The broker is not reached.
    pub fn kick_now(&self, id: &str) -> Result<(), DoorError> {
        self.reached()?.end(id, "the session was ended by command");
        Ok(())
    }

    /// See [`Door::sessions`].
    ///
    /// # Errors
    /// The broker is not reached.
    pub fn sessions_now(&self) -> Result<Vec<DoorSession>, DoorError> {
        let world = self.reached()?;
        let session = |bound: &Bound| {
            let binding = bound.binding.as_ref()?;
            Some(DoorSession {
                id: binding.id.clone(),
                station: binding.station,
                used: bound.used,
                idle: bound.idle,
                sent: 0,
                received: 0,
            })
        };
        Ok(world.bindings.values().filter_map(session).collect())
    }

    fn reached(&self) -> Result<MutexGuard<'_, World>, DoorError> {
        let world = self.world();
        if world.unreached {
            return Err(DoorError::Disconnected("a fault was asked for".to_owned()));
        }
        Ok(world)
    }
}

impl World {
    fn end(&mut self, id: &str, why: &str) {
        if let Some(bound) = self.bindings.remove(id) {
            self.tell(DoorEvent::Ended {
                id: id.to_owned(),
                why: why.to_owned(),
                used: bound.used,
                sent: 0,
                received: 0,
            });
        }
    }

    /// To a manager that listens, else kept for one that asks.
    fn tell(&mut self, event: DoorEvent) {
        if let Some(listener) = &self.listener {
            if listener.try_send(event).is_err() {
                self.listener = None;
            }
            return;
        }
        if self.events.len() < EVENTS {
            self.events.push_back(event);
        }
    }
}

impl Door for FakeDoor {
    async fn bind(&self, binding: &Binding) -> Result<(), DoorError> {
        self.bind_now(binding)
    }

    async fn unbind(&self, id: &str) -> Result<Option<bool>, DoorError> {
        self.unbind_now(id)
    }

    async fn kick(&self, id: &str) -> Result<(), DoorError> {
        self.kick_now(id)
    }

    async fn sessions(&self) -> Result<Vec<DoorSession>, DoorError> {
        self.sessions_now()
    }

    async fn hand_over(&self, _request: u64, _console: OwnedFd) -> Result<(), DoorError> {
        Ok(())
    }

    fn events(&self) -> mpsc::Receiver<DoorEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        let mut world = self.world();
        world.events.clear();
        // There is room: the channel is new.
        let _ = sender.try_send(DoorEvent::Opened);
        world.listener = Some(sender);
        receiver
    }
}
