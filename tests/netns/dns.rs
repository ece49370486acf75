//! DNS, asked by `dig` and by sockets in the guests' namespaces, with servers outside that are real or the tests' own.

mod forwarding;
mod names;
mod site;
mod sockets;
pub(crate) mod upstream;
