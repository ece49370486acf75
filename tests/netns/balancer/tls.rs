//! TLS towards clients and towards backends, as `openssl s_client` and `curl` see it.

use std::io::Write;
use std::process::Stdio;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use super::backend::Backend;
use super::house::{GUEST, House, VIP, http};

/// A certificate for these names, with its key, as a document has them.
fn certificate(names: &[&str]) -> Value {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut parameters = CertificateParams::new(names.clone()).unwrap();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, names[0].clone());
    json!({"chain_pem": parameters.self_signed(&key).unwrap().pem(), "key_pem": key.serialize_pem()})
}

/// An https balancer on port 443 with these certificates, and `patch`.
fn document(backend: &Backend, certificates: &[(&str, Value)], patch: Value) -> Value {
    let ids: Vec<&str> = certificates.iter().map(|(id, _)| *id).collect();
    let mut balancer =
        http(&[backend], json!({"port": 443, "protocol": "https", "tls": {"certificates": ids}}));
    vrouter::merge_patch::merge(&mut balancer, patch);
    let certificates: serde_json::Map<String, Value> =
        certificates.iter().map(|(id, certificate)| ((*id).to_owned(), certificate.clone())).collect();
    json!({"certificates": certificates, "load_balancers": {"web": balancer}})
}

/// What `openssl s_client` says of a connection on which it asks for `/`.
fn s_client(house: &House<'_>, arguments: &str) -> String {
    let line = format!("openssl s_client -connect {VIP}:443 -ign_eof {arguments}");
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let mut child = house
        .lab
        .command("router", &words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n";
    // A handshake that fails takes nothing.
    let _ = child.stdin.take().unwrap().write_all(request);
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn a_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    House::run(|house| {
        let backend = Backend::start(GUEST);
        let certificates = [
            ("first", certificate(&["first.local"])),
            ("www", certificate(&["www.demo.local"])),
            ("star", certificate(&["*.demo.local"])),
        ];
        house.apply(document(&backend, &certificates, json!({}))).unwrap();
        let subject = |arguments: &str| {
            let said = s_client(house, arguments);
            assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
            said.lines().find_map(|line| line.strip_prefix("subject=CN = ")).unwrap().to_owned()
        };
        assert_eq!(subject("-servername www.demo.local"), "www.demo.local");
        assert_eq!(subject("-servername WWW.Demo.Local"), "www.demo.local");
        assert_eq!(subject("-servername mail.demo.local"), "*.demo.local");
        assert_eq!(subject("-servername a.mail.demo.local"), "first.local");
        assert_eq!(subject("-noservername"), "first.local");
    });
}

#[test]
fn certificates_are_swapped_under_connections_and_sessions_go_on() {
    House::run(|house| {
        let backend = Backend::start(GUEST);
        let balancer = |name: &str| document(&backend, &[("one", certificate(&[name]))], json!({}));
        house.apply(balancer("old.local")).unwrap();
        let session = tempfile::NamedTempFile::new().unwrap();
        let file = session.path().to_str().unwrap();
        assert!(s_client(house, &format!("-tls1_2 -sess_out {file}")).contains("New, TLSv1.2"));
        let mut held = house
            .lab
            .command("router", &["openssl", "s_client", "-quiet", "-ign_eof", "-connect", "192.0.2.7:443"]);
        let mut held =
            held.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut input = held.stdin.take().unwrap();
        input.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n").unwrap();
        crate::lab::until("the connection is there", || {
            (house.balancer().traffic.current == 1).then_some(())
        });
        house.apply(balancer("new.local")).unwrap();
        assert!(s_client(house, "-noservername").contains("CN = new.local"));
        let resumed = s_client(house, &format!("-tls1_2 -sess_in {file}"));
        assert!(resumed.contains("Reused, TLSv1.2"), "{resumed}");
        input.write_all(b"GET /held HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").unwrap();
        let output = held.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).matches("HTTP/1.1 200 OK").count(), 2);
    });
}

#[test]
fn versions_and_protocols_are_those_that_are_configured() {
    House::run(|house| {
        let backend = Backend::start(GUEST);
        let certificates = [("one", certificate(&["demo.local"]))];
        house.apply(document(&backend, &certificates, json!({}))).unwrap();
        assert!(s_client(house, "-tls1_2").contains("HTTP/1.1 200 OK"));
        assert!(s_client(house, "-tls1_3").contains("HTTP/1.1 200 OK"));
        assert!(s_client(house, "-tls1_1").contains("alert"));
        assert!(s_client(house, "-tls1_2 -cipher AES128-SHA").contains("alert"));
        assert!(s_client(house, "-alpn http/1.1").contains("ALPN protocol: http/1.1"));
        assert!(s_client(house, "-alpn h2").contains("ALPN protocol: h2"));
        for tls in [json!({"min_version": "1.3"}), json!({"ciphers": "modern"})] {
            house.apply(document(&backend, &certificates, json!({"tls": tls}))).unwrap();
            assert!(s_client(house, "-tls1_3").contains("HTTP/1.1 200 OK"));
            assert!(s_client(house, "-tls1_2").contains("alert"));
        }
        house.apply(document(&backend, &certificates, json!({"tls": {"alpn": ["http/1.1"]}}))).unwrap();
        assert!(!s_client(house, "-alpn h2,http/1.1").contains("ALPN protocol: h2"));
        assert!(house.balancer().refused > 0);
    });
}

#[test]
fn clients_show_certificates_where_they_have_to() {
    House::run(|house| {
        let backend = Backend::start(GUEST);
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own =
            CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let strange = certificate(&["stranger"]);
        let folder = tempfile::tempdir().unwrap();
        let pair = |name: &str, chain: &str, key: &str| {
            let (chain_file, key_file) =
                (folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key")));
            std::fs::write(&chain_file, chain).unwrap();
            std::fs::write(&key_file, key).unwrap();
            format!("-cert {} -key {}", chain_file.display(), key_file.display())
        };
        let known = pair("known", &own.pem(), &key.serialize_pem());
        let stranger =
            pair("stranger", strange["chain_pem"].as_str().unwrap(), strange["key_pem"].as_str().unwrap());
        let certificates = [("one", certificate(&["demo.local"]))];
        let with = |verify: &str| {
            let clients =
                json!({"tls": {"client_certificates": {"verify": verify, "ca_pem": authority.pem()}}});
            document(&backend, &certificates, clients)
        };
        let serves = |arguments: &str| s_client(house, arguments).contains("HTTP/1.1 200 OK");
        house.apply(with("required")).unwrap();
        assert_eq!((serves(&known), serves(&stranger), serves("")), (true, false, false));
        house.apply(with("optional")).unwrap();
        assert_eq!((serves(&known), serves(&stranger), serves("")), (true, false, true));
        house.apply(document(&backend, &certificates, json!({}))).unwrap();
        assert!(serves(""));
    });
}

#[test]
fn backends_are_spoken_to_within_tls_and_have_to_prove_who_they_are() {
    House::run(|house| {
        let behind = Backend::start(GUEST);
        // A balancer is the backend of another: it ends TLS with a certificate of its own.
        let pair = certificate(&["backend.local"]);
        let inner = document(&behind, &[("one", pair.clone())], json!({"address": GUEST}));
        let outer = |tls: Value| {
            let backends = json!({"inner": {"address": GUEST, "port": 443}});
            let mut both = inner.clone();
            both["load_balancers"]["outer"] = json!({
                "address": VIP, "port": 80, "protocol": "http",
                "pools": {"main": {"backends": backends, "tls": tls}},
            });
            both
        };
        let ask = || house.client().send("GET / HTTP/1.1\r\nHost: demo\r\n\r\n").answer().status;
        let proof = |name: &str| json!({"ca_pem": pair["chain_pem"], "server_name": name});
        for (tls, status) in [
            (json!({"verify": false}), 200),
            (proof("backend.local"), 200),
            (proof("other.local"), 502),
            (
                json!({"ca_pem": certificate(&["backend.local"])["chain_pem"], "server_name": "backend.local"}),
                502,
            ),
        ] {
            house.apply(outer(tls.clone())).unwrap();
            assert_eq!(ask(), status, "{tls}");
        }
    });
}
