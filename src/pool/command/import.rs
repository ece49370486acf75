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
    /// A key that is needed is not there.
    #[error("the old configuration says nothing of `{0}`")]
    Missing(&'static str),
    /// A value is no number of the size that is asked for.
    #[error("`{key}` is {value:?} and should be a number up to 65535")]
    Number {
        /// The old key.
        key: &'static str,
        /// What it says.
        value: String,
    },
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
    let mut number = |key: &'static str| -> Result<Option<u16>, ImportError> {
        old.remove(key)
            .map(|value| value.parse().map_err(|_| ImportError::Number { key, value: value.clone() }))
            .transpose()
    };
    let size = number("srv_pool_size")?.ok_or(ImportError::Missing("srv_pool_size"))?;
    let start = number("srv_start_port_pool")?;
    let spice = number("vdi_spice_port")?;
    let tries = number("count_conn_tryes")?;
    let signal_port = number("vdi_signal_port")?;
    let base = old.remove("base_host").ok_or(ImportError::Missing("base_host"))?;
    let interface = old.remove("input_iface");

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

    #[test]
    fn the_old_keys_become_ours_and_the_rest_is_named() {
        let ours = translate(OLD).unwrap();
        let config = Config::parse(&ours).unwrap();
        assert_eq!((config.slots.size, config.slots.start_port, config.signal.tries), (4, 5920, 10));
        assert_eq!((config.base.as_str(), config.signal.interface.as_str()), ("win7-base", "enp5s0"));
        assert_eq!(config.console.listen.port(), 5906);
        assert_eq!(config.ports().collect::<Vec<_>>(), [5921, 5922, 5923, 5924]);
        assert!(ours.contains("# img_path = \"/srv/images\""), "{ours}");
    }

    #[test]
    fn what_is_missing_or_no_number_is_said() {
        let error = |text: &str| translate(text).unwrap_err().to_string();
        assert!(error("srv_pool_size=4").contains("base_host"));
        assert!(error("base_host=x").contains("srv_pool_size"));
        assert!(error("base_host=x\nsrv_pool_size=$(seq 4)").contains("srv_pool_size"));
        assert!(error("base_host=x\nsrv_pool_size=0").contains("slots.size"));
    }
}
