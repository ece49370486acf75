//! What is done to domains. Blocking; every function first makes sure that the domain is of this pool. Called by `mod.rs`
//! and `instant.rs`.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use virt::connect::Connect;
use virt::domain::Domain as Virt;
use virt::error::ErrorNumber;
use virt::sys;

use super::call::{failed, is_absent, plain};
use super::{cap, host};
use crate::pool::clone::qcow2::{self, Qcow2Error};
use crate::pool::clone::read;
use crate::pool::clone::xml::{self, Interfaces, Own};
use crate::pool::config::Config;
use crate::pool::hypervisor::{
    Answer, CloneRequest, Domain, HypervisorError, MARK_NAMESPACE, MARK_PREFIX, Mark, Power, Ticket,
};

/// The kind of metadata that a mark is.
const ELEMENT: i32 = 2;

/// Every domain of this pool.
pub(super) fn list(connection: &Connect, config: &Config) -> Answer<Vec<Domain>> {
    const CALL: &str = "listing domains";
    let mut found = Vec::new();
    for domain in connection.list_all_domains(0).map_err(failed(CALL))? {
        match look(&domain, config) {
            Ok(Some(ours)) => found.push(ours),
            // It is not ours, or it went away while we looked.
            Ok(None) | Err(HypervisorError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// A domain as it is now, if it is of this pool.
fn look(domain: &Virt, config: &Config) -> Answer<Option<Domain>> {
    const CALL: &str = "looking at a domain";
    let name = domain.get_name().map_err(failed(CALL))?;
    let Some(mark) = read_mark(domain)? else { return Ok(None) };
    if !is_ours(&mark, &name, config) {
        return Ok(None);
    }
    let power = match domain.get_state().map_err(failed(CALL))?.0 {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => Power::Running,
        sys::VIR_DOMAIN_SHUTOFF => Power::Off,
        _ => Power::Other,
    };
    let console = if power == Power::Running {
        read::console(&domain.get_xml_desc(0).map_err(failed(CALL))?)
    } else {
        None
    };
    let uuid = domain.get_uuid_string().map_err(failed(CALL))?;
    Ok(Some(Domain { name, uuid, power, mark: mark.ok(), console }))
}

/// What stands on a domain: nothing, something unreadable, or a mark.
fn read_mark(domain: &Virt) -> Answer<Option<Result<Mark, ()>>> {
    match domain.get_metadata(ELEMENT, Some(MARK_NAMESPACE), sys::VIR_DOMAIN_AFFECT_CURRENT) {
        Ok(text) => {
            let mark = read::mark(&text).or_else(|| read::bare_mark(&text));
            Ok(Some(mark.and_then(|json| serde_json::from_str(&json).ok()).ok_or(())))
        }
        Err(error) if error.code() == ErrorNumber::NoDomainMetadata => Ok(None),
        Err(error) => Err(failed("reading a mark")(error)),
    }
}

/// A mark that cannot be read is ours only if the domain's name is one of this pool's.
fn is_ours(mark: &Result<Mark, ()>, name: &str, config: &Config) -> bool {
    let named = config.port_of(name);
    match mark {
        Ok(mark) => mark.pool == config.name && named == Some(mark.port),
        Err(()) => named.is_some(),
    }
}

/// A domain of this pool.
pub(super) fn ours(connection: &Connect, config: &Config, name: &str) -> Answer<Virt> {
    let name = plain("looking up a VM", name)?;
    let domain = Virt::lookup_by_name(connection, name).map_err(failed("looking up a VM"))?;
    match read_mark(&domain)? {
        Some(mark) if is_ours(&mark, name, config) => Ok(domain),
        _ => Err(HypervisorError::NotOurs(name.to_owned())),
    }
}

/// What a domain of this pool carries.
pub(super) fn mark_of(domain: &Virt) -> Answer<Mark> {
    let unreadable =
        || HypervisorError::Refused { call: "reading a mark", message: "the mark cannot be read".to_owned() };
    read_mark(domain)?.and_then(Result::ok).ok_or_else(unreadable)
}

/// What is a clone's own, in the terms of its description.
fn own<'a>(clone: &'a CloneRequest, mark: &'a str) -> Own<'a> {
    Own {
        name: &clone.name,
        uuid: &clone.uuid,
        mac: clone.mac,
        disk: &clone.mark.overlay,
        console: clone.console,
        password: &clone.password,
        mark,
    }
}

/// Makes a VM that does not run.
pub(super) fn create(connection: &Connect, config: &Config, clone: &CloneRequest) -> Answer<()> {
    const CALL: &str = "making a VM";
    let refused =
        |error: &dyn std::fmt::Display| HypervisorError::Refused { call: CALL, message: error.to_string() };
    let fits = config.port_of(&clone.name) == Some(clone.mark.port) && clone.mark.pool == config.name;
    if !fits || !host::is_overlay(config, &clone.mark.overlay) {
        return Err(HypervisorError::NotOurs(clone.name.clone()));
    }
    for text in [&clone.name, &clone.uuid, &clone.password] {
        plain(CALL, text)?;
    }
    match Virt::lookup_by_name(connection, &clone.name).map_err(failed(CALL)) {
        Ok(_) => return Err(HypervisorError::Exists(clone.name.clone())),
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(error),
    }
    let (text, checked) = host::checked(connection, config)?;
    let mark = serde_json::to_string(&clone.mark).map_err(|error| refused(&error))?;
    let description =
        xml::clone(&text, &own(clone, &mark), Interfaces::Own).map_err(|error| refused(&error))?;
    qcow2::create(&clone.mark.overlay, &checked.base).map_err(disk_error)?;
    let defined = Virt::define_xml_flags(connection, plain(CALL, &description)?, 0);
    if let Err(error) = defined {
        host::delete_overlay(config, &clone.mark.overlay)?;
        return Err(failed(CALL)(error));
    }
    Ok(())
}

/// An overlay's failure in the pool's terms.
pub(super) fn disk_error(error: Qcow2Error) -> HypervisorError {
    match error {
        Qcow2Error::File { path, source } => match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                HypervisorError::NoRoom(format!("{}: {source}", path.display()))
            }
            io::ErrorKind::AlreadyExists => HypervisorError::Exists(path.display().to_string()),
            _ => HypervisorError::Refused {
                call: "writing an overlay",
                message: format!("{}: {source}", path.display()),
            },
        },
        other => HypervisorError::Refused { call: "writing an overlay", message: other.to_string() },
    }
}

/// Boots a VM.
pub(super) fn start(connection: &Connect, config: &Config, name: &str) -> Answer<()> {
    let domain = ours(connection, config, name)?;
    domain.create().map_err(failed("starting a VM"))?;
    cap::bound(&domain, config)
}

/// Writes a mark where it outlives this process, libvirtd's, and the host's running.
pub(super) fn mark(connection: &Connect, config: &Config, name: &str, mark: &Mark) -> Answer<()> {
    const CALL: &str = "marking a VM";
    let domain = ours(connection, config, name)?;
    let uuid = domain.get_uuid_string().map_err(failed(CALL))?;
    if mark.uuid != uuid || mark.pool != config.name || config.port_of(name) != Some(mark.port) {
        return Err(HypervisorError::NotOurs(format!("{name} with UUID {uuid}")));
    }
    let json = serde_json::to_string(mark)
        .map_err(|error| HypervisorError::Refused { call: CALL, message: error.to_string() })?;
    let element = xml::bare_mark_element(plain(CALL, &json)?);
    let live = if domain.is_active().map_err(failed(CALL))? { sys::VIR_DOMAIN_AFFECT_LIVE } else { 0 };
    domain
        .set_metadata(
            ELEMENT,
            Some(&element),
            Some(MARK_PREFIX),
            Some(MARK_NAMESPACE),
            live | sys::VIR_DOMAIN_AFFECT_CONFIG,
        )
        .map(drop)
        .map_err(failed(CALL))
}

/// Ends a VM at once.
pub(super) fn destroy(connection: &Connect, config: &Config, name: &str) -> Answer<()> {
    const CALL: &str = "ending a VM";
    let domain = match ours(connection, config, name) {
        Err(error) if is_absent(&error) => return Ok(()),
        other => other?,
    };
    match domain.destroy() {
        Ok(()) => Ok(()),
        // It does not run.
        Err(error) if error.code() == ErrorNumber::OperationInvalid => Ok(()),
        Err(error) if error.code() == ErrorNumber::NoDomain => Ok(()),
        Err(error) => Err(failed(CALL)(error)),
    }
}

/// Forgets a VM that does not run, with everything that libvirt keeps of it.
pub(super) fn undefine(connection: &Connect, config: &Config, name: &str) -> Answer<()> {
    const CALL: &str = "forgetting a VM";
    let domain = match ours(connection, config, name) {
        Err(error) if is_absent(&error) => return Ok(()),
        other => other?,
    };
    if domain.is_active().map_err(failed(CALL))? {
        return Err(HypervisorError::Refused { call: CALL, message: format!("{name} runs") });
    }
    let all = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    match domain.undefine_flags(all) {
        // Drivers that keep nothing of the kind do not know the flags.
        Err(error) if matches!(error.code(), ErrorNumber::InvalidArg | ErrorNumber::ArgumentUnsupported) => {
            domain.undefine().map_err(failed(CALL))
        }
        Err(error) if error.code() == ErrorNumber::NoDomain => Ok(()),
        other => other.map_err(failed(CALL)),
    }
}

/// Says who may enter a console.
pub(super) fn set_ticket(connection: &Connect, config: &Config, name: &str, ticket: &Ticket) -> Answer<()> {
    const CALL: &str = "issuing a ticket";
    let domain = ours(connection, config, name)?;
    let text = domain.get_xml_desc(sys::VIR_DOMAIN_XML_SECURE).map_err(failed(CALL))?;
    // RFC 3339 without its zone, which libvirt takes for UTC.
    let until = ticket.until.map(|until| until.to_string().trim_end_matches('Z').to_owned());
    let element = xml::console_with_password(&text, plain(CALL, &ticket.password)?, until.as_deref())
        .map_err(|error| HypervisorError::Refused { call: CALL, message: error.to_string() })?;
    domain.update_device_flags(&element, sys::VIR_DOMAIN_AFFECT_LIVE).map(drop).map_err(failed(CALL))
}

/// A connection to a console that needs no password.
#[expect(unsafe_code, reason = "the bindings say a descriptor as a number")]
pub(super) fn open_console(connection: &Connect, config: &Config, name: &str) -> Answer<OwnedFd> {
    const CALL: &str = "opening a console";
    let domain = ours(connection, config, name)?;
    let number = domain.open_graphics_fd(0, sys::VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH).map_err(failed(CALL))?;
    let number = i32::try_from(number)
        .map_err(|error| HypervisorError::Refused { call: CALL, message: error.to_string() })?;
    // SAFETY: libvirt made it for us in this call, and nobody else in this process knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
