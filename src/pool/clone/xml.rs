//! The description of a clone, made from its golden domain's.
//!
//! libvirt's format (<https://libvirt.org/formatdomain.html>) is read with the place of every octet, and only what two VMs
//! cannot share is changed: name, UUID, generation id, MACs, the disk's file, the console, files of serial lines, NVRAM, our
//! mark. Pure; called by `libvirt`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use roxmltree::Node;

use super::read::{child, children, is_written_to, parse};
use super::splice::{Splice, escape};
use crate::pool::hypervisor::{MARK_NAMESPACE, MARK_PREFIX};

/// A time long ago, in the form of `passwdValidTo`: nobody enters before a ticket is issued. A VM that was started without
/// any password could never get one.
pub const EXPIRED: &str = "1970-01-01T00:00:01";

/// Why a description is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is not XML.
    #[error("the description is not well-formed: {0}")]
    Syntax(String),
    /// It lacks something.
    #[error("the description has no {0}")]
    Lacks(&'static str),
    /// Clones cannot share something in it.
    #[error("{0}")]
    Unfit(String),
}

/// What is a clone's own.
#[derive(Debug, Clone)]
pub struct Own<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UUID.
    pub uuid: &'a str,
    /// The first interface's MAC; further ones count up.
    pub mac: [u8; 6],
    /// The overlay.
    pub disk: &'a Path,
    /// Where its console listens.
    pub console: SocketAddr,
    /// The console's password, which is expired from the start.
    pub password: &'a str,
    /// The text of the mark.
    pub mark: &'a str,
}

/// What becomes of the interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interfaces {
    /// They get MACs of their own.
    Own,
    /// They are left out, to be plugged in when the VM runs.
    LeftOut,
}

/// The description of a clone.
///
/// # Errors
/// The description lacks what a clone has to have of its own.
pub fn clone(text: &str, own: &Own<'_>, interfaces: Interfaces) -> Result<String, XmlError> {
    let document = parse(text)?;
    let domain = document.root_element();
    let devices = child(domain, "devices").ok_or(XmlError::Lacks("devices"))?;
    let mut splice = Splice::default();
    set_text(&mut splice, child(domain, "name").ok_or(XmlError::Lacks("name"))?, own.name);
    let name_end = child(domain, "name").map(|name| name.range().end).unwrap_or_default();
    match child(domain, "uuid") {
        Some(uuid) => set_text(&mut splice, uuid, own.uuid),
        None => splice.insert(name_end, format!("<uuid>{}</uuid>", escape(own.uuid))),
    }
    if let Some(generation) = child(domain, "genid") {
        set_text(&mut splice, generation, own.uuid);
    }
    if let Some(nvram) = child(domain, "os").and_then(|os| child(os, "nvram")) {
        // libvirt makes one from the firmware's template where none is named.
        splice.remove(nvram.range());
    }
    let disk = children(devices, "disk").find(|disk| is_written_to(*disk)).ok_or(XmlError::Lacks("disk"))?;
    set_disk(&mut splice, text, disk, own.disk)?;
    for (number, interface) in children(devices, "interface").enumerate() {
        match interfaces {
            Interfaces::Own => set_interface(&mut splice, text, interface, own.mac, number)?,
            Interfaces::LeftOut => splice.remove(interface.range()),
        }
    }
    let console = children(devices, "graphics")
        .find(|graphics| graphics.attribute("type") == Some("spice"))
        .ok_or(XmlError::Lacks("console of type spice"))?;
    set_console(&mut splice, console, own);
    for line in devices.children().filter(|node| {
        ["serial", "console", "channel", "parallel"].iter().any(|name| node.has_tag_name(*name))
    }) {
        set_line(&mut splice, line, own.name);
    }
    set_mark(&mut splice, text, domain, own.mark, name_end);
    splice.apply(text).ok_or(XmlError::Syntax("a change cuts a character".to_owned()))
}

/// The descriptions of a VM's interfaces, to be plugged in while it runs.
///
/// # Errors
/// It is no domain's description.
pub fn interfaces(text: &str) -> Result<Vec<String>, XmlError> {
    let document = parse(text)?;
    let devices = child(document.root_element(), "devices").ok_or(XmlError::Lacks("devices"))?;
    let octets = |node: Node<'_, '_>| text.get(node.range()).unwrap_or_default().to_owned();
    Ok(children(devices, "interface").map(octets).collect())
}

/// A VM's description without its interfaces.
///
/// # Errors
/// It is no domain's description.
pub fn without_interfaces(text: &str) -> Result<String, XmlError> {
    let document = parse(text)?;
    let devices = child(document.root_element(), "devices").ok_or(XmlError::Lacks("devices"))?;
    let mut splice = Splice::default();
    for interface in children(devices, "interface") {
        remove_line(&mut splice, text, interface);
    }
    splice.apply(text).ok_or(XmlError::Lacks("devices"))
}

/// The element of our mark, as it stands in `<metadata>`.
#[must_use]
pub fn mark_element(mark: &str) -> String {
    format!(
        "<{MARK_PREFIX}:slot xmlns:{MARK_PREFIX}=\"{MARK_NAMESPACE}\">{}</{MARK_PREFIX}:slot>",
        escape(mark)
    )
}

/// The element of our mark as `virDomainSetMetadata` takes it, which adds prefix and namespace.
#[must_use]
pub fn bare_mark_element(mark: &str) -> String {
    format!("<slot>{}</slot>", escape(mark))
}

/// The element that `virDomainUpdateDeviceFlags` takes to change a console's password.
///
/// # Errors
/// The description has no SPICE console.
pub fn console_with_password(text: &str, password: &str, until: Option<&str>) -> Result<String, XmlError> {
    let document = parse(text)?;
    let devices = child(document.root_element(), "devices").ok_or(XmlError::Lacks("devices"))?;
    let graphics = children(devices, "graphics")
        .find(|graphics| graphics.attribute("type") == Some("spice"))
        .ok_or(XmlError::Lacks("console of type spice"))?;
    let mut splice = Splice::default();
    let range = graphics.range();
    let mut changes = vec![("passwd", Some(password.to_owned()))];
    changes.push(("passwdValidTo", until.map(str::to_owned)));
    set_attributes(&mut splice, graphics, &changes);
    splice.remove(0..range.start);
    splice.remove(range.end..text.len());
    splice.apply(text).ok_or(XmlError::Lacks("console of type spice"))
}

/// Changes an element's text; the element's tags stay as they are.
fn set_text(splice: &mut Splice, node: Node<'_, '_>, text: &str) {
    let inner = node.first_child().zip(node.last_child());
    match inner {
        Some((first, last)) => splice.replace(first.range().start..last.range().end, escape(text)),
        None => {
            let tag = node.tag_name().name();
            splice.replace(node.range(), format!("<{tag}>{}</{tag}>", escape(text)));
        }
    }
}

/// Sets attributes, or takes them away.
fn set_attributes(splice: &mut Splice, node: Node<'_, '_>, wanted: &[(&str, Option<String>)]) {
    // Right behind the element's name: `<name`.
    let behind_name = node.range().start + 1 + node.tag_name().name().len();
    let mut added = String::new();
    for (name, value) in wanted {
        let found = node.attribute_node(*name);
        match (found, value) {
            (Some(found), Some(value)) => splice.replace(found.range_value(), escape(value)),
            (Some(found), None) => splice.remove(found.range()),
            (None, Some(value)) => {
                let _ = write!(added, " {name}='{}'", escape(value));
            }
            (None, None) => {}
        }
    }
    if !added.is_empty() {
        splice.insert(behind_name, added);
    }
}

fn set_disk(splice: &mut Splice, text: &str, disk: Node<'_, '_>, file: &Path) -> Result<(), XmlError> {
    let file = file.to_str().ok_or_else(|| XmlError::Unfit("the overlay's path is not UTF-8".to_owned()))?;
    let source = child(disk, "source").ok_or(XmlError::Lacks("source of the disk"))?;
    set_attributes(splice, source, &[("file", Some(file.to_owned()))]);
    match child(disk, "driver") {
        Some(driver) => set_attributes(splice, driver, &[("type", Some("qcow2".to_owned()))]),
        None => splice.insert(source.range().start, "<driver name='qemu' type='qcow2'/>"),
    }
    if let Some(backing) = child(disk, "backingStore") {
        // It stands in the overlay's header; libvirt reads it there.
        remove_line(splice, text, backing);
    }
    Ok(())
}

fn set_interface(
    splice: &mut Splice,
    text: &str,
    interface: Node<'_, '_>,
    first: [u8; 6],
    number: usize,
) -> Result<(), XmlError> {
    let mac = nth_mac(first, number);
    match child(interface, "mac") {
        Some(node) => set_attributes(splice, node, &[("address", Some(mac))]),
        None => {
            let at = interface.first_child().ok_or(XmlError::Lacks("interface's source"))?.range().start;
            splice.insert(at, format!("<mac address='{mac}'/>"));
        }
    }
    if let Some(target) = child(interface, "target") {
        remove_line(splice, text, target);
    }
    Ok(())
}

/// The MAC so many after the first. Only the last three octets count; the first three name the maker.
fn nth_mac(first: [u8; 6], number: usize) -> String {
    let [a, b, c, d, e, f] = first;
    let low = u32::from_be_bytes([0, d, e, f]).wrapping_add(u32::try_from(number).unwrap_or_default());
    let [_, d, e, f] = low.to_be_bytes();
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

fn set_console(splice: &mut Splice, graphics: Node<'_, '_>, own: &Own<'_>) {
    let address = own.console.ip().to_string();
    set_attributes(
        splice,
        graphics,
        &[
            ("port", Some(own.console.port().to_string())),
            ("tlsPort", None),
            ("autoport", Some("no".to_owned())),
            ("listen", Some(address.clone())),
            ("passwd", Some(own.password.to_owned())),
            ("passwdValidTo", Some(EXPIRED.to_owned())),
            ("connected", None),
        ],
    );
    for (number, listen) in children(graphics, "listen").enumerate() {
        if number == 0 {
            splice
                .replace(listen.range(), format!("<listen type='address' address='{}'/>", escape(&address)));
        } else {
            splice.remove(listen.range());
        }
    }
}

/// Gives a serial line that ends in a file, or in a socket that the VM makes, a file of its own.
fn set_line(splice: &mut Splice, line: Node<'_, '_>, name: &str) {
    let Some(source) = child(line, "source") else { return };
    let Some(path) = source.attribute("path") else { return };
    let own = match line.attribute("type") {
        Some("file") => true,
        Some("unix") => source.attribute("mode") == Some("bind"),
        _ => false,
    };
    if own {
        set_attributes(splice, source, &[("path", Some(format!("{path}.{name}")))]);
    }
}

fn set_mark(splice: &mut Splice, text: &str, domain: Node<'_, '_>, mark: &str, name_end: usize) {
    let element = mark_element(mark);
    let Some(metadata) = child(domain, "metadata") else {
        splice.insert(name_end, format!("<metadata>{element}</metadata>"));
        return;
    };
    for foreign in metadata.children().filter(|node| node.tag_name().namespace() == Some(MARK_NAMESPACE)) {
        remove_line(splice, text, foreign);
    }
    match metadata.first_child() {
        Some(first) => splice.insert(first.range().start, element),
        None => splice.replace(metadata.range(), format!("<metadata>{element}</metadata>")),
    }
}

/// Takes an element out, with the blanks before it.
fn remove_line(splice: &mut Splice, text: &str, node: Node<'_, '_>) {
    let range = node.range();
    let before = text.get(..range.start).unwrap_or_default();
    let start = before.trim_end_matches([' ', '\t', '\n', '\r']).len();
    splice.remove(start..range.end);
}

#[cfg(test)]
#[path = "xml_tests.rs"]
mod tests;
