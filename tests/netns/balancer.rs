//! Balancers with real sockets.

mod health;
mod relay;
