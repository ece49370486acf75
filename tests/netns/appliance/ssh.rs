//! SSH by OpenSSH's own client: who comes in, from where and as whom, what he may do there, and that nothing else is there.

mod client;
mod come_in;
mod commands;
mod hostile;
mod prompt;
mod revoked;
mod update;
