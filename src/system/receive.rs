//! An update on its way to the disk, step by step, each on the medium before the next begins:
//!
//! 1. the manifest is signed and for this router; before that nothing is written;
//! 2. the entry of the idle slot goes, and whatever an update that was cut off left behind;
//! 3. the root goes to the idle slot, and is read back;
//! 4. the kernel image goes to a file that the boot loader does not look at, and is read back;
//! 5. the file ends there; then that file becomes an entry with three tries, by its name alone;
//! 6. where an older version was forced, what runs becomes the last choice.
//!
//! Wherever this is cut, what runs is untouched, and there is an entry of the new version only where all of it is there.
//! Decides nothing of time and knows no device; called by `service.rs` on a thread that may wait.

use std::io;

use super::entry::{Entry, part};
use super::file::{Event, FileFault, Hash, Part, Reader};
use super::hands::Hands;
use super::keys::Keys;
use super::layout::Layout;
use super::manifest::{Content, Manifest, Unsuitable};
use super::version::Version;

/// What is to be done besides writing the two parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    /// The version that comes.
    pub version: Version,
    /// Names that go first.
    pub remove: Vec<String>,
    /// The entry that runs, where it has to come after the new one though its version is higher.
    pub becomes_last: Option<Entry>,
}

impl Steps {
    /// What it takes to bring a version to a machine.
    #[must_use]
    pub fn new(layout: &Layout, version: Version) -> Self {
        let becomes_last = (version < layout.entry.version).then_some(layout.entry);
        Self { version, remove: layout.stale.clone(), becomes_last }
    }
}

/// Why the octets stopped coming.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// The sender is gone.
    #[error("the connection ended before the update did: send it again")]
    Gone,
    /// The sender is too slow.
    #[error("the update came too slowly, {0}: send it again")]
    Slow(String),
}

/// Why there is no update.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The file is none for this router.
    #[error(transparent)]
    File(#[from] FileFault),
    /// It did not come.
    #[error(transparent)]
    Cut(#[from] Cut),
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's words.
        source: io::Error,
    },
    /// The disk holds something else than what was written.
    #[error("the {} on the disk is not what was written there: the disk is damaged", .0.name())]
    ReadBack(Part),
}

impl From<Unsuitable> for ReceiveError {
    fn from(why: Unsuitable) -> Self {
        Self::File(FileFault::Unsuitable(why))
    }
}

/// Receives an update. `next` gives what comes, nothing at its end; `begin` is asked with the manifest once it is known who
/// signed it, and says what is to be done and with what.
///
/// # Errors
/// Why there is none; what runs is as it was then, and the idle slot has no entry once `begin` was asked.
pub fn receive<H: Hands, O: AsRef<[u8]>>(
    keys: &Keys,
    next: impl FnMut() -> Result<Option<O>, Cut>,
    begin: impl FnOnce(&Manifest) -> Result<(Steps, H), ReceiveError>,
) -> Result<Version, ReceiveError> {
    let mut work = None;
    let done = bring(keys, next, begin, &mut work);
    if let (Err(_), Some(work)) = (&done, &mut work) {
        work.abandon();
    }
    done
}

fn bring<H: Hands, O: AsRef<[u8]>>(
    keys: &Keys,
    mut next: impl FnMut() -> Result<Option<O>, Cut>,
    begin: impl FnOnce(&Manifest) -> Result<(Steps, H), ReceiveError>,
    work: &mut Option<Work<H>>,
) -> Result<Version, ReceiveError> {
    let (mut reader, mut begin) = (Reader::new(keys), Some(begin));
    while let Some(octets) = next()? {
        let mut octets = octets.as_ref();
        while let Some(event) = reader.next(&mut octets)? {
            match (event, work.as_mut(), begin.take()) {
                (Event::Manifest(manifest), None, Some(begin)) => {
                    let (steps, hands) = begin(&manifest)?;
                    work.insert(Work { steps, hands, is_part_there: false }).clear()?;
                }
                (Event::Octets(part, octets), Some(work), _) => work.write(part, octets)?,
                (Event::Whole(part, content), Some(work), _) => work.settle(part, content)?,
                // The reader says one manifest, and says it first.
                _ => return Err(FileFault::Magic.into()),
            }
        }
    }
    reader.finish()?;
    match work {
        Some(work) => work.switch().map(|()| work.steps.version),
        None => Err(FileFault::Magic.into()),
    }
}

/// An update whose manifest is known.
struct Work<H: Hands> {
    steps: Steps,
    hands: H,
    /// Whether there is a file to be removed if nothing comes of it.
    is_part_there: bool,
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> ReceiveError {
    let what = what.into();
    move |source| ReceiveError::System { what, source }
}

impl<H: Hands> Work<H> {
    /// Takes away what starts the idle slot.
    fn clear(&mut self) -> Result<(), ReceiveError> {
        for name in &self.steps.remove {
            self.hands.remove(name).map_err(failed(format!("remove the entry {name}")))?;
        }
        Ok(())
    }

    fn write(&mut self, part_of: Part, octets: &[u8]) -> Result<(), ReceiveError> {
        match part_of {
            Part::Root => self.hands.write_slot(octets).map_err(failed("write the root to the idle slot")),
            Part::Uki => self.hands.write(octets).map_err(failed("write the kernel image")),
        }
    }

    /// A part came whole: it is brought to the medium and read back.
    fn settle(&mut self, whole: Part, content: Content) -> Result<(), ReceiveError> {
        let name = part(self.steps.version);
        let mut hash = Hash::default();
        let mut each = |octets: &[u8]| hash.update(octets);
        let read = match whole {
            Part::Root => {
                self.hands.sync_slot().map_err(failed("write the root to the idle slot"))?;
                self.hands.read_slot(content.size, &mut each)
            }
            Part::Uki => {
                self.hands.sync().map_err(failed("write the kernel image"))?;
                self.hands.read(&name, &mut each)
            }
        };
        read.map_err(failed(format!("read the {} back", whole.name())))?;
        if !hash.is(&content.sha256) {
            return Err(ReceiveError::ReadBack(whole));
        }
        if whole == Part::Root {
            self.is_part_there = true;
            self.hands.create(&name).map_err(failed("create the file of the kernel image"))?;
        }
        Ok(())
    }

    /// All of it is there: the next start is the new version's.
    fn switch(&mut self) -> Result<(), ReceiveError> {
        let (fresh, name) = (Entry::fresh(self.steps.version).to_string(), part(self.steps.version));
        self.hands
            .rename(&name, &fresh)
            .map_err(failed("make the new version an entry of the boot loader"))?;
        self.is_part_there = false;
        let Some(running) = self.steps.becomes_last else { return Ok(()) };
        let renamed = self.hands.rename(&running.to_string(), &running.last().to_string());
        renamed.map_err(|source| {
            // Half of a choice is none: without this the running version starts again in any case.
            let _ = self.hands.remove(&fresh);
            failed("make the version that runs the last choice")(source)
        })
    }

    /// Nothing comes of it: what was begun goes, so that nobody wonders what it is. Where even that fails, the next update
    /// removes it.
    fn abandon(&mut self) {
        if self.is_part_there {
            let _ = self.hands.remove(&part(self.steps.version));
        }
    }
}

#[cfg(test)]
mod tests;
