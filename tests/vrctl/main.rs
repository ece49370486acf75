//! The command line as scripts see it: what it asks, what it prints, how it ends. The router is one of the test's own,
//! which says what the test wants; `tests/netns` has the real one.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test runs programs, and says what went wrong by panicking"
)]

mod help;
mod router;
mod system;
mod watch;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use router::{Router, answer};
use serde_json::{Value, json};

/// How long anything that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the program said, and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The program, knowing of no router.
fn vrctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrctl"));
    command.args(arguments).env_remove("VROUTER_URL").env_remove("VROUTER_SOCKET").stdin(Stdio::null());
    command
}

fn end(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the program against a router that gives one answer.
fn ask(arguments: &[&str], said: &str) -> (Said, String) {
    let router = Router::new(said);
    let said = end(vrctl(arguments).arg("--socket").arg(router.socket()));
    (said, router.heard())
}

fn status(state: &str) -> String {
    let status = json!({"state": state, "hostname": "vr-1", "started": "2026-11-21T00:00:00Z", "time": "2026-11-21T00:00:05Z"});
    answer(200, "application/json", &status.to_string())
}

const PROBLEM: &str = r#"{"type":"urn:vrouter:problem:outdated","title":"Another generation runs; nothing changed","status":412,"detail":"generation 8 runs, not 7: read it"}"#;

#[test]
fn the_exit_code_tells_how_the_router_is() {
    for (state, code) in
        [("ok", 0), ("degraded", 5), ("failed", 5), ("starting", 5), ("of a later version", 5)]
    {
        for arguments in [&["status"][..], &["status", "--json"]] {
            let (said, _) = ask(arguments, &status(state));
            assert_eq!((said.code, said.stderr.as_str()), (Some(code), ""), "{state}");
            assert!(said.stdout.contains(state));
        }
    }
}

#[test]
fn the_exit_code_tells_who_is_at_fault() {
    let problem = |status| answer(status, "application/problem+json", PROBLEM);
    for (said, code) in [
        (problem(404), 1),
        (problem(412), 1),
        (problem(422), 1),
        (problem(408), 4),
        (problem(500), 4),
        (problem(503), 4),
        (answer(404, "text/html", "<html>"), 4),
        (answer(404, "application/json", "{}"), 4),
        (answer(200, "text/html", "<html>"), 4),
        (answer(200, "application/json", "[]"), 4),
        (answer(200, "application/json", r#"{"generations":7}"#), 4),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_owned(), 4),
        ("220 mail.example ESMTP\r\n".to_owned(), 4),
        (String::new(), 4),
    ] {
        let (ended, _) = ask(&["generations"], &said);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{said}");
        assert_ne!(ended.stderr, "", "{said}");
    }
}

#[test]
fn a_router_that_cannot_be_reached_is_told_from_one_that_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.sock");
    let said = end(vrctl(&["status", "--socket"]).arg(&none));
    assert_eq!(said.code, Some(3));
    assert!(said.stderr.contains(none.to_str().unwrap()), "{}", said.stderr);
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = end(&mut vrctl(&["--url", &format!("http://{address}"), "apply", "/dev/null"]));
    assert_eq!((said.code, said.stdout.as_str()), (Some(3), ""));
    assert!(said.stderr.contains("refused"), "{}", said.stderr);
}

#[test]
fn what_is_asked_is_what_the_api_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.json");
    fs::write(&path, r#"{"version":1}"#).unwrap();
    let file = path.to_str().unwrap();
    let good = answer(
        200,
        "application/json",
        r#"{"generation":8,"leases":[],"connections":[],"generations":[],"state":"ok","balancers":{},"pools":{},"objects":[],"agrees":true}"#,
    );
    let (whole, patch) = ("content-type: application/json", "content-type: application/merge-patch+json");
    let if_match = "if-match: \"7\"";
    let cases: [(&[&str], &str, &[&str]); 23] = [
        (&["apply", file], "POST /v1/config", &[whole]),
        (&["apply", file, "--if-match", "7"], "POST /v1/config", &[whole, if_match]),
        (&["patch", "--if-match", "7", file], "PATCH /v1/config", &[patch, if_match]),
        (&["plan", file], "POST /v1/plan", &[whole]),
        (&["plan", file, "--patch", "--if-match", "7"], "POST /v1/plan", &[patch, if_match]),
        (&["rollback", "6"], "POST /v1/rollback", &[whole]),
        (&["rollback", "6", "--if-match", "7"], "POST /v1/rollback", &[whole, if_match]),
        (&["apply", file, "--confirm", "60"], "POST /v1/config?confirm=60", &[whole]),
        (&["patch", file, "--confirm", "60"], "PATCH /v1/config?confirm=60", &[patch]),
        (&["rollback", "6", "--confirm", "60"], "POST /v1/rollback?confirm=60", &[whole]),
        (&["confirm"], "POST /v1/confirm", &[whole]),
        (&["confirm", "--generation", "8"], "POST /v1/confirm", &[whole]),
        (&["diff", "7"], "GET /v1/generations/7/diff", &[]),
        (&["diff", "3", "7"], "GET /v1/generations/3/diff?to=7", &[]),
        (&["config"], "GET /v1/config", &[]),
        (&["config", "--generation", "6"], "GET /v1/config?generation=6", &[]),
        (&["connections"], "GET /v1/connections", &[]),
        (
            &["connections", "-a", "10.1.1.20", "-p", "47", "--limit", "5"],
            "GET /v1/connections?address=10.1.1.20&protocol=47&limit=5",
            &[],
        ),
        (&["leases", "--network", "guest_1"], "GET /v1/leases?network=guest_1", &[]),
        (&["generations"], "GET /v1/generations", &[]),
        (&["balancers"], "GET /v1/balancers", &[]),
        (&["balancers", "web_1"], "GET /v1/balancers/web_1", &[]),
        (&["trace", "guest", "10.1.1.20", "192.0.2.1", "-p", "47"], "POST /v1/trace", &[whole]),
    ];
    for (arguments, target, fields) in cases {
        let (said, heard) = ask(arguments, &good);
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
        let (head, body) = heard.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("{target} HTTP/1.1\r\n")), "{arguments:?}: {head}");
        for field in fields.iter().chain(&["host: localhost"]) {
            assert!(head.lines().any(|line| line == *field), "{arguments:?}: no {field} in {head}");
        }
        assert_eq!(head.contains("if-match"), fields.contains(&if_match), "{head}");
        let expected = match target {
            _ if target.starts_with("GET") => "",
            _ if target.starts_with("POST /v1/rollback") => r#"{"generation":6}"#,
            "POST /v1/confirm" if arguments.len() == 1 => "{}",
            "POST /v1/confirm" => r#"{"generation":8}"#,
            "POST /v1/trace" => {
                r#"{"destination":"192.0.2.1","interface":"guest","protocol":47,"source":"10.1.1.20"}"#
            }
            _ => r#"{"version":1}"#,
        };
        assert_eq!(body, expected, "{arguments:?}");
    }
}

#[test]
fn a_document_may_come_from_standard_input() {
    let router = Router::new(&answer(200, "application/json", r#"{"generation":8,"changed":false}"#));
    let mut command = vrctl(&["apply", "-", "--socket"]);
    let mut child =
        command.arg(router.socket()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{ not json").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "nothing changed; generation 8 runs\n");
    assert!(router.heard().ends_with("\r\n\r\n{ not json"));
}

#[test]
fn a_file_that_cannot_be_sent_asks_nobody() {
    for (file, reason) in [("/nowhere/router.json", "No such file"), ("/dev/zero", "larger than the 64 MiB")]
    {
        let said = end(&mut vrctl(&["--socket", "/nowhere/api.sock", "apply", file]));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
        assert!(said.stderr.contains(file) && said.stderr.contains(reason), "{}", said.stderr);
    }
}

#[test]
fn the_environment_says_where_the_router_is_unless_the_command_line_does() {
    let good = Router::new(&status("ok"));
    let socket = good.socket().to_str().unwrap();
    let nowhere = "/nowhere/api.sock";
    let code = |arguments: &[&str], environment: &[(&str, &str)]| {
        end(vrctl(&["status"]).args(arguments).envs(environment.iter().copied())).code
    };
    assert_eq!(code(&[], &[("VROUTER_SOCKET", socket)]), Some(0));
    assert_eq!(code(&["--socket", socket], &[("VROUTER_SOCKET", nowhere)]), Some(0));
    assert_eq!(code(&["--socket", socket], &[("VROUTER_URL", "http://127.0.0.1:1")]), Some(0));
    assert_eq!(code(&[], &[("VROUTER_SOCKET", socket), ("VROUTER_URL", "http://127.0.0.1:1")]), Some(3));
    assert_eq!(code(&["--url", "http://127.0.0.1:1"], &[("VROUTER_SOCKET", socket)]), Some(3));
    assert_eq!(code(&[], &[("VROUTER_URL", "router")]), Some(2));
}

#[test]
fn json_is_printed_as_it_came_and_a_problem_too() {
    let body = r#"{"generations":[],"current":18446744073709551615,"b":1.5,"a":"später"}"#;
    let (said, _) = ask(&["--json", "generations"], &answer(200, "application/json", body));
    let expected = "{\n  \"generations\": [],\n  \"current\": 18446744073709551615,\n  \"b\": 1.5,\n  \"a\": \"später\"\n}\n";
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), expected));
    let (said, _) = ask(&["--json", "generations"], &answer(412, "application/problem+json", PROBLEM));
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""));
    assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap()["status"], 412);
    let (said, _) = ask(&["generations"], &answer(412, "application/problem+json", PROBLEM));
    let expected = "Another generation runs; nothing changed: generation 8 runs, not 7: read it\n";
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", expected));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let body = json!({"names": vec!["a name that fills the pipe"; 100_000]}).to_string();
    let router = Router::new(&answer(200, "application/json", &body));
    let mut command = vrctl(&["config", "--socket"]);
    let child = command.arg(router.socket()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((first.as_str(), output.status.code(), output.stderr.as_slice()), ("{\n", Some(0), &b""[..]));
}
