//! Tasks that do one thing after the other, such as serving connections: one at a time each, and the next when that is over.
//!
//! A task costs more to make and to end than most of what it has to do, so some that have nothing to do are kept. Called by
//! `accept.rs` with every connection that it takes, and by `http/stream.rs` with every request of HTTP/2.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::Handle;

/// How many tasks that have nothing to do are kept.
const IDLE: usize = 256;

/// What a task has to do.
pub(crate) trait Job: Send + 'static {
    /// Does it.
    fn run(self) -> impl Future<Output = ()> + Send;
}

/// The tasks of one runtime that have nothing to do.
#[derive(Debug)]
pub(crate) struct Hands<J>(Mutex<Vec<Arc<Hand<J>>>>);

/// A task, as whoever has something to do for it sees it.
#[derive(Debug)]
struct Hand<J>(Mutex<Work<J>>);

#[derive(Debug)]
struct Work<J> {
    next: Option<J>,
    /// The task's, once it has waited.
    waker: Option<Waker>,
}

impl<J: Job> Hands<J> {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Has a job done. All of them are done on the same runtime.
    pub(crate) fn give(self: &Arc<Self>, on: &Handle, job: J) {
        let idle = self.0.lock().pop();
        match idle {
            Some(hand) => {
                let mut work = hand.0.lock();
                work.next = Some(job);
                if let Some(waker) = &work.waker {
                    waker.wake_by_ref();
                }
            }
            None => drop(on.spawn(work(self.clone(), job))),
        }
    }

    /// Whether a task that has nothing more to do is kept.
    fn keeps(&self, hand: &Arc<Hand<J>>) -> bool {
        let mut idle = self.0.lock();
        let room = idle.len() < IDLE;
        if room {
            idle.push(hand.clone());
        }
        room
    }
}

async fn work<J: Job>(hands: Arc<Hands<J>>, first: J) {
    let hand = Arc::new(Hand(Mutex::new(Work { next: Some(first), waker: None })));
    loop {
        let job = poll_fn(|cx| hand.poll_next(cx)).await;
        job.run().await;
        if !hands.keeps(&hand) {
            return;
        }
    }
}

impl<J> Hand<J> {
    fn poll_next(&self, cx: &Context<'_>) -> Poll<J> {
        let mut work = self.0.lock();
        if let Some(next) = work.next.take() {
            return Poll::Ready(next);
        }
        // A task has the same waker for all of its life.
        work.waker.get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
    use tokio::task;

    use super::*;

    struct Tell(UnboundedSender<task::Id>);

    impl Job for Tell {
        async fn run(self) {
            task::yield_now().await;
            self.0.send(task::id()).unwrap();
        }
    }

    #[tokio::test]
    async fn a_task_does_one_thing_after_the_other() {
        let hands = Arc::new(Hands::new());
        let (sender, mut receiver) = unbounded_channel();
        let mut tasks = HashSet::new();
        for _ in 0..10 {
            hands.give(&Handle::current(), Tell(sender.clone()));
            tasks.insert(receiver.recv().await.unwrap());
            while hands.0.lock().is_empty() {
                task::yield_now().await;
            }
        }
        assert_eq!(tasks.len(), 1);
    }

    #[tokio::test]
    async fn no_more_are_kept_than_may_be() {
        let hands = Arc::new(Hands::new());
        let (sender, mut receiver) = unbounded_channel();
        let mut tasks = HashSet::new();
        (0..2 * IDLE).for_each(|_| hands.give(&Handle::current(), Tell(sender.clone())));
        for _ in 0..2 * IDLE {
            tasks.insert(receiver.recv().await.unwrap());
        }
        assert_eq!(tasks.len(), 2 * IDLE);
        while hands.0.lock().len() < IDLE {
            task::yield_now().await;
        }
        (0..10).for_each(|_| hands.give(&Handle::current(), Tell(sender.clone())));
        for _ in 0..10 {
            assert!(!tasks.insert(receiver.recv().await.unwrap()), "one that was kept did it");
        }
    }
}
