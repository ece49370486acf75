//! What the command line takes, and what it refuses.

use super::*;

fn read(line: &str) -> Result<Arguments, ErrorKind> {
    Arguments::read(line.split(' ').map(OsString::from)).map_err(|error| error.kind())
}

#[test]
fn the_command_line_holds_together() {
    Arguments::command().debug_assert();
}

#[test]
fn options_stand_before_or_behind_the_command() {
    for line in
        ["vrctl --url http://router:7270 --json status", "vrctl status --json --url http://router:7270"]
    {
        let arguments = read(line).unwrap();
        assert!(arguments.json);
        assert_eq!(arguments.address().to_string(), "http://router:7270");
    }
    let arguments = read("vrctl leases --socket /tmp/api.sock --network guest").unwrap();
    assert_eq!(arguments.address(), Address::Unix("/tmp/api.sock".into()));
}

#[test]
fn what_is_watched_may_say_how_often() {
    for (line, seconds, name) in [
        ("vrctl balancers", None, None),
        ("vrctl balancers --watch", Some(1), None),
        ("vrctl balancers web --watch", Some(1), Some("web")),
        ("vrctl balancers --watch 5 web", Some(5), Some("web")),
    ] {
        let Command::Balancers { id, watch } = read(line).unwrap().command else { panic!("{line}") };
        assert_eq!((watch, id.as_deref()), (seconds, name), "{line}");
    }
}

#[test]
fn what_is_wrong_is_a_fault_of_usage() {
    for (line, kind) in [
        ("vrctl --url http://a --socket /b status", ErrorKind::ArgumentConflict),
        ("vrctl --url http://a status --socket /b", ErrorKind::ArgumentConflict),
        ("vrctl --url ftp://a status", ErrorKind::ValueValidation),
        ("vrctl --cert a status", ErrorKind::MissingRequiredArgument),
        ("vrctl --key a status", ErrorKind::MissingRequiredArgument),
        ("vrctl apply", ErrorKind::MissingRequiredArgument),
        ("vrctl apply --if-match seven -", ErrorKind::ValueValidation),
        ("vrctl apply --confirm 0 -", ErrorKind::ValueValidation),
        ("vrctl patch --confirm 86401 -", ErrorKind::ValueValidation),
        ("vrctl diff", ErrorKind::MissingRequiredArgument),
        ("vrctl leases --network a&b", ErrorKind::ValueValidation),
        ("vrctl balance", ErrorKind::InvalidSubcommand),
        ("vrctl connections --port 0", ErrorKind::ValueValidation),
        ("vrctl connections --address 10.1.1", ErrorKind::ValueValidation),
        ("vrctl connections --protocol all", ErrorKind::ValueValidation),
        ("vrctl connections --limit 10001", ErrorKind::ValueValidation),
        ("vrctl balancers a/b", ErrorKind::ValueValidation),
        ("vrctl trace guest 10.1.1.20", ErrorKind::MissingRequiredArgument),
        ("vrctl trace guest 10.1.1 10.2.2.20", ErrorKind::ValueValidation),
        ("vrctl trace guest 10.1.1.20 10.2.2.20:0", ErrorKind::ValueValidation),
        ("vrctl trace guest 10.1.1.20 10.2.2.20 -p all", ErrorKind::ValueValidation),
        ("vrctl trace guest 10.1.1.20 10.2.2.20 --icmp 8/256", ErrorKind::ValueValidation),
        ("vrctl balancers web --watch 0", ErrorKind::ValueValidation),
        ("vrctl balancers --watch web", ErrorKind::ValueValidation),
        ("vrctl completion csh", ErrorKind::InvalidValue),
    ] {
        assert_eq!(read(line).err(), Some(kind), "{line}");
    }
}
