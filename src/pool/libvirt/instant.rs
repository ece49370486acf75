//! Instant clones: VMs that wake from a memory image which was saved once for each golden version.
//!
//! The image is made in the background of the first start that could have used it: a template boots over the golden image
//! without network cards, and is saved to a file when it has had its time. A clone's overlay then lies over the template's
//! disk, its memory is the image with the clone's own description in front, and its cards are plugged in when it runs,
//! because the guest would keep the template's MACs otherwise. An image belongs to one QEMU, one machine type and one CPU;
//! wherever it does not fit or does not work, the clone boots. Blocking; called by `mod.rs`.

use std::ffi::CString;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use virt::connect::Connect;
use virt::domain::Domain as Virt;
use virt::sys;

use super::call::{failed, is_absent, plain};
use super::connection::Held;
use super::domains::{self, disk_error};
use super::{cap, host};
use crate::clock;
use crate::pool::clone::image;
use crate::pool::clone::qcow2::{self, Base};
use crate::pool::clone::read;
use crate::pool::clone::xml::{self, Interfaces, Own};
use crate::pool::config::Config;
use crate::pool::golden::Checked;
use crate::pool::hypervisor::{Answer, HypervisorError, Mark, MarkState, Start};

const CALL: &str = "making a memory image";

/// Whether an image is being made, and for which golden version that did not work.
#[derive(Debug, Default)]
pub(super) struct Image {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    making: bool,
    failed: Option<String>,
}

/// The files of one golden version.
struct Files {
    disk: PathBuf,
    memory: PathBuf,
    fingerprint: PathBuf,
}

impl Files {
    fn of(config: &Config, version: &str) -> Self {
        let file = |kind: &str| config.clones.image_dir.join(format!("{}.{version}.{kind}", config.base));
        Self { disk: file("disk.qcow2"), memory: file("memory"), fingerprint: file("fingerprint") }
    }

    fn remove(&self) {
        for file in [&self.fingerprint, &self.memory, &self.disk] {
            if let Err(error) = fs::remove_file(file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(file = %file.display(), %error, "a memory image's file stays");
            }
        }
    }
}

fn refused(error: &dyn std::fmt::Display) -> HypervisorError {
    HypervisorError::Refused { call: CALL, message: error.to_string() }
}

/// Starts a VM from the memory image of its golden version, or boots it.
pub(super) fn start(
    connection: &Arc<Held>,
    config: &Arc<Config>,
    image: &Arc<Image>,
    name: &str,
) -> Answer<Start> {
    let domain = domains::ours(connection, config, name)?;
    let mark = domains::mark_of(&domain)?;
    let (text, checked) = host::checked(connection, config)?;
    if mark.golden == checked.version {
        let files = Files::of(config, &checked.version);
        let fingerprint = fingerprint(connection, &text)?;
        if fs::read_to_string(&files.fingerprint).is_ok_and(|found| found == fingerprint) {
            match wake(connection, config, &domain, &mark, &checked, &files) {
                Ok(()) => return Ok(Start::Instant),
                Err(error) => {
                    tracing::warn!(vm = name, %error, "it does not wake from the memory image, so it boots")
                }
            }
            back_to_golden(connection, config, name, &mark, &checked.base)?;
        } else {
            make(connection, config, image, text, checked, fingerprint);
        }
    }
    domains::start(connection, config, name)?;
    Ok(Start::Cold)
}

/// What an image depends on besides the golden version.
fn fingerprint(connection: &Connect, golden: &str) -> Answer<String> {
    let qemu = connection.get_hyp_version().map_err(failed(CALL))?;
    let library = connection.get_lib_version().map_err(failed(CALL))?;
    let capabilities = connection.get_capabilities().map_err(failed(CALL))?;
    let machine = read::machine(golden).unwrap_or_default();
    let cpu = read::host_cpu(&capabilities).unwrap_or_default();
    Ok(format!("qemu {qemu}\nlibvirt {library}\nmachine {machine}\ncpu {cpu}\n"))
}

fn wake(
    connection: &Connect,
    config: &Config,
    domain: &Virt,
    mark: &Mark,
    checked: &Checked,
    files: &Files,
) -> Answer<()> {
    let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
    let text = domain.get_xml_desc(flags).map_err(failed(CALL))?;
    let without = xml::without_interfaces(&text).map_err(|error| refused(&error))?;
    let cards = xml::interfaces(&text).map_err(|error| refused(&error))?;
    host::delete_overlay(config, &mark.overlay)?;
    let base = Base { path: files.disk.clone(), format: "qcow2".to_owned(), size: checked.base.size };
    qcow2::create(&mark.overlay, &base).map_err(disk_error)?;
    let copy = config.clones.image_dir.join(format!("{}.waking", mark.uuid));
    image::rewrite(&files.memory, &copy, &without).map_err(|error| refused(&error))?;
    let path = copy.to_str().ok_or_else(|| refused(&"the path of images is not UTF-8"))?;
    let woken =
        Virt::domain_restore_flags(connection, plain(CALL, path)?, None, sys::VIR_DOMAIN_SAVE_RUNNING)
            .map_err(failed("waking a VM"));
    if let Err(error) = fs::remove_file(&copy) {
        tracing::warn!(file = %copy.display(), %error, "a copy of a memory image stays");
    }
    woken?;
    for card in cards {
        domain
            .attach_device_flags(plain(CALL, &card)?, sys::VIR_DOMAIN_AFFECT_LIVE)
            .map_err(failed("plugging in a network card"))?;
    }
    cap::bound(domain, config)
}

/// After a failed waking: nothing runs, and the overlay lies over the golden image again.
fn back_to_golden(connection: &Connect, config: &Config, name: &str, mark: &Mark, base: &Base) -> Answer<()> {
    domains::destroy(connection, config, name)?;
    host::delete_overlay(config, &mark.overlay)?;
    qcow2::create(&mark.overlay, base).map_err(disk_error)
}

/// Begins to make the image of a golden version, unless that is being done or has failed.
fn make(
    connection: &Arc<Held>,
    config: &Arc<Config>,
    image: &Arc<Image>,
    text: String,
    checked: Checked,
    fingerprint: String,
) {
    let version = checked.version.clone();
    {
        let mut state = image.state.lock();
        if state.making || state.failed.as_ref() == Some(&version) {
            return;
        }
        state.making = true;
    }
    let (connection, config, image) = (connection.clone(), config.clone(), image.clone());
    let making = image.clone();
    let spawned = thread::Builder::new().name("memory-image".to_owned()).spawn(move || {
        let made = bake(&connection, &config, &text, &checked, &fingerprint);
        let mut state = image.state.lock();
        state.making = false;
        match made {
            Ok(()) => tracing::info!(version, "a memory image is ready: clones wake from now on"),
            Err(error) => {
                tracing::warn!(version, %error, "no memory image: clones of this version boot");
                Files::of(&config, &version).remove();
                state.failed = Some(version);
            }
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no memory image can be made");
        making.state.lock().making = false;
    }
}

fn bake(
    connection: &Connect,
    config: &Config,
    text: &str,
    checked: &Checked,
    fingerprint: &str,
) -> Answer<()> {
    let directory = &config.clones.image_dir;
    fs::create_dir_all(directory).map_err(|error| refused(&error))?;
    // The port below the first slot's names the template, so no slot is ever taken for it.
    let port = config.slots.start_port;
    let name = config.vm_name(port);
    end_template(connection, config, &name)?;
    remove_former(config, &checked.version);
    let files = Files::of(config, &checked.version);
    files.remove();
    qcow2::create(&files.disk, &checked.base).map_err(disk_error)?;
    let mark = Mark {
        pool: config.name.clone(),
        uuid: random_uuid()?,
        port,
        state: MarkState::Creating,
        since: clock::now(),
        station: None,
        golden: checked.version.clone(),
        overlay: files.disk.clone(),
    };
    let json = serde_json::to_string(&mark).map_err(|error| refused(&error))?;
    let password = random_uuid()?;
    let own = Own {
        name: &name,
        uuid: &mark.uuid,
        mac: [0x52, 0x54, 0, 0, 0, 0],
        disk: &files.disk,
        console: ([127, 0, 0, 1], port).into(),
        password: &password,
        mark: &json,
    };
    let description = xml::clone(text, &own, Interfaces::LeftOut).map_err(|error| refused(&error))?;
    let template = Virt::create_xml(connection, plain(CALL, &description)?, 0).map_err(failed(CALL))?;
    thread::sleep(Duration::from_secs(config.clones.boot_seconds));
    let saved = save(&template, &files);
    if saved.is_err() {
        end_template(connection, config, &name)?;
    }
    saved?;
    // The fingerprint comes last: what has one is whole.
    let mut file = fs::File::create(&files.fingerprint).map_err(|error| refused(&error))?;
    file.write_all(fingerprint.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| refused(&error))
}

#[expect(unsafe_code, reason = "the bindings have no safe wrapper for this call")]
fn save(template: &Virt, files: &Files) -> Answer<()> {
    let path = CString::new(files.memory.as_os_str().as_encoded_bytes()).map_err(|error| refused(&error))?;
    // SAFETY: the domain is valid, the path ends with a zero octet, and no description is given.
    let saved = unsafe {
        sys::virDomainSaveFlags(
            template.as_ptr(),
            path.as_ptr(),
            std::ptr::null(),
            sys::VIR_DOMAIN_SAVE_RUNNING,
        )
    };
    if saved < 0 {
        return Err(failed(CALL)(virt::error::Error::last_error()));
    }
    for file in [&files.memory, &files.disk] {
        fs::File::open(file).and_then(|file| file.sync_all()).map_err(|error| refused(&error))?;
    }
    Ok(())
}

/// Ends a template that runs, if it is ours by its mark.
fn end_template(connection: &Connect, config: &Config, name: &str) -> Answer<()> {
    let template = match Virt::lookup_by_name(connection, plain(CALL, name)?).map_err(failed(CALL)) {
        Err(error) if is_absent(&error) => return Ok(()),
        other => other?,
    };
    if domains::mark_of(&template)?.pool != config.name {
        return Err(HypervisorError::NotOurs(name.to_owned()));
    }
    template.destroy().map_err(failed(CALL))
}

/// Removes images of other golden versions. QEMU holds what it still reads.
fn remove_former(config: &Config, version: &str) {
    let Ok(entries) = fs::read_dir(&config.clones.image_dir) else { return };
    let prefix = format!("{}.", config.base);
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let former = name.strip_prefix(&prefix).and_then(|rest| rest.split_once('.'));
        if let Some((other, "disk.qcow2" | "memory" | "fingerprint")) = former
            && other != version
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(file = %path.display(), %error, "a former memory image's file stays");
        }
    }
}

/// A UUID of chance (RFC 9562, version 4).
fn random_uuid() -> Answer<String> {
    let random = || clock::random_u64().map_err(|error| refused(&error));
    let (high, low) = (random()?, random()?);
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    Ok(format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff))
}
