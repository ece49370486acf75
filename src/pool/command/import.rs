//! The configuration of the old scripts, lines of shell assignments, as ours. Nothing of it is run.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::pool::config::{Config, ConfigError};

/// Why the old configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Keys are missing, or say what cannot be; every one is named.
    #[error("{}", .0.join("\n"))]
    Keys(Vec<String>),
    /// What comes of it does not fit.
    #[error("what comes of the old configuration does not fit:\n{0}")]
    Values(#[from] ConfigError),
}

/// Reads an old file and writes ours; what has no place in it is named in comments.
///
/// # Errors
/// It cannot be read, or makes no configuration.
pub(super) fn import(path: &Path) -> Result<String, ImportError> {
    let text =
        fs::read_to_string(path).map_err(|source| ImportError::Read { path: path.to_owned(), source })?;
    translate(&text)
}

fn translate(text: &str) -> Result<String, ImportError> {
    let mut old: BTreeMap<String, String> = text.lines().filter_map(assignment).collect();
    let mut faults = Vec::new();
    let mut number = |key: &str| -> Option<u16> {
        let value = old.remove(key)?;
        let number = value.parse().ok();
        if number.is_none() {
            faults.push(format!("`{key}` is {value:?} and should be a number up to 65535"));
        }
        number
    };
    let [size, start, spice, tries, signal_port] =
        ["srv_pool_size", "srv_start_port_pool", "vdi_spice_port", "count_conn_tryes", "vdi_signal_port"]
            .map(&mut number);
    let (base, interface) = (old.remove("base_host"), old.remove("input_iface"));
    // A size that is no number is told of already.
    let sized = size.is_some() || faults.iter().any(|fault| fault.starts_with("`srv_pool_size`"));
    for (key, is) in [("srv_pool_size", sized), ("base_host", base.is_some())] {
        if !is {
            faults.push(format!("the old configuration says nothing of `{key}`"));
        }
    }
    let (Some(size), Some(base), true) = (size, base, faults.is_empty()) else {
        return Err(ImportError::Keys(faults));
    };

    let mut config = Table::new();
    config.insert("base".to_owned(), Value::String(base));
    let integer = |number: u16| Value::Integer(i64::from(number));
    let mut slots = Table::from_iter([("size".to_owned(), integer(size))]);
    slots.extend(start.map(|start| ("start_port".to_owned(), integer(start))));
    let mut signal = Table::new();
    signal.extend(signal_port.map(|port| ("listen".to_owned(), anywhere(port))));
    signal.extend(interface.map(|name| ("interface".to_owned(), Value::String(name))));
    signal.extend(tries.map(|tries| ("tries".to_owned(), integer(tries))));
    let console: Table = spice.map(|port| ("listen".to_owned(), anywhere(port))).into_iter().collect();
    for (name, table) in [("slots", slots), ("signal", signal), ("console", console)] {
        if !table.is_empty() {
            config.insert(name.to_owned(), Value::Table(table));
        }
    }
    let mut ours = config.to_string();
    // What was written is what is read.
    Config::parse(&ours)?;
    if !old.is_empty() {
        ours.push_str("\n# Keys of the old configuration that have no meaning here:\n");
        for (key, value) in &old {
            ours.push_str(&format!("# {key} = {value:?}\n"));
        }
    }
    Ok(ours)
}

fn anywhere(port: u16) -> Value {
    Value::String(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).to_string())
}

/// A line that gives a name a value: `export name="value" # comment`. Anything else is none.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, rest) = line.split_once('=')?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(word) {
        return None;
    }
    let value = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest.get(1..)?.split(quote).next()?,
        _ => rest.split([' ', '\t', ';', '#']).next()?,
    };
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "#!/bin/bash\n# pool\nsrv_pool_size=4\nexport srv_start_port_pool=\"5920\"  # first port\n\
        base_host='win7-base'\ninput_iface=enp5s0;\nvdi_spice_port=5906\ncount_conn_tryes=10\n\
        img_path=/srv/images # where\nif [ -z $x ]; then\n";

    /// A configuration of the old scripts with one line more, which wins over an earlier one of its key.
    fn with(line: &str) -> Config {
        Config::parse(&translate(&format!("{OLD}{line}\n")).unwrap()).unwrap()
    }

    #[test]
    fn the_old_keys_become_ours_and_the_rest_is_named() {
        let ours = translate(OLD).unwrap();
        let config = Config::parse(&ours).unwrap();
        assert_eq!((config.slots.size, config.slots.start_port, config.signal.tries), (4, 5920, 10));
        assert_eq!((config.base.as_str(), config.signal.interface.as_str()), ("win7-base", "enp5s0"));
        assert_eq!(config.console.listen.port(), 5906);
        assert_eq!(config.signal.listen.port(), 5905, "where the old port is not said");
        assert_eq!(config.ports().collect::<Vec<_>>(), [5921, 5922, 5923, 5924]);
        let vms: Vec<String> = config.ports().map(|port| config.vm_name(port)).collect();
        assert_eq!(vms, ["win7-base-5921", "win7-base-5922", "win7-base-5923", "win7-base-5924"]);
        assert!(ours.contains("# img_path = \"/srv/images\""), "{ours}");
    }

    /// Each key by itself: its value arrives where it belongs, and nothing else changes.
    #[test]
    fn each_old_key_changes_what_it_names_and_nothing_else() {
        let plain = with("");
        let all = IpAddr::from([0, 0, 0, 0]);
        let mut wanted = plain.clone();
        wanted.slots.size = 7;
        assert_eq!(with("srv_pool_size=7"), wanted);
        let mut wanted = plain.clone();
        wanted.slots.start_port = 6000;
        assert_eq!(with("srv_start_port_pool='6000'"), wanted);
        let mut wanted = plain.clone();
        "astra".clone_into(&mut wanted.base);
        "astra".clone_into(&mut wanted.name);
        assert_eq!(with("  base_host=\"astra\"  "), wanted);
        let mut wanted = plain.clone();
        "br0".clone_into(&mut wanted.signal.interface);
        assert_eq!(with("export input_iface=br0 # stations"), wanted);
        let mut wanted = plain.clone();
        wanted.console.listen = (all, 5999).into();
        assert_eq!(with("vdi_spice_port=5999;"), wanted);
        let mut wanted = plain.clone();
        wanted.signal.listen = (all, 5998).into();
        assert_eq!(with("vdi_signal_port=5998"), wanted);
        let mut wanted = plain.clone();
        wanted.signal.tries = 25;
        assert_eq!(with("count_conn_tryes=25"), wanted);
        assert_eq!(with("some_other_key=1\n# srv_pool_size=9\n[ $x = 1 ]"), plain);
    }

    #[test]
    fn what_is_missing_or_no_number_is_said_all_at_once() {
        let error = |text: &str| translate(text).unwrap_err().to_string();
        let all = error(
            "srv_pool_size=$(seq 4)\nsrv_start_port_pool=70000\nvdi_spice_port=\nvdi_signal_port=-1\ncount_conn_tryes=ten",
        );
        for key in [
            "srv_pool_size",
            "srv_start_port_pool",
            "vdi_spice_port",
            "vdi_signal_port",
            "count_conn_tryes",
            "nothing of `base_host`",
        ] {
            assert!(all.contains(key), "{key} is missing in:\n{all}");
        }
        assert_eq!(all.lines().count(), 6, "{all}");
        assert_eq!(error("base_host=x"), "the old configuration says nothing of `srv_pool_size`");
        // Numbers that fit a number and no pool: told in our own words, all of them.
        let values =
            error("base_host=a/b\nsrv_pool_size=0\ncount_conn_tryes=0\nvdi_spice_port=5905\ninput_iface=a/b");
        for key in ["base:", "slots.size", "signal.tries", "a port is named twice", "signal.interface"] {
            assert!(values.contains(key), "{key} is missing in:\n{values}");
        }
    }
}
