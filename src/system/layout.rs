//! What runs from where, and where an update may go: decided over what was read of the machine. Pure; `machine.rs` reads.

use super::entry::Entry;
use super::firmware;

/// The names of the two partitions that hold a root, and of the slots in them.
const SLOTS: [(&str, Slot); 2] = [("root-a", Slot::A), ("root-b", Slot::B)];

/// One of the two places that a version runs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The partition `root-a`.
    A,
    /// The partition `root-b`.
    B,
}

impl Slot {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// What was read of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The partitions that have a name.
    pub partitions: Vec<Partition>,
    /// The devices that the root's verity device reads; none where there is no such device.
    pub verity: Vec<String>,
    /// The names of the files among the boot loader's entries, or why they cannot be read.
    pub files: Result<Vec<String>, String>,
    /// What the boot loader says that it started.
    pub selected: Option<String>,
    /// The file of the entry that it started, where it counts the tries of that.
    pub count_path: Option<String>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The kernel's name of it, such as `vda2`.
    pub device: String,
    /// The kernel's name of its disk.
    pub disk: String,
    /// Its name in the disk's table of partitions.
    pub label: String,
    /// Its size in octets.
    pub octets: u64,
}

/// A machine that takes updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The slot that runs.
    pub slot: Slot,
    /// Its partition.
    pub running: Partition,
    /// The other slot.
    pub idle_slot: Slot,
    /// Its partition.
    pub idle: Partition,
    /// The entry that runs, with what is counted of it now.
    pub entry: Entry,
    /// Every entry, that one among them.
    pub entries: Vec<Entry>,
    /// What is to be removed before the idle slot is written: names of files that start it, or were to.
    pub stale: Vec<String>,
}

/// Why a machine takes no updates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The root is no verity device.
    #[error(
        "its root is not one of two slots under dm-verity: it was started from a kernel and a root by themselves, which are replaced instead"
    )]
    NoVerity,
    /// The root is elsewhere.
    #[error("its root is on {0}, which is neither of the partitions root-a and root-b")]
    Elsewhere(String),
    /// There is no other slot.
    #[error("there is no partition {label} beside {running} on {disk}")]
    NoIdle {
        /// The name that is missing.
        label: &'static str,
        /// What runs.
        running: String,
        /// Where it would have to be.
        disk: String,
    },
    /// The entries cannot be read.
    #[error("the entries of the boot loader cannot be read: {0}")]
    NoEntries(String),
    /// The boot loader does not say what it started.
    #[error("the boot loader does not say which entry it started ({})", .0.as_deref().unwrap_or("no variable LoaderEntrySelected"))]
    NotSelected(Option<String>),
    /// What it says is not there.
    #[error("the entry of version {0}, which runs, is not among those of the boot loader")]
    Gone(super::Version),
}

/// The slot that runs and the one that does not, by the partitions alone.
///
/// # Errors
/// There are no two.
pub fn slots(facts: &Facts) -> Result<[(Slot, &Partition); 2], Unfit> {
    let device = facts.verity.first().ok_or(Unfit::NoVerity)?;
    let labelled = |partition: &Partition| SLOTS.iter().position(|(label, _)| *label == partition.label);
    let running = facts.partitions.iter().find(|partition| partition.device == *device);
    let (Some(running), Some(index)) = (running, running.and_then(labelled)) else {
        return Err(Unfit::Elsewhere(device.clone()));
    };
    // Another disk may have partitions of the same names: what is idle is beside what runs.
    let idle = facts.partitions.iter().find(|partition| {
        partition.disk == running.disk && labelled(partition).is_some_and(|other| other != index)
    });
    let [a, b] = SLOTS;
    let ((_, slot), (label, other)) = if index == 0 { (a, b) } else { (b, a) };
    let missing = || Unfit::NoIdle { label, running: running.device.clone(), disk: running.disk.clone() };
    Ok([(slot, running), (other, idle.ok_or_else(missing)?)])
}

impl Layout {
    /// What is decided over these facts.
    ///
    /// # Errors
    /// Why the machine takes no updates.
    pub fn new(facts: &Facts) -> Result<Self, Unfit> {
        let [(slot, running), (idle_slot, idle)] = slots(facts)?;
        let files = facts.files.as_ref().map_err(|why| Unfit::NoEntries(why.clone()))?;
        let (selected, path) = (facts.selected.as_deref(), facts.count_path.as_deref());
        let not_said = || Unfit::NotSelected(facts.selected.clone());
        let version = firmware::started(selected, path).ok_or_else(not_said)?.version;
        let entries: Vec<Entry> = files.iter().filter_map(|name| Entry::parse(name)).collect();
        // A name that was being changed when the power went may be there twice: once good is good.
        let counted = firmware::started(None, path);
        let these = entries.iter().filter(|entry| entry.version == version);
        let entry = these.max_by_key(|entry| (entry.tries.is_none(), Some(**entry) == counted));
        let entry = *entry.ok_or(Unfit::Gone(version))?;
        let is_stale = |name: &&String| {
            super::entry::is_part(name) || Entry::parse(name).is_some_and(|other| other.version != version)
        };
        let mut stale: Vec<String> = files.iter().filter(is_stale).cloned().collect();
        stale.sort();
        let (running, idle) = (running.clone(), idle.clone());
        Ok(Self { slot, running, idle_slot, idle, entry, entries, stale })
    }

    /// Whether what runs has yet to show that it is good.
    #[must_use]
    pub const fn on_trial(&self) -> bool {
        self.entry.tries.is_some()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn partition(device: &str, disk: &str, label: &str) -> Partition {
        Partition { device: device.into(), disk: disk.into(), label: label.into(), octets: 64 << 20 }
    }

    /// A disk as the image has it, with version 0.1.0 running from slot A.
    pub(crate) fn facts() -> Facts {
        let names = ["esp", "root-a", "root-b", "data"];
        let partitions = names.iter().zip(1..).map(|(name, n)| partition(&format!("vda{n}"), "vda", name));
        Facts {
            partitions: partitions.collect(),
            verity: vec!["vda2".into()],
            files: Ok(vec!["vrouter_0.1.0.efi".into()]),
            selected: Some("vrouter_0.1.0.efi".into()),
            count_path: None,
        }
    }

    #[test]
    fn what_is_not_running_is_idle() {
        let layout = Layout::new(&facts()).unwrap();
        assert_eq!((layout.slot, layout.idle_slot, &*layout.idle.device), (Slot::A, Slot::B, "vda3"));
        assert!(layout.stale.is_empty() && !layout.on_trial());
        let other = Facts { verity: vec!["vda3".into()], ..facts() };
        let layout = Layout::new(&other).unwrap();
        assert_eq!((layout.slot, layout.idle_slot, &*layout.idle.device), (Slot::B, Slot::A, "vda2"));
    }

    #[test]
    fn what_is_idle_is_on_the_disk_of_what_runs() {
        let mut facts = facts();
        let copies =
            ["root-a", "root-b"].iter().zip(1..).map(|(name, n)| partition(&format!("sda{n}"), "sda", name));
        facts.partitions.splice(0..0, copies);
        assert_eq!(Layout::new(&facts).unwrap().idle.device, "vda3");
        facts.partitions.retain(|partition| partition.device != "vda3");
        let refusal = Layout::new(&facts).unwrap_err().to_string();
        assert_eq!(refusal, "there is no partition root-b beside vda2 on vda");
    }

    #[test]
    fn the_entry_that_runs_is_found_whatever_is_counted_of_it() {
        let files = ["vrouter_0.2.0+2-1.efi", "vrouter_0.1.0.efi", ".vrouter_0.3.0.tmp", "memtest.efi"];
        let facts = Facts {
            files: Ok(files.map(str::to_owned).into()),
            selected: Some("vrouter_0.2.0+3.efi".into()),
            count_path: Some("\\EFI\\Linux\\vrouter_0.2.0+2-1.efi".into()),
            ..facts()
        };
        let layout = Layout::new(&facts).unwrap();
        assert_eq!(layout.entry.to_string(), "vrouter_0.2.0+2-1.efi");
        assert!(layout.on_trial());
        assert_eq!(layout.stale, [".vrouter_0.3.0.tmp", "vrouter_0.1.0.efi"], "what others put there stays");
    }

    #[test]
    fn a_name_that_is_there_twice_is_the_good_one_or_the_one_that_was_counted() {
        let entry = |files: &[&str]| {
            let files = files.iter().map(|name| (*name).to_owned()).collect();
            let path = "\\EFI\\Linux\\vrouter_0.1.0+2-1.efi".to_owned();
            Layout::new(&Facts { files: Ok(files), count_path: Some(path), ..facts() })
                .unwrap()
                .entry
                .to_string()
        };
        let [fresh, counted, good] = ["vrouter_0.1.0+3.efi", "vrouter_0.1.0+2-1.efi", "vrouter_0.1.0.efi"];
        assert_eq!(entry(&[counted, fresh]), counted);
        assert_eq!(entry(&[fresh, counted]), counted);
        assert_eq!(entry(&[fresh, good, counted]), good);
    }

    #[test]
    fn a_machine_without_two_slots_says_what_it_lacks() {
        let why = |facts: Facts| Layout::new(&facts).unwrap_err().to_string();
        assert!(why(Facts { verity: vec![], ..facts() }).starts_with("its root is not one of two slots"));
        assert!(why(Facts { verity: vec!["vdb".into()], ..facts() }).starts_with("its root is on vdb"));
        assert!(why(Facts { verity: vec!["vda1".into()], ..facts() }).starts_with("its root is on vda1"));
        let why_not = "/efi is not there".to_owned();
        assert!(why(Facts { files: Err(why_not), ..facts() }).ends_with("cannot be read: /efi is not there"));
        assert!(why(Facts { selected: None, ..facts() }).contains("no variable LoaderEntrySelected"));
        assert!(why(Facts { selected: Some("shell.efi".into()), ..facts() }).contains("(shell.efi)"));
        assert!(
            why(Facts { files: Ok(vec![]), ..facts() }).contains("version 0.1.0, which runs, is not among")
        );
    }
}
