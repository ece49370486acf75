//! Load balancers in user space, with clients that send what no client should.

pub(crate) mod backend;
mod conformance;
pub(crate) mod house;
mod life;
mod limits;
mod smuggling;
