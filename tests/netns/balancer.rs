//! Load balancers in user space, with clients that send what no client should, and backends that come and go.

pub(crate) mod backend;
mod conformance;
mod health;
pub(crate) mod house;
mod http2;
mod life;
mod limits;
mod relay;
mod routes;
mod site;
mod smuggling;
mod tls;
