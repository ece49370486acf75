//! A place at a backend, held by whoever carries a connection or a request. Given by `pool.rs`.

use std::sync::Arc;

use super::backend::Backend;

/// A place at a backend: one of its connections or requests. Dropping it makes room for the one who waits longest.
#[derive(Debug)]
pub struct Place {
    backend: Arc<Backend>,
    /// Whether those who wait are looked at already.
    quiet: bool,
}

impl Place {
    /// A place that is counted already.
    pub(super) const fn new(backend: Arc<Backend>) -> Self {
        Self { backend, quiet: false }
    }

    /// The backend.
    #[must_use]
    pub const fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Makes room without a look at those who wait.
    pub(super) fn give_back(mut self) {
        self.quiet = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let backend = &self.backend;
        if self.quiet || backend.queue().waiting() == 0 {
            backend.let_go();
            // Somebody may have come between the look and the room.
            if !self.quiet && backend.queue().waiting() > 0 {
                backend.queue().serve(backend);
            }
        } else {
            backend.queue().pass(Self::new(backend.clone()));
        }
    }
}
