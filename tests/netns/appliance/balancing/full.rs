//! The whole example, its PEM bodies filled in, serves real clients: nc, curl, openssl, and one that speaks WebSocket.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::super::house::{DEVICES, House};
use super::certificate;
use super::web::Web;
use crate::lab::{Lab, until};

/// The example with the MACs of this house.
fn example() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples/full.json");
    let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (id, device) in [("mgmt", 0), ("public", 1), ("guest", 2)] {
        document["interfaces"][id]["mac"] = json!(DEVICES[device].1);
    }
    document["certificates"]["demo"] = certificate(&["demo.local", "*.demo.local"]);
    document
}

/// What curl is told of a URL of the HTTPS balancer, with some more arguments.
fn curl(lab: &Lab, host: &str, path: &str, more: &[&str]) -> String {
    let resolve = format!("{host}:443:198.51.100.8");
    let url = format!("https://{host}{path}");
    let fixed = ["curl", "--silent", "--insecure", "--max-time", "10", "--resolve", &resolve];
    let said = lab.run_all("internet", &[&fixed, more, &[&url]].concat());
    assert!(said.success, "{url}: {}{}", said.stdout, said.stderr);
    said.stdout
}

fn requests(lab: &Lab) {
    let told = ["--output", "/dev/null", "--write-out", "%{http_version} %{http_code} %{redirect_url}"];
    assert_eq!(curl(lab, "demo.local", "/", &[&["--http2"], &told[..]].concat()), "2 200 ");
    assert_eq!(curl(lab, "demo.local", "/", &[&["--http1.1"], &told[..]].concat()), "1.1 200 ");
    assert_eq!(curl(lab, "demo.local", "/old/x", &told), "2 301 https://demo.local/new");
    assert_eq!(curl(lab, "demo.local", "/.git/config", &told), "2 403 ");
    assert_eq!(
        curl(lab, "demo.local", "/a/../%2egit/config", &[&["--path-as-is"], &told[..]].concat()),
        "2 403 "
    );
    assert_eq!(curl(lab, "api.demo.local", "/v1/x", &[]), "client\n");
    assert!(curl(lab, "demo.local", "/v1/x", &[]).starts_with("web"));
    // A client with its cookie stays where it is.
    let head = curl(lab, "demo.local", "/", &["--dump-header", "-", "--output", "/dev/null"]);
    let cookie =
        head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{head}"));
    for attribute in ["VRSID=", "; Secure", "; HttpOnly", "; Max-Age=3600"] {
        assert!(cookie.to_ascii_lowercase().contains(&attribute.to_ascii_lowercase()), "{cookie}");
    }
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let first = curl(lab, "demo.local", "/", &["--header", &cookie]);
    for _ in 0..8 {
        assert_eq!(curl(lab, "demo.local", "/", &["--header", &cookie]), first);
    }
}

fn handshakes(lab: &Lab) {
    let handshake = |version: &str| {
        let line = format!(
            "openssl s_client -connect 198.51.100.8:443 -servername www.demo.local -alpn h2 {version}"
        );
        lab.run("internet", &line)
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let said = handshake(version);
        assert!(said.stdout.contains("ALPN protocol: h2"), "{version}: {}{}", said.stdout, said.stderr);
    }
    assert!(!handshake("-tls1_1").success);
}

/// Octets go both ways behind an upgrade, within TLS.
fn websocket(lab: &Lab) {
    let arguments = ["socat", "-", "OPENSSL:198.51.100.8:443,verify=0,snihost=demo.local"];
    let mut client =
        lab.command("internet", &arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (client.stdin.take().unwrap(), BufReader::new(client.stdout.take().unwrap()));
    to.write_all(
        b"GET /ws HTTP/1.1\r\nHost: demo.local\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .unwrap();
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 101 "), "{line}");
    while line.trim_end() != "" {
        line.clear();
        from.read_line(&mut line).unwrap();
    }
    // A masked frame of text, as RFC 6455 section 5.7 shows it, comes back as it went.
    let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    for _ in 0..3 {
        to.write_all(&frame).unwrap();
        let mut back = [0; 11];
        from.read_exact(&mut back).unwrap();
        assert_eq!(back, frame);
    }
    drop(to);
    client.wait().unwrap();
}

#[test]
fn the_whole_example_serves_real_clients() {
    let House { router, lab } = House::new();
    for (station, address) in [("web1", "10.1.1.30"), ("web2", "10.1.1.31"), ("client", "10.1.1.22")] {
        lab.ok(station, &format!("ip address add {address}/24 dev eth0"));
    }
    let _webs =
        [("web1", 8080), ("web2", 8080), ("client", 9090)].map(|(name, port)| Web::start(&lab, name, port));
    for station in ["web1", "web2"] {
        lab.serve(station, 5432);
    }
    router.configure(&example());
    until("the balancers are up", || {
        let shown = router.get("/v1/balancers").body;
        let is_up = |id: &str| shown["balancers"][id]["state"] == "up";
        (is_up("tcp-db") && is_up("web")).then_some(())
    });
    // The kernel keeps the client's address, and lets those in alone who may.
    for _ in 0..4 {
        lab.reaches("neighbour", "198.51.100.8:5432", "198.51.100.9");
    }
    lab.silent("internet", &["198.51.100.8:5432"]);
    let said = lab.run("neighbour", "nc -N -w 5 198.51.100.8 5432");
    assert!(said.success && said.stdout.contains("198.51.100.9"), "{}{}", said.stdout, said.stderr);
    requests(&lab);
    handshakes(&lab);
    websocket(&lab);
    // The same document again changes nothing.
    let shown = router.get("/v1/config");
    assert_eq!(
        router.configure(&shown.body),
        router.get("/v1/generations").body["current"].as_u64().unwrap()
    );
}
