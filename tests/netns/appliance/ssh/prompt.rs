//! The prompt: what is typed there, what ends it, and what comes of lines that no terminal sends.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin};

use super::client::{house, operators, said};
use crate::lab::until;

/// Somebody at a terminal: what was shown so far is read as it comes.
struct Terminal {
    client: Child,
    keys: ChildStdin,
    shown: String,
}

impl Terminal {
    fn new(mut client: Child) -> Self {
        let keys = client.stdin.take().unwrap();
        Self { client, keys, shown: String::new() }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Reads until this is shown so often.
    fn sees(&mut self, text: &str, times: usize) {
        let mut octets = [0; 4096];
        while self.shown.matches(text).count() < times {
            let length = self.client.stdout.as_mut().unwrap().read(&mut octets).unwrap();
            assert!(length > 0, "it ended without {text:?}: {}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&octets[..length]));
        }
    }
}

#[test]
fn a_prompt_takes_commands_one_after_the_other() {
    let (house, desk) = house();
    let mut terminal = Terminal::new(desk.start(&house.lab, ("admin", "alice"), &["-tt"], &[]));
    terminal.sees("`exit` or Ctrl-D ends\r\nvr-1> ", 1);
    terminal.types("statux\x7fs\r");
    terminal.sees("vr-1, vrouter", 1);
    terminal.sees("vr-1> ", 2);
    assert!(terminal.shown.contains("\r\nstate") && !terminal.shown.contains("\n\n"), "{:?}", terminal.shown);
    // What runs for ever is interrupted, and the prompt is back.
    terminal.types("status --watch\r");
    terminal.sees("\x1b[2J", 2);
    terminal.types("\x03");
    terminal.sees("vr-1> ", 3);
    terminal.types("nonsense\r\x1b[A\x1b[A\r");
    terminal.sees("unrecognized subcommand 'nonsense'", 1);
    terminal.sees("\x1b[2J", 4);
    terminal.types("\x03");
    terminal.types("apply -\r");
    terminal.sees("ssh ROUTER apply - < FILE", 1);
    terminal.types("rollback 9999\rexit\r");
    drop(terminal.keys);
    let ended = terminal.client.wait().unwrap();
    assert_eq!(ended.code(), Some(1), "the last command's code is the session's: {}", terminal.shown);
}

#[test]
fn lines_without_a_terminal_are_commands_too() {
    let (house, desk) = house();
    let client = desk.start(&house.lab, ("admin", "bob"), &["-T"], &[]);
    let told = said(client, b"config\n\n  --json generations\nsystem show");
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(
        told.out.starts_with("{\n") && told.out.contains("\"current\"") && told.out.contains("version"),
        "{told:#?}"
    );
    assert!(!told.out.contains("vr-1>") && !told.out.contains('\r'), "{told:#?}");
    // One line whose end is that of everything, which comes once the prompt has waited for it.
    let mut client = desk.start(&house.lab, ("admin", "bob"), &["-T"], &[]);
    let mut stdin = client.stdin.take().unwrap();
    until("he is there", || (operators(&house.router) == Some(1)).then_some(()));
    stdin.write_all(b"system show").unwrap();
    drop(stdin);
    let told = client.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).contains("version"), "{told:?}");
    // An end in the middle of nothing is one.
    let client = desk.start(&house.lab, ("admin", "bob"), &["-T"], &[]);
    assert_eq!(said(client, b"").code, Some(0));
}

#[test]
fn who_goes_away_leaves_nothing_running() {
    let (house, desk) = house();
    let sockets = || std::fs::read_dir(format!("/proc/{}/fd", house.router.pid())).unwrap().count();
    let before = sockets();
    for options in [["-tt"].as_slice(), &["-T"]] {
        let mut terminal = Terminal::new(desk.start(&house.lab, ("admin", "alice"), options, &[]));
        terminal.types("status --watch\r");
        terminal.sees("vrouter", 2);
        assert!(sockets() > before, "what runs has its own");
        house.lab.run_all("admin", &["pkill", "-KILL", "-P", &terminal.client.id().to_string()]);
        terminal.client.wait().unwrap();
        until("he is gone", || (operators(&house.router) == Some(0)).then_some(()));
        until("and so is what ran", || (sockets() <= before).then_some(()));
    }
}
