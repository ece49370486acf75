//! SSH for operators, where the configuration turns it on with keys: the commands of `vrctl`, and nothing else.
//!
//! There is no shell behind it, no user and no file: whoever shows a key of the configuration runs commands as that key, with
//! its role, at the addresses of management interfaces alone. `snapshot` is what the configuration says, `service` the
//! engine, `listener` its sockets, `visitor` one connection, `conversation` one command or prompt on it, `running` a
//! command, `line` what is typed at the prompt. What a command does is not known here: [`Commands`] is handed in by the daemon.

mod command;
mod conversation;
mod desk;
mod host_key;
mod line;
mod listener;
mod outlet;
mod running;
mod service;
mod snapshot;
mod standing;
mod status;
mod typed;
mod visitor;

pub use command::{Call, Commands, Operator};
pub use service::{Service, SshError};
pub use snapshot::Snapshot;
pub use standing::Standing;
pub use status::Status;
