//! Somebody who came in, and whether he would still be let in. Made by `visitor.rs`; asked before anything new is begun for
//! him, and by `listener.rs` whenever the configuration changes.

use std::net::SocketAddr;
use std::sync::Arc;

use russh::keys::PublicKey;

use super::command::Operator;
use super::desk::Desk;

/// Somebody who came in.
#[derive(Debug, Clone)]
pub struct Standing {
    desk: Arc<Desk>,
    operator: Operator,
    key: Arc<PublicKey>,
    at: SocketAddr,
}

impl Standing {
    /// Whoever shows this key from `from` at the router's address `at`, if he may come in.
    pub(super) fn new(desk: &Arc<Desk>, key: &PublicKey, from: SocketAddr, at: SocketAddr) -> Option<Self> {
        let operator = desk.snapshot.borrow().operator(key, from)?;
        let standing = Self { desk: desk.clone(), operator, key: Arc::new(key.clone()), at };
        standing.holds().then_some(standing)
    }

    /// Who he is.
    #[must_use]
    pub const fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Whether he would be let in again now, there, and as who he is.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Self { desk, operator, key, at } = self;
        let snapshot = desk.snapshot.borrow();
        snapshot.listens_at(*at) && snapshot.operator(key, operator.from).as_ref() == Some(operator)
    }
}
