//! What a description of libvirt says: of a golden domain, of a running VM, of the host. Pure; called by `xml.rs`,
//! `golden.rs` and `libvirt`.

use std::net::SocketAddr;
use std::path::PathBuf;

use roxmltree::{Document, Node};

use super::xml::XmlError;
use crate::pool::hypervisor::MARK_NAMESPACE;

/// What a golden domain says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// Its disk's image.
    pub disk: PathBuf,
    /// The image's format, `raw` or `qcow2`.
    pub format: String,
    /// The disk's name, as `vda`.
    pub target: String,
    /// Octets of memory of one VM.
    pub memory: u64,
}

impl Golden {
    /// Reads what has to be known, and refuses what clones cannot share.
    ///
    /// # Errors
    /// It is no domain's description, or a second disk could be written to by all clones, or its console is not SPICE.
    pub fn read(text: &str) -> Result<Self, XmlError> {
        let document = parse(text)?;
        let domain = document.root_element();
        let devices = child(domain, "devices").ok_or(XmlError::Lacks("devices"))?;
        let mut disks = children(devices, "disk").filter(|disk| is_written_to(*disk));
        let disk = disks.next().ok_or(XmlError::Lacks("disk that can be written to"))?;
        if let Some(second) = disks.next() {
            let target = child(second, "target").and_then(|target| target.attribute("dev")).unwrap_or("?");
            return Err(XmlError::Unfit(format!(
                "disk {target} could be written to by all clones; make it read-only or remove it"
            )));
        }
        let file = child(disk, "source").and_then(|source| source.attribute("file"));
        let file = file.ok_or_else(|| XmlError::Unfit("the disk is not a file".to_owned()))?;
        let format = child(disk, "driver").and_then(|driver| driver.attribute("type")).unwrap_or("raw");
        if !matches!(format, "raw" | "qcow2") {
            return Err(XmlError::Unfit(format!("the disk's format is {format}, not raw or qcow2")));
        }
        let target = child(disk, "target").and_then(|target| target.attribute("dev"));
        let consoles: Vec<_> = children(devices, "graphics").collect();
        if !consoles.iter().any(|graphics| graphics.attribute("type") == Some("spice")) {
            return Err(XmlError::Lacks("console of type spice"));
        }
        if consoles.len() > 1 {
            return Err(XmlError::Unfit("it has a second console, which would be open to others".to_owned()));
        }
        Ok(Self {
            disk: file.into(),
            format: format.to_owned(),
            target: target.ok_or(XmlError::Lacks("target of the disk"))?.to_owned(),
            memory: memory(domain).ok_or(XmlError::Lacks("memory"))?,
        })
    }
}

/// Octets of memory; the unit is KiB where none is named.
fn memory(domain: Node<'_, '_>) -> Option<u64> {
    let memory = child(domain, "memory")?;
    let number: u64 = memory.text()?.trim().parse().ok()?;
    let unit = match memory.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// The text of our mark in a description or in a `<metadata>` element's text.
#[must_use]
pub fn mark(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let slot = document.descendants().find(|node| node.has_tag_name((MARK_NAMESPACE, "slot")))?;
    Some(slot.text().unwrap_or_default().to_owned())
}

/// The same from an element that has lost its namespace, as libvirt hands some out.
#[must_use]
pub fn bare_mark(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let slot = document.root_element();
    (slot.tag_name().name() == "slot").then(|| slot.text().unwrap_or_default().to_owned())
}

/// The name in a description of a domain or a network.
#[must_use]
pub fn name(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    Some(child(document.root_element(), "name")?.text()?.trim().to_owned())
}

/// Where a running domain's SPICE console listens.
#[must_use]
pub fn console(text: &str) -> Option<SocketAddr> {
    let document = Document::parse(text).ok()?;
    let devices = child(document.root_element(), "devices")?;
    let graphics = children(devices, "graphics").find(|node| node.attribute("type") == Some("spice"))?;
    let port: u16 = graphics.attribute("port")?.parse().ok()?;
    Some(SocketAddr::new(graphics.attribute("listen")?.parse().ok()?, port))
}

/// The machine type in a domain's description.
#[must_use]
pub fn machine(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let kind = child(child(document.root_element(), "os")?, "type")?;
    kind.attribute("machine").map(str::to_owned)
}

/// The host's CPU in libvirt's capabilities: everything that is said of it, as it is written.
#[must_use]
pub fn host_cpu(capabilities: &str) -> Option<String> {
    let document = Document::parse(capabilities).ok()?;
    let cpu = child(child(document.root_element(), "host")?, "cpu")?;
    Some(capabilities.get(cpu.range())?.split_whitespace().collect::<Vec<_>>().join(" "))
}

pub(super) fn parse(text: &str) -> Result<Document<'_>, XmlError> {
    Document::parse(text).map_err(|error| XmlError::Syntax(error.to_string()))
}

pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

pub(super) fn children<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

/// Whether a disk keeps what a guest writes: not a drive without medium of its own, not read-only, not thrown away.
pub(super) fn is_written_to(disk: Node<'_, '_>) -> bool {
    matches!(disk.attribute("device"), None | Some("disk" | "lun"))
        && child(disk, "readonly").is_none()
        && child(disk, "transient").is_none()
}
