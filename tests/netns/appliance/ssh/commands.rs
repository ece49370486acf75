//! What is done there: the commands of vrctl with the role of the key, and nothing that a shell would be for.

use std::fs;
use std::io::Write as _;

use serde_json::{Value, json};

use super::client::{house, operators, said};
use crate::appliance::house::document;
use crate::lab::until;

#[test]
fn commands_are_those_of_vrctl_and_their_author_is_the_key() {
    let (house, desk) = house();
    let run = |key: &str, command: &[&str], input: &str| desk.run(&house.lab, key, command, input.as_bytes());
    let told = run("alice", &["status"], "");
    assert!(
        told.code == Some(0) && told.out.contains("vr-1, vrouter") && !told.out.contains('\r'),
        "{told:#?}"
    );
    let eip = r#"{"eips":{"web":{"address":"198.51.100.7","interface":"public","target":"10.1.1.20"}}}"#;
    let told = run("alice", &["vrctl", "patch", "-"], eip);
    assert!(told.code == Some(0) && told.out.contains("added  /eips/web"), "{told:#?}");
    let generation = house.router.get("/v1/generations").body;
    let last = generation["generations"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["author"]["name"], "ssh key alice", "{last:#}");
    assert!(last["author"]["from"].as_str().unwrap().starts_with("192.168.0.10:"), "{last:#}");
    // JSON for programs, and words in quotes as a shell would have them.
    let told = run("bob", &["vrctl", "--json", "config"], "");
    let read: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(read, house.router.document());
    let told = run("bob", &["'trace' \"guest\" 10.1.1.20 192.0.2.53:53"], "");
    assert_eq!(told.code, Some(0), "{told:#?}");
    // Who may only look is told so, by the same exit code as anywhere.
    let told = run("bob", &["patch", "-"], r#"{"eips":null}"#);
    assert_eq!((told.code, told.out.as_str()), (Some(1), ""), "{told:#?}");
    assert!(told.err.contains("ssh key bob may only look"), "{told:#?}");
    assert_eq!(run("bob", &["plan", "--patch", "-"], r#"{"eips":null}"#).code, Some(0));
    // Faults and misunderstandings.
    let told = run("alice", &["patch", "-"], r#"{"eips":{"web":{"target":"nowhere"}}}"#);
    assert!(told.code == Some(1) && told.err.contains("/eips/web/target"), "{told:#?}");
    let told = run("alice", &["apply", "'half a quote"], "");
    assert!(told.code == Some(2) && told.err.contains("a quote is not closed"), "{told:#?}");
    let log = house.router.log();
    assert!(log.contains(r#"a command came over SSH who="ssh key bob" from=192.168.0.10:"#), "{log}");
}

#[test]
fn there_is_no_shell_no_file_and_no_way_through() {
    let (house, desk) = house();
    for command in [
        vec!["sh"],
        vec!["/bin/sh", "-c", "id"],
        vec!["status;", "id"],
        vec!["$(id)"],
        vec!["scp", "-t", "/tmp"],
        vec!["apply", "/etc/passwd"],
        vec!["vrctl", "--token-file", "/etc/passwd", "status"],
        vec!["vrctl", "--url", "http://127.0.0.1:1", "status"],
        vec!["system", "update", "/dev/zero"],
    ] {
        let told = desk.run(&house.lab, "alice", &command, b"");
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{command:?}: {told:#?}");
        assert!(!told.err.contains("root:") && !told.err.contains("uid="), "{told:#?}");
    }
    let client = desk.start(&house.lab, ("admin", "alice"), &["-s"], &["sftp"]);
    let told = said(client, b"");
    assert!(told.code == Some(255) && told.err.contains("subsystem request failed"), "{told:#?}");
    // Not to where the router gets, nor back.
    let through = ["-W", "127.0.0.1:7270"];
    let told = said(desk.start(&house.lab, ("admin", "alice"), &through, &[]), b"GET / HTTP/1.0\r\n\r\n");
    assert!(told.code == Some(255) && told.out.is_empty(), "{told:#?}");
    let back = ["-o", "ExitOnForwardFailure=yes", "-R", "7999:127.0.0.1:22"];
    let told = said(desk.start(&house.lab, ("admin", "alice"), &back, &["status"]), b"");
    assert_eq!((told.code, told.out.as_str()), (Some(255), ""), "{told:#?}");
    assert_eq!(house.lab.ok("router", "ss -Hltn sport = :7999"), "");
    // No thread has a child.
    for thread in fs::read_dir(format!("/proc/{}/task", house.router.pid())).unwrap() {
        let children = thread.unwrap().path().join("children");
        assert_eq!(fs::read_to_string(&children).unwrap_or_default(), "", "{}", children.display());
    }
}

#[test]
fn what_is_great_comes_and_goes_whole() {
    let (house, desk) = house();
    let mut great = house.router.document();
    for number in 0..20_000_u32 {
        let name = format!("n{number}");
        great["dns"]["records"][&name] = json!({"name": format!("{name}.example.org"), "type": "A",
            "values": [format!("10.9.{}.{}", number / 250, number % 250 + 1)]});
    }
    let text = great.to_string();
    assert!(text.len() > 1 << 20);
    let told = desk.run(&house.lab, "alice", &["apply", "-"], text.as_bytes());
    assert_eq!(told.code, Some(0), "{}", told.err);
    let told = desk.run(&house.lab, "bob", &["config"], b"");
    assert_eq!(told.code, Some(0), "{}", told.err);
    let read: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(read["dns"]["records"].as_object().unwrap().len(), 20_000);
    assert_eq!(read, house.router.document());
    // What a command does not take keeps nobody waiting, and more than a router takes is refused.
    let much = vec![b' '; 70 << 20];
    let told = desk.run(&house.lab, "bob", &["config"], &much);
    assert_eq!((told.code, told.out.len()), (Some(0), told.out.len().max(1 << 20)), "{}", told.err);
    let told = desk.run(&house.lab, "alice", &["apply", "-"], &much);
    assert!(told.code == Some(2) && told.err.contains("larger than the 64 MiB"), "{told:#?}");
}

/// A client that is killed before its input ended has not said all that it wanted to.
#[test]
fn a_document_whose_sender_goes_is_not_applied() {
    let (house, desk) = house();
    let before = house.router.document();
    let before_commands = house.router.log().matches("a command came over SSH").count();
    for round in 0..5 {
        let mut client = desk.start(&house.lab, ("admin", "alice"), &[], &["patch", "-"]);
        let mut stdin = client.stdin.take().unwrap();
        stdin.write_all(br#"{"hostname":"cut-off"}"#).unwrap();
        let began = before_commands + round;
        until("the command runs", || {
            let log = house.router.log();
            (log.matches("a command came over SSH").count() > began).then_some(())
        });
        // `timeout` stands between, and passes on what it is told; its client has no word with the router any more.
        house.lab.run_all("admin", &["pkill", "-KILL", "-P", &client.id().to_string()]);
        client.kill().unwrap();
        client.wait().unwrap();
        drop(stdin);
        until("he is gone", || (operators(&house.router) == Some(0)).then_some(()));
    }
    assert_eq!(house.router.document(), before);
    // The same with its end is.
    let told = desk.run(&house.lab, "alice", &["patch", "-"], br#"{"hostname":"whole"}"#);
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert_eq!(house.router.document()["hostname"], "whole");
}

#[test]
fn several_commands_share_a_connection_up_to_a_bound() {
    let (house, desk) = house();
    let control = format!("ControlPath={}", desk.path("control").display());
    let master = ["-M", "-N", "-o", control.as_str()];
    let mut held = desk.start(&house.lab, ("admin", "alice"), &master, &[]);
    until("the connection is there", || desk.path("control").exists().then_some(()));
    let watch = || desk.start(&house.lab, ("admin", "alice"), &["-o", &control], &["status", "--watch"]);
    let mut watching: Vec<_> = (0..4).map(|_| watch()).collect();
    for client in &mut watching {
        let mut first = [0; 6];
        std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut first).unwrap();
        assert_eq!(&first, b"router");
    }
    assert_eq!(house.router.get("/v1/status").body["services"]["ssh"]["operators"], 1);
    // The fifth finds no place there; the client then makes a connection of its own, or gives up.
    let no_other = ["-o", control.as_str(), "-o", "ProxyCommand=false"];
    let told = said(desk.start(&house.lab, ("admin", "alice"), &no_other, &["status"]), b"");
    assert_eq!((told.code, told.out.as_str()), (Some(255), ""), "{told:#?}");
    for client in &mut watching {
        let _ = client.kill();
        client.wait().unwrap();
    }
    let _ = held.kill();
    held.wait().unwrap();
    house.lab.run_all("admin", &["pkill", "-f", &control]);
    assert_eq!(house.router.configure(&document()), house.router.get("/v1/generations").body["current"]);
}
