//! What operators may have done over SSH: the commands of the command line, asked of the API as whoever showed the key. Called by
//! `mod.rs` once, and by the SSH engine with each command.

use std::fmt;
use std::io;
use std::sync::Arc;

use axum::Router;
use tokio::runtime;
use tokio::sync::watch;

use crate::api::access::{ClientName, Peer, Role};
use crate::api::{Door, answer_within};
use crate::cli::{self, Bounds, Dial, Output, Visit};
use crate::config::ssh::SshRole;
use crate::engines::Services;
use crate::reconcile::Handle;
use crate::ssh::{Call, Commands, Standing};

/// How much of a request or an answer is on its way at once, in octets.
const WAY: usize = 64 << 10;
/// The exit code of a command that was interrupted, as shells have it: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// The commands, and what they ask.
struct VrctlCommands {
    /// The native API.
    router: Router,
    /// The runtime that it answers on.
    runtime: runtime::Handle,
    /// The loop, which knows the router's name.
    handle: Handle,
    /// Says when the service ends.
    stop: watch::Receiver<bool>,
    /// What commands share.
    bounds: Arc<Bounds>,
}

/// Has SSH answer with the commands from now on. Has to be called on the runtime that the API answers on.
pub(super) fn answer(
    services: &Services,
    (router, door): (&Router, &Door),
    handle: &Handle,
    stop: &watch::Receiver<bool>,
) {
    let (router, handle, stop) = (router.clone(), handle.clone(), stop.clone());
    let bounds = Arc::new(Bounds::new(door.body_limit() as u64));
    let runtime = runtime::Handle::current();
    services.ssh().answer_with(Arc::new(VrctlCommands { router, runtime, handle, stop, bounds }));
}

impl fmt::Debug for VrctlCommands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VrctlCommands").finish_non_exhaustive()
    }
}

impl Commands for VrctlCommands {
    fn run(&self, call: Call) -> u8 {
        let Call { standing, words, input, mut output, mut complaints, terminal, mut cancelled } = call;
        let visit = Visit { dial: self.dial(standing), sent: input, bounds: self.bounds.clone() };
        let mut output = Output::new(&mut *output, &mut *complaints, terminal);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancelled.wait() => INTERRUPTED,
                exit = cli::run_remote(&words, visit, &mut output) => exit as u8,
            }
        })
    }

    fn prompt(&self) -> String {
        let published = self.handle.published();
        let name = published.config.hostname().map_or_else(|| "vrouter".to_owned(), ToString::to_string);
        format!("{name}> ")
    }
}

impl VrctlCommands {
    /// Connections to the API on which every request is this operator's, as long as he would be let in.
    fn dial(&self, standing: Standing) -> Dial {
        let operator = standing.operator();
        let role = match operator.role {
            SshRole::Read => Role::Read,
            SshRole::Write => Role::Write,
        };
        let key = Arc::new(ClientName { name: operator.name.to_string(), role });
        let peer = Peer::Ssh { address: operator.from, key };
        let (router, runtime, stop) = (self.router.clone(), self.runtime.clone(), self.stop.clone());
        Arc::new(move || {
            if !standing.holds() {
                let why = "the key is not taken here any more";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
            let (mine, theirs) = tokio::io::duplex(WAY);
            runtime.spawn(answer_within(theirs, peer.clone(), router.clone(), stop.clone()));
            Ok(mine)
        })
    }
}
