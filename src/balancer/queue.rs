//! Those who wait for a place at a backend while all have their `max_connections`: bounded, first come first served.
//!
//! A place that becomes free is handed to the one who waits longest, so nobody wakes in vain and nobody overtakes. Called
//! by `backend.rs` when a place becomes free and by `pool.rs` for those who come.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::backend::Backend;
use super::place::Place;
use crate::config::pool::Queue as Settings;

/// Those who wait for a place in one pool.
#[derive(Debug)]
pub struct Queue {
    lines: Mutex<Lines>,
    /// All who wait.
    waiting: AtomicUsize,
    /// Those of them who take any backend.
    waiting_for_any: AtomicUsize,
    size: AtomicU32,
    timeout_ms: AtomicU32,
}

#[derive(Debug, Default)]
struct Lines {
    /// The number of the next who comes.
    next: u64,
    /// Those who take any backend.
    any: BTreeMap<u64, Waiter>,
    /// Those who stay with a backend, by its number.
    staying: HashMap<u64, BTreeMap<u64, Waiter>>,
    /// How many they are.
    stayers: usize,
}

#[derive(Debug)]
struct Waiter {
    sender: oneshot::Sender<Place>,
    /// Backends that failed this request already.
    tried: Vec<Arc<Backend>>,
}

/// Why a wait ended without a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It took too long.
    Late,
    /// What was waited for is not there any more.
    Gone,
}

impl Queue {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            lines: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waiting_for_any: AtomicUsize::new(0),
            size: AtomicU32::new(settings.size),
            timeout_ms: AtomicU32::new(settings.timeout_ms),
        }
    }

    /// Takes other bounds; those who wait already go on waiting by the bounds that they found.
    pub(super) fn configure(&self, settings: Settings) {
        self.size.store(settings.size, Ordering::Relaxed);
        self.timeout_ms.store(settings.timeout_ms, Ordering::Relaxed);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Whether somebody waits for any backend: nobody may overtake them.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting_for_any.load(Ordering::SeqCst) > 0
    }

    /// Stands in line: for one backend, or for any but those that were tried. Nothing where there is no room.
    ///
    /// Whoever stands in line has to look again whether there is a place: one may have become free a moment before.
    pub(super) fn stand(
        &self,
        stay: Option<&Arc<Backend>>,
        tried: &[Arc<Backend>],
        now: Instant,
    ) -> Option<Ticket<'_>> {
        let (sender, receiver) = oneshot::channel();
        let waiter = Waiter { sender, tried: tried.to_vec() };
        let stay = stay.map(|backend| backend.number());
        let mut lines = self.lines.lock();
        if lines.len() >= self.size.load(Ordering::Relaxed) as usize {
            return None;
        }
        let number = lines.next;
        lines.next += 1;
        match stay {
            Some(backend) => {
                lines.staying.entry(backend).or_default().insert(number, waiter);
                lines.stayers += 1;
            }
            None => drop(lines.any.insert(number, waiter)),
        }
        self.count(&lines);
        let patience = Duration::from_millis(self.timeout_ms.load(Ordering::Relaxed).into());
        Some(Ticket { queue: self, number, stay, receiver, deadline: now + patience })
    }

    /// Hands a place that is not needed any more, and all free ones of its backend, to those who wait longest.
    pub(super) fn pass(&self, place: Place) {
        let mut lines = self.lines.lock();
        let backend = place.backend().clone();
        if backend.keeps_clients() && backend.is_within_limit() {
            self.give(&mut lines, place);
        } else {
            place.give_back();
        }
        self.hand(&mut lines, &backend);
    }

    /// Hands the free places of a backend to those who wait longest.
    pub(super) fn serve(&self, backend: &Arc<Backend>) {
        self.hand(&mut self.lines.lock(), backend);
    }

    /// Takes note of who takes part now, and of who keeps its clients beside them: whoever waits for what is not there
    /// any more is told.
    pub(super) fn settle(&self, members: &[Arc<Backend>], keepers: &[Arc<Backend>]) {
        if self.waiting() == 0 {
            return;
        }
        let all = || members.iter().chain(keepers);
        let is_member = |number: u64| all().any(|member| member.number() == number);
        let mut lines = self.lines.lock();
        if members.is_empty() {
            lines.any.clear();
        }
        lines.staying.retain(|backend, _| is_member(*backend));
        lines.stayers = lines.staying.values().map(BTreeMap::len).sum();
        for waiter in lines.any.values_mut() {
            // A second try is better than none.
            if members.iter().all(|member| is_among(member, &waiter.tried)) {
                waiter.tried.clear();
            }
        }
        self.count(&lines);
        all().for_each(|member| self.hand(&mut lines, member));
    }

    fn hand(&self, lines: &mut Lines, backend: &Arc<Backend>) {
        while backend.keeps_clients() && lines.is_wanted(backend) {
            let Some(place) = backend.try_hold() else { return };
            self.give(lines, place);
        }
    }

    /// Gives a place to the one who waits longest for it. Whoever went away does not want it, and the next one does.
    fn give(&self, lines: &mut Lines, mut place: Place) {
        while let Some(waiter) = lines.first(place.backend()) {
            self.count(lines);
            match waiter.sender.send(place) {
                Ok(()) => return,
                Err(back) => place = back,
            }
        }
        place.give_back();
    }

    fn count(&self, lines: &Lines) {
        self.waiting.store(lines.len(), Ordering::SeqCst);
        self.waiting_for_any.store(lines.any.len(), Ordering::SeqCst);
    }
}

impl Lines {
    fn len(&self) -> usize {
        self.any.len() + self.stayers
    }

    /// Whether somebody would take this backend.
    fn is_wanted(&self, backend: &Arc<Backend>) -> bool {
        self.staying.contains_key(&backend.number())
            || (backend.is_open() && self.any.values().any(|waiter| !is_among(backend, &waiter.tried)))
    }

    /// Takes out the one who waits longest among those who would take this backend.
    fn first(&mut self, backend: &Arc<Backend>) -> Option<Waiter> {
        let staying = self.staying.get(&backend.number()).and_then(|line| line.keys().next().copied());
        let takes = |waiter: &Waiter| backend.is_open() && !is_among(backend, &waiter.tried);
        let any = self.any.iter().find(|(_, waiter)| takes(waiter)).map(|(number, _)| *number);
        match (staying, any) {
            (Some(staying), Some(any)) if any < staying => self.any.remove(&any),
            (Some(staying), _) => self.remove(staying, Some(backend.number())),
            (None, Some(any)) => self.any.remove(&any),
            (None, None) => None,
        }
    }

    fn remove(&mut self, number: u64, stay: Option<u64>) -> Option<Waiter> {
        let Some(backend) = stay else { return self.any.remove(&number) };
        let line = self.staying.get_mut(&backend)?;
        let waiter = line.remove(&number)?;
        if line.is_empty() {
            self.staying.remove(&backend);
        }
        self.stayers -= 1;
        Some(waiter)
    }
}

/// Whether a backend is one of these.
pub(super) fn is_among(backend: &Arc<Backend>, backends: &[Arc<Backend>]) -> bool {
    backends.iter().any(|other| Arc::ptr_eq(other, backend))
}

/// Somebody who stands in line; dropping it leaves the line.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    queue: &'a Queue,
    number: u64,
    stay: Option<u64>,
    receiver: oneshot::Receiver<Place>,
    deadline: Instant,
}

impl Ticket<'_> {
    /// Waits for a place.
    pub(super) async fn place(mut self) -> Result<Place, Left> {
        match tokio::time::timeout_at(self.deadline.into(), &mut self.receiver).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(Left::Gone),
            Err(_) => {
                self.leave();
                // It may have come between the deadline and now.
                self.receiver.try_recv().map_err(|_| Left::Late)
            }
        }
    }

    fn leave(&self) {
        let mut lines = self.queue.lines.lock();
        if lines.remove(self.number, self.stay).is_some() {
            self.queue.count(&lines);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
