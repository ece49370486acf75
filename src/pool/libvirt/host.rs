//! The golden domain, overlays, what is left of the host, and the network. Blocking; called by `mod.rs` and its fellows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use virt::connect::Connect;
use virt::domain::Domain as Virt;
use virt::network::Network;
use virt::sys;

use super::call::{failed, is_absent, plain};
use crate::pool::clone::read;
use crate::pool::config::Config;
use crate::pool::golden::{self, Checked};
use crate::pool::hypervisor::{Answer, Golden, HypervisorError, OVERLAY_SUFFIX, Resources};

/// The golden domain's description as it will be at its next start, and whether it runs.
fn description(connection: &Connect, config: &Config) -> Answer<(String, bool)> {
    const CALL: &str = "looking at the golden domain";
    let domain = Virt::lookup_by_name(connection, plain(CALL, &config.base)?).map_err(failed(CALL))?;
    let runs = domain.is_active().map_err(failed(CALL))?;
    let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
    Ok((domain.get_xml_desc(flags).map_err(failed(CALL))?, runs))
}

/// What is known of the golden domain. One that cannot be cloned has a fault and, if its image can be looked at, a version.
pub(super) fn golden(connection: &Connect, config: &Config) -> Answer<Golden> {
    let (text, runs) = description(connection, config)?;
    Ok(match golden::check(&text, runs) {
        Ok(checked) => Golden { version: checked.version, memory: checked.description.memory, fault: None },
        Err(error) => {
            let known = read::Golden::read(&text).ok();
            let version = known.as_ref().and_then(|known| golden::version(&text, &known.disk).ok());
            Golden {
                version: version.unwrap_or_default(),
                memory: known.map_or(0, |known| known.memory),
                fault: Some(error.to_string()),
            }
        }
    })
}

/// The golden domain's description, and what a check of it found; an error where it cannot be cloned.
pub(super) fn checked(connection: &Connect, config: &Config) -> Answer<(String, Checked)> {
    let (text, runs) = description(connection, config)?;
    let checked = golden::check(&text, runs).map_err(|error| HypervisorError::Refused {
        call: "looking at the golden domain",
        message: error.to_string(),
    })?;
    Ok((text, checked))
}

/// Whether a path is one of this pool's overlays: `<base>-<port>.<uuid>` and the suffix, right in their directory.
pub(super) fn is_overlay(config: &Config, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let own = name.and_then(|name| name.strip_suffix(OVERLAY_SUFFIX)).and_then(|name| name.rsplit_once('.'));
    own.is_some_and(|(vm, uuid)| config.port_of(vm).is_some() && is_uuid(uuid))
        && path.parent() == Some(&config.clones.overlay_dir)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|octet| octet.is_ascii_hexdigit() || octet == b'-')
}

/// Every overlay of this pool.
pub(super) fn overlays(config: &Config) -> Answer<Vec<PathBuf>> {
    let failed = |error: io::Error| HypervisorError::Refused {
        call: "listing overlays",
        message: format!("{}: {error}", config.clones.overlay_dir.display()),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(&config.clones.overlay_dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_overlay(config, &path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes an overlay of this pool.
pub(super) fn delete_overlay(config: &Config, path: &Path) -> Answer<()> {
    if !is_overlay(config, path) {
        return Err(HypervisorError::NotOurs(path.display().to_string()));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HypervisorError::Refused {
            call: "removing an overlay",
            message: format!("{}: {error}", path.display()),
        }),
        _ => Ok(()),
    }
}

/// What is left of the host.
pub(super) fn resources(config: &Config) -> Answer<Resources> {
    const CALL: &str = "looking at the host";
    let refused = |message: String| HypervisorError::Refused { call: CALL, message };
    let text = fs::read_to_string("/proc/meminfo").map_err(|error| refused(error.to_string()))?;
    let memory = available(&text).ok_or_else(|| refused("/proc/meminfo has no MemAvailable".to_owned()))?;
    let directory = &config.clones.overlay_dir;
    let filesystem = nix::sys::statvfs::statvfs(directory)
        .map_err(|error| refused(format!("{}: {error}", directory.display())))?;
    let disk = filesystem.blocks_available().saturating_mul(filesystem.fragment_size());
    Ok(Resources { memory, disk })
}

/// Octets that can be had without swapping (proc(5)).
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Defines a network, starts it, and lets it start with the host.
pub(super) fn define_network(connection: &Connect, text: &str) -> Answer<()> {
    const CALL: &str = "defining a network";
    let name = read::name(text).ok_or_else(|| HypervisorError::Refused {
        call: CALL,
        message: "the network has no name".to_owned(),
    })?;
    match Network::lookup_by_name(connection, plain(CALL, &name)?).map_err(failed(CALL)) {
        Ok(_) => return Err(HypervisorError::Exists(name)),
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(error),
    }
    let network = Network::define_xml(connection, plain(CALL, text)?).map_err(failed(CALL))?;
    let started = network.set_autostart(true).and_then(|_| network.create()).map(drop).map_err(failed(CALL));
    if started.is_err()
        && let Err(error) = network.undefine()
    {
        tracing::warn!(
            network = name,
            error = error.message(),
            "a network that does not start stays defined"
        );
    }
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_kernel_calls_available() {
        assert_eq!(available("MemTotal: 10 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 10 kB\n"), None);
    }

    #[test]
    fn only_this_pools_overlays_are_its_own() {
        let config = Config::parse("base = 'win7'\n[slots]\nsize = 4\n").unwrap();
        let directory = &config.clones.overlay_dir;
        let uuid = "00000000-0000-4000-8000-000000592101";
        let own = config.overlay(5921, uuid);
        assert!(is_overlay(&config, &own));
        let file = own.file_name().unwrap().to_str().unwrap();
        for (part, other) in [("5921.", "5925."), ("win7", "win8"), ("vrouter-pool.", ""), (uuid, "disk")] {
            assert!(!is_overlay(&config, &directory.join(file.replace(part, other))), "{other}");
        }
        assert!(!is_overlay(&config, &Path::new("/etc").join(file)));
        assert!(!is_overlay(&config, &directory.join("..").join(file)));
    }
}
