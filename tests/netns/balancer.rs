//! Balancers with real sockets.

mod health;
