//! Asking forwarders: each question once at a time, a bounded number of them, the next forwarder as soon as one is late.
//!
//! A question goes on by itself when the client is gone, and when the answer is in, until it is known which of those
//! that were asked are silent. Called by `engine.rs`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::answer::Ask;
use super::cache::Cache;
use super::health::{Plan, Rank, SILENCE, plan};
use super::received::Received;
use super::upstream::{Failure, PATIENCE, Upstream};
use super::wire::Rcode;
use crate::clock;

/// How many questions are asked at a time. Each has a socket or a few.
const MAX_QUESTIONS: usize = 512;
/// How many clients' queries wait for answers at a time.
const MAX_WAITING: usize = 2048;
/// How many of them may be of one client, so that it cannot take all places.
const MAX_WAITING_OF_CLIENT: usize = 256;
/// How many times one question is sent at most.
const MAX_ATTEMPTS: usize = 4;

/// Forwarders that are asked for the same names.
#[derive(Debug)]
pub(super) struct Group {
    /// A number that no other list of forwarders has had.
    pub(super) number: u32,
    pub(super) upstreams: Vec<Arc<Upstream>>,
}

impl Group {
    /// The addresses of its forwarders in their order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddrV4> {
        self.upstreams.iter().map(|upstream| upstream.address)
    }
}

/// Asks forwarders for clients.
#[derive(Debug)]
pub(super) struct Forwarder {
    pub(super) cache: Cache,
    questions: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

/// Who waits for what.
#[derive(Debug, Default)]
struct Waiting {
    total: usize,
    by_client: HashMap<Ipv4Addr, usize>,
    /// What is asked at the moment, with those who wait for it.
    asked: HashMap<(u32, Ask), Vec<oneshot::Sender<Arc<Received>>>>,
}

/// The place of one waiting query; dropping it makes room.
struct Place<'a> {
    forwarder: &'a Forwarder,
    client: Ipv4Addr,
}

impl Forwarder {
    pub(super) fn new(cache: Cache) -> Self {
        Self { cache, questions: Arc::new(Semaphore::new(MAX_QUESTIONS)), waiting: Mutex::default() }
    }

    /// What the forwarders of a group say; a failure where they fail, or where too much is asked already.
    pub(super) async fn resolve(
        self: &Arc<Self>,
        group: &Arc<Group>,
        ask: &Ask,
        client: Ipv4Addr,
    ) -> Arc<Received> {
        let failure = || Arc::new(Received::empty(Rcode::SERVFAIL));
        let Some(_place) = self.enter(client) else { return failure() };
        let (sender, receiver) = oneshot::channel();
        if !self.join(group, ask, sender) {
            return failure();
        }
        receiver.await.unwrap_or_else(|_| failure())
    }

    fn enter(&self, client: Ipv4Addr) -> Option<Place<'_>> {
        let mut waiting = self.waiting();
        let own = waiting.by_client.get(&client).copied().unwrap_or(0);
        if waiting.total >= MAX_WAITING || own >= MAX_WAITING_OF_CLIENT {
            return None;
        }
        waiting.total += 1;
        waiting.by_client.insert(client, own + 1);
        Some(Place { forwarder: self, client })
    }

    /// Waits with those who asked the same, or asks; not where too much is asked already.
    fn join(self: &Arc<Self>, group: &Arc<Group>, ask: &Ask, sender: oneshot::Sender<Arc<Received>>) -> bool {
        let key = (group.number, ask.clone());
        let mut waiting = self.waiting();
        if let Some(others) = waiting.asked.get_mut(&key) {
            others.push(sender);
            return true;
        }
        let Ok(permit) = self.questions.clone().try_acquire_owned() else { return false };
        waiting.asked.insert(key.clone(), vec![sender]);
        drop(waiting);
        let question = Running { forwarder: self.clone(), key, published: false, _permit: permit };
        tokio::spawn(run(question, group.clone()));
        true
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.forwarder.waiting();
        waiting.total = waiting.total.saturating_sub(1);
        if let Some(own) = waiting.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                waiting.by_client.remove(&self.client);
            }
        }
    }
}

/// A question that is asked.
struct Running {
    forwarder: Arc<Forwarder>,
    key: (u32, Ask),
    published: bool,
    _permit: OwnedSemaphorePermit,
}

impl Running {
    /// Hands the answer to all who wait, and keeps it.
    fn publish(&mut self, received: Received) {
        let received = Arc::new(received);
        let (number, ask) = &self.key;
        self.forwarder.cache.insert(*number, ask.question(), &received, clock::moment());
        self.published = true;
        let others = self.forwarder.waiting().asked.remove(&self.key);
        for sender in others.into_iter().flatten() {
            // Whoever went away does not want it.
            let _ = sender.send(received.clone());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where the task was ended before its time, those who wait learn it by their channel.
        if !self.published {
            self.forwarder.waiting().asked.remove(&self.key);
        }
    }
}

type Attempts = JoinSet<Result<Received, Failure>>;

async fn run(mut question: Running, group: Arc<Group>) {
    let mut attempts = Attempts::new();
    let received = find_out(&group, &question.key.1, &mut attempts).await;
    question.publish(received.unwrap_or_else(|| Received::empty(Rcode::SERVFAIL)));
    // What is under way is waited for, so that it is known who is silent; it ends by itself.
    while attempts.join_next().await.is_some() {}
}

/// Asks one forwarder after the other until one knows. Nothing where none does in time.
async fn find_out(group: &Group, ask: &Ask, attempts: &mut Attempts) -> Option<Received> {
    let Plan { line, probes } = choose(group);
    for upstream in probes.into_iter().filter_map(|place| group.upstreams.get(place)) {
        start(attempts, upstream, ask);
    }
    let mut line = Line {
        upstreams: line.into_iter().filter_map(|place| group.upstreams.get(place)).collect(),
        sent: 0,
    };
    let begun = clock::moment();
    let (mut hopeless_at, mut second_best) = (begun + SILENCE, None);
    let mut next_at = line.next(false).map(|upstream| start(attempts, upstream, ask));
    loop {
        tokio::select! {
            result = attempts.join_next() => {
                match result {
                    None => return second_best,
                    Some(Ok(Ok(received))) if is_final(received.rcode) => return Some(received),
                    // Another may know better; what the first one said is kept.
                    Some(Ok(Ok(received))) => { second_best.get_or_insert(received); }
                    Some(Ok(Err(_)) | Err(_)) => {}
                }
                if let Some(upstream) = line.next(false) {
                    next_at = Some(start(attempts, upstream, ask));
                }
            }
            () = sleep_until(next_at.unwrap_or(hopeless_at).into()), if next_at.is_some() => {
                next_at = line.next(true).map(|upstream| start(attempts, upstream, ask));
            }
            () = sleep_until(hopeless_at.into()) => {
                let answers = |upstream: &Arc<Upstream>| upstream.health(|health| health.has_answered_since(begun));
                if hopeless_at > begun + SILENCE || !group.upstreams.iter().any(answers) {
                    return second_best;
                }
                hopeless_at = begun + PATIENCE;
            }
        }
    }
}

/// The forwarders that a question goes to, one after the other.
struct Line<'a> {
    upstreams: Vec<&'a Arc<Upstream>>,
    sent: usize,
}

impl<'a> Line<'a> {
    /// The next one to be asked: because the one before it is late, or because it failed.
    fn next(&mut self, late: bool) -> Option<&'a Arc<Upstream>> {
        let place = self.sent;
        self.sent += 1;
        match (self.upstreams.get(place), self.upstreams.as_slice()) {
            (Some(next), upstreams) => {
                if let Some(before) = upstreams.get(place.wrapping_sub(1)).filter(|_| late) {
                    before.health(|health| health.overtaken(clock::moment()));
                }
                Some(next)
            }
            // Where there is only one, it is asked again: the question may have been lost.
            (None, [only]) if late && place < MAX_ATTEMPTS => Some(only),
            _ => None,
        }
    }
}

/// Asks one forwarder. Returns when the next one is to be asked if it has not answered by then.
fn start(attempts: &mut Attempts, upstream: &Arc<Upstream>, ask: &Ask) -> Instant {
    let (asked, ask) = (upstream.clone(), ask.clone());
    attempts.spawn(async move { asked.ask(&ask).await });
    clock::moment() + upstream.health(|health| health.head_start())
}

/// Whom to ask now. Those that are tried although they are down are not tried again at once.
fn choose(group: &Group) -> Plan {
    let now = clock::moment();
    let rank = |upstream: &Arc<Upstream>| {
        upstream.health(|health| {
            let rank = health.rank(now);
            if rank == Rank::Due {
                health.tried(now);
            }
            rank
        })
    };
    plan(&group.upstreams.iter().map(rank).collect::<Vec<_>>())
}

/// Whether a code says something about the name, and not about the server.
const fn is_final(rcode: Rcode) -> bool {
    matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN)
}
