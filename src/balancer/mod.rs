//! Load balancing in this process: who serves whom, and what becomes of requests on their way.

pub mod backend;
mod candidates;
pub mod choose;
pub mod condition;
pub mod fields;
#[cfg(test)]
mod figures;
pub mod host;
pub mod key;
#[cfg(test)]
mod laws;
pub mod location;
pub mod path;
pub mod place;
pub mod pool;
pub mod queue;
mod remembered;
pub mod rewrite;
mod rule;
pub mod rules;
pub mod sticky;
#[cfg(test)]
mod testing;
pub mod told;
mod view;
