//! Load balancing in this process: who serves whom, and what becomes of requests on their way.

pub mod backend;
pub mod choose;
pub mod condition;
#[cfg(test)]
mod laws;
pub mod place;
pub mod pool;
pub mod queue;
#[cfg(test)]
mod testing;
mod view;
