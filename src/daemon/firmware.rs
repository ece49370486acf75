//! The firmware of the machine: where it is looked for, and the trial of a version that is new. Called by `mod.rs`; its options
//! stand on the command line of `vrouterd`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::DaemonError;
use crate::clock;
use crate::status::Reporter;
use crate::system::{Machine, System};

/// How often a version that is on trial is looked at.
const ROUND: Duration = Duration::from_secs(1);

/// The firmware.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Firmware")]
pub struct FirmwareOptions {
    /// Has the machine started again where that is asked for: the file that is made then, for a unit that waits for it.
    ///
    /// Without it, POST /v1/system/reboot is refused.
    #[arg(long, value_name = "PATH")]
    pub reboot_file: Option<PathBuf>,
    /// How long a new version of the firmware has to show that it is good; after that the machine is started again, and the
    /// version before it comes back.
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub trial_seconds: u64,
    /// Where the machine's /sys, /dev, /efi, /run and /usr are looked for, where that is not `/`: for tests.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub system_root: PathBuf,
}

impl FirmwareOptions {
    fn machine(&self) -> Machine {
        Machine::new(self.system_root.clone(), self.reboot_file.clone())
    }

    /// Hands the slot that an update goes to to a user of this machine. For a process of root, before the service starts.
    ///
    /// # Errors
    /// There is no such user, or the system refuses.
    pub fn hand_over(&self, user: &str) -> io::Result<()> {
        self.machine().hand_over(user)
    }

    /// The firmware, as it is found.
    ///
    /// # Errors
    /// The state directory cannot be used, or the system gives no thread.
    pub(super) async fn system(&self, state_dir: &Path) -> Result<Arc<System>, DaemonError> {
        let (machine, state_dir) = (self.machine(), state_dir.to_owned());
        let trial = Duration::from_secs(self.trial_seconds);
        // It waits for disks.
        let opened = tokio::task::spawn_blocking(move || {
            let now = (clock::moment(), &clock::mark());
            System::open(machine, &state_dir, env!("CARGO_PKG_VERSION"), trial, now)
        });
        Ok(Arc::new(opened.await.map_err(io::Error::other)??))
    }
}

/// Looks at a version that is on trial until it is decided whether it is good. Ends at once where none is.
pub(super) fn watch(system: Arc<System>, reporter: Arc<Reporter>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(interfaces) = system.on_trial() {
            rounds.tick().await;
            let (system, reporter) = (system.clone(), reporter.clone());
            let looked = tokio::task::spawn_blocking(move || {
                let health = reporter.status().serves(&interfaces);
                system.look((clock::moment(), clock::now()), health);
            });
            if let Err(error) = looked.await {
                tracing::error!(%error, "the version that is on trial was not looked at");
            }
        }
    })
}
