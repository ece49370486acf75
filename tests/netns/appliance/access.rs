//! Who may speak to the real service: tokens, certificates and users, over the network and over the socket; and how much
//! of what is let in at once.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};

use super::house::{House, document, grounds};
use super::router::Router;
use crate::lab::{Lab, until};

const API: &str = "http://192.168.0.188:7270";
const OPS: &str = "ops-token-0123456789";
const WATCH: &str = "watch-token-0123456789";

/// A status and a body, as curl tells them.
#[derive(Debug)]
struct Told {
    status: u16,
    head: String,
    body: Value,
}

/// Asks from a station, as an operator there would.
fn curl(lab: &Lab, station: &str, arguments: &[&str]) -> Told {
    let line =
        [&["curl", "-s", "-i", "-g", "--connect-timeout", "3", "--max-time", "20"], arguments].concat();
    let said = lab.run_all(station, &line);
    let (head, body) = said.stdout.split_once("\r\n\r\n").unwrap_or((&said.stdout, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Told { status, head: head.to_lowercase(), body: serde_json::from_str(body).unwrap_or_default() }
}

/// The house's lab with a service that can be reached from elsewhere and takes two tokens.
fn guarded() -> (Lab, Router) {
    let lab = grounds();
    let mut router = Router::prepared(&lab, "router", "0.0.0.0:7270");
    let file = router.write("tokens", &format!("ops write {OPS}\nwatch read {WATCH}\n"));
    router.give(&["--token-file", &file]);
    router.launch();
    router.configure(&document());
    (lab, router)
}

const EIP: &str = r#"{"eips":{"web":{"address":"198.51.100.7","interface":"public","target":"10.1.1.20"}}}"#;

#[test]
fn a_token_says_who_changes_and_who_may_only_look() {
    let (lab, router) = guarded();
    let config = format!("{API}/v1/config");
    let ask = |arguments: &[&str]| curl(&lab, "admin", arguments);
    let patch = ["-X", "PATCH", "-d", EIP, &config];
    let unknown = ask(&[&config]);
    assert_eq!((unknown.status, &unknown.body["type"]), (401, &json!("urn:vrouter:problem:unauthorized")));
    assert!(unknown.head.contains("www-authenticate: bearer realm=\"vrouter\""), "{unknown:#?}");
    for path in ["/", "/docs", "/metrics", "/openapi.json", "/nothing"] {
        assert_eq!(ask(&[&format!("{API}{path}")]).status, 401, "{path}");
    }
    let reader = ["--oauth2-bearer", WATCH];
    assert_eq!(ask(&[&reader[..], &[&config]].concat()).status, 200);
    let plan = format!("{API}/v1/plan");
    let merge = ["-H", "Content-Type: application/merge-patch+json", "-d", EIP, &plan];
    assert_eq!(ask(&[&reader[..], &merge].concat()).status, 200, "asking what would be is looking");
    let refused = ask(&[&reader[..], &patch].concat());
    assert_eq!((refused.status, &refused.body["type"]), (403, &json!("urn:vrouter:problem:forbidden")));
    assert!(ask(&["-u", &format!("x:{WATCH}"), &format!("{API}/")]).head.contains("text/html"), "a browser");
    assert_eq!(ask(&[&["-u", &format!("x:{OPS}")][..], &patch].concat()).status, 401, "browsers only look");
    assert_eq!(ask(&[&["--oauth2-bearer", OPS][..], &patch].concat()).status, 200);
    // It stands in the history and in the audit.
    let last = router.get("/v1/generations").body["generations"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["author"]["name"], "token ops");
    assert!(last["author"]["from"].as_str().unwrap().starts_with("192.168.0.10:"), "{last:#}");
    let log = router.log();
    let line = log.lines().find(|line| line.contains("who=\"token ops\"")).unwrap_or_else(|| panic!("{log}"));
    for word in ["audit", "192.168.0.10:", "generation=2", "origin=\"patch\"", "added=1", "+/eips/web"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(log.contains("who=\"uid 0\""), "{log}");
    // The same from an operator's command line.
    let token = router.write("token", &format!("{WATCH}\n"));
    let vrctl = env!("CARGO_BIN_EXE_vrctl");
    let said = lab.run("admin", &format!("{vrctl} --url {API} --token-file {token} generations"));
    assert!(said.success && said.stdout.contains("patch"), "{said:?}");
    let said = lab.run("admin", &format!("{vrctl} --url {API} --token-file {token} rollback 1"));
    assert!(!said.success && said.stderr.contains("token watch may only look"), "{said:?}");
    let said = lab.run("admin", &format!("env VROUTER_TOKEN={OPS} {vrctl} --url {API} rollback 1"));
    assert!(said.success, "{said:?}");
}

#[test]
fn who_guesses_waits_and_tokens_can_be_replaced() {
    let (lab, router) = guarded();
    let status = format!("{API}/v1/generations");
    let with = |station: &str, token: &str| curl(&lab, station, &["--oauth2-bearer", token, &status]);
    let refused = until("the guesser is told to wait", || {
        let told = with("admin", "a-guess-0123456789");
        assert!(matches!(told.status, 401 | 429), "{told:#?}");
        (told.status == 429).then_some(told)
    });
    assert_eq!(refused.body["type"], "urn:vrouter:problem:too-many-failures");
    assert!(refused.head.contains("retry-after: 1"), "{refused:#?}");
    // Others are heard, and so is the guesser when it has waited.
    let own = curl(&lab, "router", &["--oauth2-bearer", OPS, "http://127.0.0.1:7270/metrics"]);
    assert_eq!(own.status, 200);
    until("the guesser is heard again", || (with("admin", OPS).status == 200).then_some(()));
    let metrics = router.get("/metrics").body;
    let metrics = metrics.as_str().unwrap();
    let count = |reason: &str| {
        let name = format!("vrouter_api_refused_total{{reason=\"{reason}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok()).unwrap()
    };
    assert!(count("wrong_token") >= 10.0 && count("throttled") >= 1.0, "{metrics}");
    assert!(router.log().contains("presented what is not known so often"), "{}", router.log());
    // A file that was changed counts when the service is told so; one with faults does not.
    router.write("tokens", "next write next-token-0123456789");
    router.hang_up();
    until("the next token counts", || (with("admin", "next-token-0123456789").status == 200).then_some(()));
    assert_eq!(with("web1", OPS).status, 0, "guests do not reach it anyhow");
    assert_eq!(with("admin", OPS).status, 401);
    router.write("tokens", "next write short");
    router.hang_up();
    until("the fault is told", || router.log().contains("tokens stay as they are").then_some(()));
    assert_eq!(with("admin", "next-token-0123456789").status, 200);
}

#[test]
fn off_loopback_the_service_asks_or_does_not_start() {
    let lab = grounds();
    let router = Router::prepared(&lab, "router", "0.0.0.0:7270");
    let output = router.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("0.0.0.0:7270 can be reached from elsewhere"), "{said}");
    assert!(said.contains("give --token-file, or --tls-cert"), "{said}");
    let mut router = router;
    router.give(&["--or-loopback"]);
    router.launch();
    router.configure(&document());
    assert_eq!(curl(&lab, "router", &["http://127.0.0.1:7270/v1/config"]).status, 200);
    assert_eq!(curl(&lab, "router", &[&format!("{API}/v1/config")]).status, 0);
    assert_eq!(curl(&lab, "admin", &[&format!("{API}/v1/config")]).status, 0);
    let named = ["-H", "Host: rebound.example:7270", "http://127.0.0.1:7270/v1/config"];
    assert_eq!(curl(&lab, "router", &named).status, 403);
}

/// An authority, and what it vouches for.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self(Issuer::new(parameters, key), pem)
    }

    /// Writes a chain and a key beside the service; where they are.
    fn vouches(&self, router: &Router, name: &str, unit: &str) -> [String; 2] {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        parameters.subject_alt_names = vec![SanType::IpAddress([192, 168, 0, 188].into())];
        let key = KeyPair::generate().unwrap();
        let chain = parameters.signed_by(&key, &self.0).unwrap().pem();
        let file = |kind: &str, text: &str| router.write(&format!("{name}.{kind}"), text);
        [file("pem", &chain), file("key", &key.serialize_pem())]
    }
}

#[test]
fn a_client_certificate_says_who_as_well() {
    let lab = grounds();
    let mut router = Router::prepared(&lab, "router", "192.168.0.188:7270");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = router.write("ca.pem", &authority.1);
    let [chain, key] = authority.vouches(&router, "router", "");
    router.give(&["--tls-cert", &chain, "--tls-key", &key, "--client-ca", &ca]);
    router.launch();
    router.configure(&document());
    let config = "https://192.168.0.188:7270/v1/config";
    let with = |[cert, key]: &[String; 2], arguments: &[&str]| {
        curl(&lab, "admin", &[&["--cacert", &ca, "--cert", cert, "--key", key], arguments].concat())
    };
    let (plane, watch) =
        (authority.vouches(&router, "plane", "ops"), authority.vouches(&router, "watch", "vrouter-read"));
    let patch = ["-X", "PATCH", "-d", EIP, config];
    assert_eq!(with(&watch, &[config]).status, 200);
    assert_eq!(with(&watch, &patch).status, 403);
    assert_eq!(with(&plane, &patch).status, 200);
    let last = router.get("/v1/generations").body["generations"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["author"]["name"], "certificate plane");
    // Without one, with somebody else's, and in clear there is no answer at all.
    assert_eq!(curl(&lab, "admin", &["--cacert", &ca, config]).status, 0);
    assert_eq!(with(&stranger.vouches(&router, "evil", ""), &[config]).status, 0);
    assert_eq!(curl(&lab, "admin", &[&format!("{API}/v1/config")]).status, 0);
    let vrctl = env!("CARGO_BIN_EXE_vrctl");
    let own = format!("--ca {ca} --cert {} --key {}", plane[0], plane[1]);
    let said = lab.run("admin", &format!("{vrctl} --url https://192.168.0.188:7270 {own} generations"));
    assert!(said.success && said.stdout.contains("patch"), "{said:?}");
    // With tokens as well, either will do.
    router.kill();
    let tokens = router.write("tokens", &format!("ops write {OPS}\n"));
    router.give(&["--token-file", &tokens]);
    router.relaunch();
    let token = ["--cacert", &ca, "--oauth2-bearer", OPS, config];
    until("the token counts", || (curl(&lab, "admin", &token).status == 200).then_some(()));
    assert_eq!(with(&plane, &[config]).status, 200);
    let neither = curl(&lab, "admin", &["--cacert", &ca, config]);
    assert_eq!(neither.status, 401);
    assert!(neither.body["detail"].as_str().unwrap().contains("or a client certificate"), "{neither:#?}");
}

#[test]
fn the_socket_is_for_its_users() {
    let lab = grounds();
    let mut router = Router::prepared(&lab, "router", "127.0.0.1:7270");
    router.give(&["--socket-reader-uid", "4711"]);
    router.launch();
    router.configure(&document());
    let socket = router.socket();
    // Whoever may open it is still asked who he is.
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(Path::new(&socket), 0o666);
    open(Path::new(&socket).parent().unwrap(), 0o755);
    let ask = |uid: &str, arguments: &[&str]| {
        let line = [
            "setpriv",
            &format!("--reuid={uid}"),
            "--clear-groups",
            "curl",
            "-s",
            "-i",
            "--unix-socket",
            &socket,
        ];
        let said = lab.run_all("router", &[&line[..], arguments].concat());
        said.stdout.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    };
    let (config, patch) = ("http://router/v1/config", ["-X", "PATCH", "-d", EIP, "http://router/v1/config"]);
    assert_eq!([ask("4711", &[config]), ask("4711", &patch)], [200, 403]);
    assert_eq!([ask("4712", &[config]), ask("4712", &patch)], [403, 403]);
    assert_eq!([ask("0", &[config]), ask("0", &patch)], [200, 200]);
    let last = router.get("/v1/generations").body["generations"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["author"], json!({"name": "uid 0", "from": "socket"}));
}

#[test]
fn what_is_too_much_is_refused_by_its_name_and_the_router_runs_on() {
    let House { router, lab } = House::with(json!({}));
    let before = router.document();
    let many = |count: usize| {
        let of: String = (0..count).map(|number| format!("\"o{number}\":{{}},")).collect();
        format!("{{{of}\"last\":{{}}}}")
    };
    let patch = |body: String| router.ask("PATCH", "/v1/config", body.as_bytes());
    for (body, pointer, detail) in [
        (
            format!("{{\"eips\":{}}}", many(100_000)),
            "/eips",
            "100001 objects are more than the 100000 of `eips`",
        ),
        (
            format!("{{\"load_balancers\":{}}}", many(5000)),
            "/load_balancers",
            "5001 objects are more than the 5000",
        ),
        ("{\"a\":".repeat(1000), "/a/a/a", "values are nested deeper than 32"),
        (format!("{{\"a\":[{}0]}}", "0,".repeat(10_000)), "/a", "a list has at most 10000 elements"),
        (many(300_000), "/o299999", "a document has at most 300000 objects and lists"),
    ] {
        let refused = patch(body);
        assert_eq!(refused.status, 422, "{detail}: {}", refused.head);
        let fault = &refused.body["faults"][0];
        assert!(fault["pointer"].as_str().unwrap().starts_with(pointer), "{fault:#}");
        assert!(fault["detail"].as_str().unwrap().starts_with(detail), "{fault:#}");
        assert_eq!(fault["rule"], "out-of-range");
    }
    // A million faults are counted, not told.
    let unknown: String = (0..1_000_000).map(|number| format!("\"u{number}\":0,")).collect();
    let refused = patch(format!("{{{unknown}\"last\":0}}"));
    assert_eq!((refused.status, refused.faults().len()), (422, 1001));
    // A source has so many connections, and others theirs.
    let address: SocketAddr = "127.0.0.1:7270".parse().unwrap();
    let taken: Vec<TcpStream> =
        lab.inside("router", || (0..64).map(|_| TcpStream::connect(address).unwrap()).collect());
    let refused = until("the source has its fill", || {
        let told = curl(&lab, "router", &["http://127.0.0.1:7270/v1/config"]);
        (told.status == 503).then_some(told)
    });
    assert!(refused.body["detail"].as_str().unwrap().contains("at most 64 connections"), "{refused:#?}");
    assert_eq!(router.get("/v1/config").status, 200);
    drop(taken);
    until("it is heard again", || {
        (curl(&lab, "router", &["http://127.0.0.1:7270/v1/config"]).status == 200).then_some(())
    });
    // A head without measure, and bodies that hold more than there is room for.
    let long = curl(&lab, "router", &["-H", &format!("X: {}", "y".repeat(70_000)), "http://127.0.0.1:7270/"]);
    assert_eq!(long.status, 431);
    let held: Vec<TcpStream> = lab.inside("router", || {
        let hold = |_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .write_all(b"POST /v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\n{")
                .unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream
        };
        (0..2).map(hold).collect()
    });
    let refused = until("the bodies have all the room", || {
        let told = curl(&lab, "router", &["-d", "{}", "http://127.0.0.1:7270/v1/plan"]);
        (told.status == 503).then_some(told)
    });
    assert!(refused.body["detail"].as_str().unwrap().contains("134217728 octets together"), "{refused:#?}");
    drop(held);
    until("there is room again", || {
        let told = curl(&lab, "router", &["-d", "{\"version\":1}", "http://127.0.0.1:7270/v1/plan"]);
        (told.status == 200).then_some(())
    });
    // Who does nothing but ask for changes is slowed down.
    let ask = "POST /v1/rollback HTTP/1.1\r\nHost: router\r\nContent-Length: 2\r\n\r\n{}";
    let last = "GET /v1/generations HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n";
    let mut stream = UnixStream::connect(router.socket()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sending =
        std::thread::spawn(move || writer.write_all((ask.repeat(10_000) + last).as_bytes()).unwrap());
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    sending.join().unwrap();
    let count = |status: &str| told.matches(&format!("HTTP/1.1 {status} ")).count();
    assert_eq!((count("400") + count("429"), count("200")), (10_000, 1));
    assert!(count("400") >= 5000 && count("429") > 100, "{} were let through", count("400"));
    assert!(told.contains("a caller sends at most 5000 changes in a row and 200 a second"), "{told}");
    assert_eq!(router.document(), before);
}
