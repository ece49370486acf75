//! Which values of a configuration do not fit, and why. Pure; called when a file was read.

use std::fmt;
use std::net::SocketAddr;

use super::Config;

/// The most slots that one pool has: as many console ports as are worth watching on one host.
pub const MOST_SLOTS: u16 = 256;

/// Every value that does not fit, one a line: the key, then why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults(pub(super) Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Config {
    /// Everything in it that does not fit.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = Vec::new();
        let mut wrong = |fault: bool, text: &str| {
            if fault {
                faults.push(text.to_owned());
            }
        };
        let (slots, signal, console, session) = (&self.slots, &self.signal, &self.console, &self.session);
        wrong(!is_name(&self.base), "base: a libvirt domain's name, without `/` and control characters");
        wrong(!is_name(&self.name), "name: up to 200 characters, without `/` and control characters");
        wrong(!(1..=MOST_SLOTS).contains(&slots.size), "slots.size: 1 to 256");
        wrong(self.spare() > slots.size, "slots.spare: no more than slots.size");
        wrong(!(1..=64).contains(&slots.parallel), "slots.parallel: 1 to 64");
        wrong(
            slots.start_port < 1024 || slots.start_port.checked_add(slots.size).is_none(),
            "slots.start_port: 1024 or more, and start_port + size no more than 65535",
        );
        let taken =
            [Some(signal.listen), Some(console.listen), console.tls_listen, self.control.metrics_listen];
        let ports: Vec<u16> = taken.iter().flatten().map(SocketAddr::port).collect();
        wrong(
            ports.iter().any(|port| *port != 0 && self.ports().any(|own| own == *port)),
            "slots.start_port: a console's port is one that the pool itself listens on",
        );
        wrong(
            ports
                .iter()
                .enumerate()
                .any(|(at, port)| *port != 0 && ports.iter().skip(at + 1).any(|p| p == port)),
            "signal.listen, console.listen, console.tls_listen, control.metrics_listen: a port is named twice",
        );
        wrong(!(1..=3600).contains(&signal.tries), "signal.tries: 1 to 3600");
        wrong(!(1..=4096).contains(&signal.stations), "signal.stations: 1 to 4096");
        wrong(signal.wait_seconds == 0, "signal.wait_seconds: 1 or more");
        wrong(
            signal.interface.len() > 15 || signal.interface.contains('/'),
            "signal.interface: no interface",
        );
        let tls = [console.tls_certificate.is_some(), console.tls_key.is_some()];
        wrong(
            tls.iter().any(|given| *given != console.tls_listen.is_some()),
            "console: tls_listen, tls_certificate and tls_key come together",
        );
        wrong(!(1..=256).contains(&console.channels), "console.channels: 1 to 256");
        wrong(!(5..=30).contains(&console.dead_after_seconds), "console.dead_after_seconds: 5 to 30");
        wrong(
            session.idle_seconds > 0 && session.idle_warning_seconds >= session.idle_seconds,
            "session.idle_warning_seconds: less than idle_seconds",
        );
        wrong(self.hypervisor.call_seconds == 0, "hypervisor.call_seconds: 1 or more");
        wrong(self.hypervisor.start_seconds == 0, "hypervisor.start_seconds: 1 or more");
        wrong(!is_name(&self.network.name), "network.name: a libvirt network's name");
        let bridge = &self.network.bridge;
        wrong(
            !is_name(bridge) || bridge.len() > 15,
            "network.bridge: an interface's name, up to 15 characters",
        );
        for (key, path) in [
            ("clones.overlay_dir", &self.clones.overlay_dir),
            ("clones.image_dir", &self.clones.image_dir),
            ("console.broker_socket", &console.broker_socket),
            ("control.socket", &self.control.socket),
            ("control.state_dir", &self.control.state_dir),
        ] {
            wrong(!path.is_absolute(), &format!("{key}: an absolute path"));
        }
        Faults(faults)
    }
}

fn is_name(text: &str) -> bool {
    let bad = |c: char| c == '/' || c.is_control() || c.is_whitespace();
    !text.is_empty() && text.len() <= 200 && !text.starts_with(['.', '-']) && !text.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that comes with the sources.
    const EXAMPLE: &str = include_str!("../../../tests/examples/vrouter-pool.toml");

    /// The example with its defaults said aloud. What has no default stays out.
    fn spelt_out() -> String {
        let key = |line: &str| {
            line.split(" = ")
                .next()
                .is_some_and(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        let line = |line: &str| match line.strip_prefix("# ") {
            Some(said) if said.contains(" = ") && key(said) => said.to_owned(),
            _ => line.to_owned(),
        };
        let without = ["tls_listen", "tls_certificate", "tls_key", "metrics_listen"];
        let lines = EXAMPLE.lines().map(line).filter(|line| !without.iter().any(|key| line.starts_with(key)));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_says_every_key_and_its_default() {
        let plain = Config::parse(EXAMPLE).unwrap();
        assert_eq!(Config::parse(&spelt_out()).unwrap(), plain);
        let all: toml::Table = toml::from_str(&spelt_out()).unwrap();
        let ours = toml::Table::try_from(&plain).unwrap();
        for (name, section) in &ours {
            let Some(section) = section.as_table() else { continue };
            for key in section.keys() {
                let said = all.get(name).and_then(|section| section.get(key)).is_some();
                assert!(said || EXAMPLE.contains(&format!("# {key} = ")), "the example lacks {name}.{key}");
            }
        }
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let text = "base = \"a/b\"\n[slots]\nsize = 0\nspare = 9\nstart_port = 80\n[signal]\ntries = 0\n\
            listen = \"0.0.0.0:5906\"\n[console]\ndead_after_seconds = 60\n[session]\nidle_seconds = 10\n";
        let error = Config::parse(text).unwrap_err().to_string();
        for key in [
            "base",
            "slots.size",
            "slots.spare",
            "slots.start_port",
            "signal.tries",
            "signal.listen",
            "dead_after",
            "idle_warning",
        ] {
            assert!(error.contains(key), "{key} is missing in:\n{error}");
        }
    }

    #[test]
    fn a_vm_is_of_the_pool_only_by_a_whole_name() {
        let config = Config::parse("base = \"kiosk\"\n[slots]\nsize = 2\n").unwrap();
        assert_eq!(config.ports().collect::<Vec<_>>(), [5921, 5922]);
        assert_eq!(config.port_of(&config.vm_name(5922)), Some(5922));
        for other in
            ["kiosk", "kiosk-", "kiosk-5923", "kiosk-05921", "kiosk-5921-old", "kiosk2-5921", "kiosk-+5921"]
        {
            assert_eq!(config.port_of(other), None, "{other}");
        }
    }
}
