//! Whether a target grows: the heap that is in use, descriptors and threads, looked at whenever the router is where it was
//! at the beginning. Part of the doors' targets. `-rss_limit_mb` bounds the whole process besides, `-timeout` one input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many inputs lie between two looks.
const EVERY: u64 = 2000;
/// How many looks are taken before growth counts: by then caches, pools and what is remembered in rings are full.
const SETTLES: u64 = 5;
/// How many descriptors and threads may come and go: those of a runtime's pool.
const SLACK: usize = 64;

/// The system's allocator, which counts what is in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps what `alloc` asks of him.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    octets: usize,
    descriptors: usize,
    threads: usize,
}

impl Held {
    fn now() -> Self {
        let count = |folder: &str| fs::read_dir(folder).map_or(0, Iterator::count);
        Self {
            octets: IN_USE.load(Ordering::Relaxed),
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
        }
    }
}

/// Looks now and then.
pub(crate) struct Growth {
    /// By how many octets the heap may be larger than it was when it had settled.
    most: usize,
    inputs: u64,
    settled: Option<Held>,
}

impl Growth {
    /// Growth of at most so many octets.
    pub(crate) const fn of_at_most(most: usize) -> Self {
        Self { most, inputs: 0, settled: None }
    }

    /// Takes note of an input; `reset` puts the router where it was at the beginning before what it holds is looked at.
    pub(crate) fn watch(&mut self, reset: impl FnOnce()) {
        self.inputs += 1;
        if self.inputs % EVERY != 0 {
            return;
        }
        reset();
        let held = Held::now();
        eprintln!("held after {} inputs: {held:?}", self.inputs);
        match self.settled {
            Some(settled) if self.inputs > SETTLES * EVERY => {
                assert!(held.octets < settled.octets + self.most, "the heap grows: {settled:?}, now {held:?}");
                let bounded = |now: usize, then: usize| now < then + SLACK;
                assert!(
                    bounded(held.descriptors, settled.descriptors) && bounded(held.threads, settled.threads),
                    "descriptors or threads stay: {settled:?}, now {held:?}"
                );
            }
            _ => self.settled = Some(held),
        }
    }
}
