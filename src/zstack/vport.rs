//! The virtio-serial port by which a ZStack host tells a machine what it is. Read in the background, for a bounded time:
//! nothing waits for it, and a machine without the port goes on without it. Called by the service on a router that
//! remembers nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::O_NONBLOCK;
use nix::unistd::{User, chown};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::bootstrap::{LONGEST, Read, read};
use super::first_document;
use crate::reconcile::{Change, ChangeError, Edit, Handle};
use crate::store::Author;

/// Where udev puts the port.
pub const PORT: &str = "/dev/virtio-ports/applianceVm.vport";
/// The ports as the kernel knows them, for machines without udev (`virtio_console`).
const KERNEL_PORTS: &str = "/sys/class/virtio-ports";
/// The driver of such ports, with the devices that it drives.
const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_console";
/// How often is looked for a port to hand over; nobody but the service's start waits for it.
const HAND_OVER_LOOKS: u32 = 20;
/// How long the port may take to be there: the host's devices are announced one after the other.
const APPEARS: Duration = Duration::from_secs(10);
/// How long the host may take to write: its management node gives a machine that long.
const WRITES: Duration = Duration::from_secs(300);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Makes what comes by the port the first configuration. Ends once it has, or when there is no use in waiting.
pub(super) async fn first_boot(port: PathBuf, handle: Handle) {
    let Some(device) = appears(&port).await else { return };
    tracing::info!(port = %device.display(), "a ZStack host is asked what this machine is");
    let mut reader = match Reader::open(&device) {
        Ok(reader) => reader,
        Err(error) => {
            tracing::error!(port = %device.display(), %error, "the port cannot be opened");
            return;
        }
    };
    let until = Instant::now() + WRITES;
    while Instant::now() < until {
        match reader.look() {
            Read::Part => sleep(LOOK).await,
            Read::Whole(told) => match configure(&handle, &told).await {
                Ok(()) => return,
                // The host may write again, and better.
                Err(why) => tracing::error!(why, "what the ZStack host wrote cannot be configured"),
            },
            Read::Nonsense(why) => {
                tracing::error!(why, "what came by the port is no configuration");
                sleep(LOOK).await;
            }
        }
        if handle.published().generation > 0 {
            tracing::info!("somebody else has configured the router; the port is left alone");
            return;
        }
    }
    tracing::warn!("the ZStack host wrote nothing that this machine could become");
}

/// Hands the port to a user of this machine, so that the service may open it, which runs as one who may not. A machine
/// without such a port is left as it is. For a process of root, before the service starts.
///
/// # Errors
/// There is no such user, or the system refuses.
pub fn hand_over(port: &Path, user: &str) -> io::Result<()> {
    let user = User::from_name(user)?.ok_or_else(|| io::Error::other(format!("there is no user {user}")))?;
    let mut looks = 0;
    while has_ports(Path::new(DRIVER)) && looks < HAND_OVER_LOOKS {
        if let Some(device) = find(port, Path::new(KERNEL_PORTS)) {
            return chown(&device, Some(user.uid), None).map_err(Into::into);
        }
        looks += 1;
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Whether the machine has a device of virtio-serial, whose ports are announced a moment later.
fn has_ports(driver: &Path) -> bool {
    let devices = fs::read_dir(driver).into_iter().flatten().filter_map(Result::ok);
    devices.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("virtio"))
}

/// Waits for the port, and says which device it is.
async fn appears(port: &Path) -> Option<PathBuf> {
    let until = Instant::now() + APPEARS;
    loop {
        if let Some(device) = find(port, Path::new(KERNEL_PORTS)) {
            return Some(device);
        }
        if Instant::now() >= until {
            return None;
        }
        sleep(LOOK).await;
    }
}

/// The port where it should be, or else the device that the kernel has under the port's name.
fn find(port: &Path, kernel_ports: &Path) -> Option<PathBuf> {
    if port.exists() {
        return Some(port.to_owned());
    }
    let name = port.file_name()?.to_str()?;
    let entries = fs::read_dir(kernel_ports).ok()?;
    let is_meant = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("name")).is_ok_and(|found| found.trim() == name)
    };
    let entry = entries.filter_map(Result::ok).find(is_meant)?;
    Some(Path::new("/dev").join(entry.file_name()))
}

/// What came by the port so far.
struct Reader {
    file: File,
    octets: Vec<u8>,
}

impl Reader {
    /// Opens a port; reading never waits.
    fn open(device: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(device)?;
        Ok(Self { file, octets: Vec::new() })
    }

    /// Takes what there is. Nonsense is told once and forgotten.
    fn look(&mut self) -> Read {
        let mut buffer = [0; 4096];
        // What comes faster than it is read does not keep this from ending: it is too long then.
        while self.octets.len() <= LONGEST {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.octets.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.octets.clear();
                    return Read::Nonsense(error.to_string());
                }
            }
        }
        let found = read(&self.octets);
        if !matches!(found, Read::Part) {
            self.octets.clear();
        }
        found
    }
}

/// Makes what a host wrote the first configuration.
///
/// # Errors
/// What of it cannot be carried out, or the router has a configuration; nothing has changed then.
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "a fuzz target asks this as well"))]
pub async fn configure(handle: &Handle, told: &Value) -> Result<(), String> {
    let document = first_document(told).map_err(|refusal| refusal.to_string())?;
    let author = Author { name: "first boot".to_owned(), from: None };
    let change = Change { if_match: Some(0), ..Change::new(Edit::FirstBoot(document), author) };
    match handle.change(change).await {
        Ok(_) => Ok(()),
        Err(ChangeError::Faults(faults)) => Err(faults.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_is_found_by_its_path_or_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (port, kernel) = (folder.path().join("applianceVm.vport"), folder.path().join("kernel"));
        assert_eq!(find(&port, &kernel), None);
        for (device, name) in [("vport0p1", "org.qemu.guest_agent.0\n"), ("vport0p2", "applianceVm.vport\n")]
        {
            fs::create_dir_all(kernel.join(device)).unwrap();
            fs::write(kernel.join(device).join("name"), name).unwrap();
        }
        assert_eq!(find(&port, &kernel), Some("/dev/vport0p2".into()));
        fs::write(&port, "").unwrap();
        assert_eq!(find(&port, &kernel), Some(port));
    }

    #[test]
    fn what_comes_in_pieces_is_whole_once_and_nonsense_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("port");
        fs::write(&path, "").unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let write = |text: &str| {
            use std::io::Write as _;
            OpenOptions::new().append(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        assert_eq!(reader.look(), Read::Part);
        write("{\"uuid\":");
        assert_eq!(reader.look(), Read::Part);
        write("\"9a\"}    ");
        assert_eq!(reader.look(), Read::Whole(json!({"uuid": "9a"})));
        assert_eq!(reader.look(), Read::Part);
        write("nothing");
        assert!(matches!(reader.look(), Read::Nonsense(_)));
        write("{\"uuid\": \"9b\"}");
        assert_eq!(reader.look(), Read::Whole(json!({"uuid": "9b"})));
    }
}
