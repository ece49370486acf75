//! The pool's hands on a real libvirtd with QEMU's own emulation: each story in mount, network and process namespaces of its
//! own, so nothing of it is seen outside and nothing of it is left (see `within`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use vrouter::clock::Timestamp;
use vrouter::pool::broker::event::{Backend, Binding, EndReason, Event as Told, Refusal};
use vrouter::pool::broker::spice::Channel;
use vrouter::pool::broker::{Broker, Settings};
use vrouter::pool::config::Config;
use vrouter::pool::hypervisor::{Event, Hypervisor, Lifecycle, Mark, MarkState, Power, Start, Ticket};
use vrouter::pool::libvirt::Libvirt;

use crate::broker::binding;
use crate::conformance::{PATIENCE, request, suite, told};
use crate::desk::{AUTHORITIES, define, golden_files, ok, picture, serial, station, viewer};
use crate::within::within;

#[test]
fn libvirt_does_what_every_hypervisor_does() {
    within("real::inside_conformance");
}

#[test]
fn stations_work_in_vms_of_their_own() {
    within("real::inside_stations");
}

#[test]
fn clones_wake_from_a_memory_image() {
    within("real::inside_instant");
}

#[test]
fn the_whole_pool_as_it_is_run() {
    within("whole::inside_whole");
}

fn config(more: &str) -> Arc<Config> {
    let text = format!(
        "base = 'kiosk'\n[slots]\nsize = 4\n[hypervisor]\ncall_seconds = 60\nstart_seconds = 120\n\
         [clones]\noverlay_dir = '/run/overlays'\nimage_dir = '/run/images'\n{more}"
    );
    Arc::new(Config::parse(&text).unwrap())
}

async fn opened(config: &Arc<Config>) -> Libvirt {
    define("kiosk", "/run/golden.raw");
    let libvirt = Libvirt::open(config).unwrap();
    timeout(PATIENCE, libvirt.connected()).await.expect("libvirt is not connected");
    libvirt
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE * 2, waited).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside of namespaces that another test makes"]
async fn inside_conformance() {
    let config = config("");
    let libvirt = opened(&config).await;
    // A foreign domain by one of the pool's names, and something that lies in the overlays' directory.
    define("kiosk-5924", "/run/foreign.raw");
    fs::write("/run/overlays/other.qcow2", "foreign").unwrap();
    suite(&libvirt, &config, "kiosk-5924").await;
    assert!(Path::new("/run/overlays/other.qcow2").exists());
    // What the golden domain must not be.
    ok("virsh --quiet start kiosk");
    let fault = libvirt.golden().await.unwrap().fault.unwrap();
    assert!(fault.contains("not shut off"), "{fault}");
    assert!(libvirt.create(&request(&config, 5921, 1, "")).await.is_err());
    assert!(libvirt.overlays().await.unwrap().is_empty());
    ok("virsh --quiet destroy kiosk");
    let network = "<network><name>pool</name><forward mode='open'/><bridge name='pool1' stp='off'/>\
                   <ip address='192.0.2.1' prefix='24'/></network>";
    libvirt.define_network(network).await.unwrap();
    assert!(ok("virsh net-list --name").contains("pool"));
    assert!(libvirt.define_network(network).await.is_err(), "it is there");
}

#[test]
fn a_vm_that_fills_its_overlay_is_ended() {
    within("real::inside_cap");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside of namespaces that another test makes"]
async fn inside_cap() {
    let config = config("overlay_limit = 2097152\n");
    let libvirt = opened(&config).await;
    let mut events = libvirt.events();
    let version = libvirt.golden().await.unwrap().version;
    let modest = request(&config, 5921, 1, &version);
    libvirt.create(&modest).await.unwrap();
    libvirt.start(&modest.name, Start::Cold).await.unwrap();
    until("a VM boots", || serial(&modest.name).contains("BOOTED")).await;
    ok(
        "virsh --quiet dumpxml kiosk | sed 's/panic=-1/panic=-1 fill/' >/run/domain.xml && virsh --quiet define /run/domain.xml",
    );
    let greedy = request(&config, 5922, 1, &libvirt.golden().await.unwrap().version);
    libvirt.create(&greedy).await.unwrap();
    libvirt.start(&greedy.name, Start::Cold).await.unwrap();
    told(&mut events, &greedy.name, Lifecycle::Stopped).await;
    let size = fs::metadata(&greedy.mark.overlay).unwrap().len();
    assert!(size < 48 << 20, "it wrote {size} octets of its disk of 64 MiB");
    let domains = libvirt.domains().await.unwrap();
    let runs =
        |name: &str| domains.iter().any(|domain| domain.name == name && domain.power == Power::Running);
    assert!(runs(&modest.name) && !runs(&greedy.name));
}

async fn heard<T>(events: &mut broadcast::Receiver<Told>, wanted: impl Fn(&Told) -> Option<T>) -> T {
    let waited = async {
        loop {
            if let Some(found) = wanted(&events.recv().await.unwrap()) {
                return found;
            }
        }
    };
    timeout(PATIENCE, waited).await.expect("the broker did not say it")
}

/// What the manager does for a broker: consoles are handed over as they are asked for.
async fn hand_over(libvirt: Arc<Libvirt>, broker: Broker) {
    let mut events = broker.events();
    while let Ok(event) = events.recv().await {
        if let Told::Wanted { request, console } = event {
            let descriptor = libvirt.open_console(&console).await.unwrap();
            assert!(broker.hand_over(request, descriptor));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside of namespaces that another test makes"]
async fn inside_stations() {
    let config = config("");
    let libvirt = Arc::new(opened(&config).await);
    let version = libvirt.golden().await.unwrap().version;
    let began = Instant::now();
    for port in config.ports() {
        let vm = request(&config, port, 1, &version);
        libvirt.create(&vm).await.unwrap();
        libvirt.start(&vm.name, Start::Cold).await.unwrap();
    }
    for port in config.ports() {
        let vm = config.vm_name(port);
        until("a VM boots", || serial(&vm).contains("BOOTED")).await;
        assert!(!serial(&vm).contains("DIRTY"), "{vm} has somebody's traces on its disk");
    }
    eprintln!("4 VMs booted in {:?}", began.elapsed());
    let domains = libvirt.domains().await.unwrap();
    assert!(domains.len() == 4 && domains.iter().all(|domain| domain.power == Power::Running));

    let golden = Command::new("virsh").args(["--quiet", "start", "kiosk"]).output().unwrap();
    assert!(!golden.status.success(), "the golden domain starts while clones read its disk");
    for number in 1..=3 {
        station(number);
    }
    let broker = Broker::new(&Settings::default()).unwrap();
    let listener = TcpListener::bind("0.0.0.0:5906").await.unwrap();
    let mut events = broker.events();
    tokio::spawn(hand_over(libvirt.clone(), broker.clone()));
    tokio::spawn({
        let broker = broker.clone();
        async move { tokio::join!(broker.serve(listener), broker.expire()) }
    });
    for number in [1, 2] {
        let vm = format!("kiosk-592{number}");
        broker.bind(binding(&vm, [10, 9, number, 2].into(), Backend::Descriptor)).unwrap();
    }

    // A station sees its VM, and the session ends when its viewer goes.
    let began = Instant::now();
    assert!(tokio::task::spawn_blocking(|| picture(1, "10.9.1.1:5906", None)).await.unwrap());
    eprintln!("signal to picture in {:?}", began.elapsed());
    let ended = |event: &Told| match event {
        Told::Ended { console, reason, used, received, .. } => {
            Some((console.clone(), *reason, *used, *received > 1000))
        }
        _ => None,
    };
    let end = heard(&mut events, ended).await;
    assert_eq!(end, ("kiosk-5921".to_owned(), EndReason::ViewerLeft, true, true));

    // A third station is let in nowhere: not by the broker, not by a VM's own console.
    let refused = tokio::task::spawn_blocking(|| picture(3, "10.9.3.1:5906", None));
    assert!(!refused.await.unwrap());
    let (from, why) = heard(&mut events, |event| match event {
        Told::Refused { station, reason } => Some((*station, *reason)),
        _ => None,
    })
    .await;
    assert_eq!((from.to_string().as_str(), why), ("10.9.3.2", Refusal::NotBound));
    let direct = tokio::task::spawn_blocking(|| picture(3, "10.9.3.1:5922", Some("secret-5922")));
    assert!(!direct.await.unwrap(), "a VM's console is reached from the network");

    tickets(&libvirt).await;
    secure(&libvirt).await;

    // A cable is pulled.
    let mut left = viewer(2);
    heard(&mut events, |event| matches!(event, Told::Opened { channel: Channel::Inputs, .. }).then_some(()))
        .await;
    let pulled = Instant::now();
    ok("ip -n desk2 link set eth0 down");
    let end = heard(&mut events, ended).await;
    eprintln!("a pulled cable was noticed after {:?}", pulled.elapsed());
    assert_eq!((end.0.as_str(), end.1, end.2), ("kiosk-5922", EndReason::StationLost, true));
    assert!(pulled.elapsed() < Duration::from_secs(30));
    left.kill().unwrap();
    left.wait().unwrap();

    killed(&libvirt, &version, &config).await;
    for domain in libvirt.domains().await.unwrap() {
        libvirt.destroy(&domain.name).await.unwrap();
        libvirt.undefine(&domain.name).await.unwrap();
        libvirt.delete_overlay(&domain.mark.unwrap().overlay).await.unwrap();
    }
    assert!(libvirt.overlays().await.unwrap().is_empty());
    assert_eq!(ok("virsh list --all --name").trim(), "kiosk");
    assert_eq!(fs::read("/run/golden.raw").unwrap(), fs::read(golden_files().join("disk.raw")).unwrap());
}

/// The console's own port takes nobody until a ticket is issued, and nobody after it.
async fn tickets(libvirt: &Libvirt) {
    ok(
        "ip netns add desk9; rm /run/netns/desk9; touch /run/netns/desk9; mount --bind /proc/1/ns/net /run/netns/desk9",
    );
    let local = |password: &'static str| {
        tokio::task::spawn_blocking(move || picture(9, "127.0.0.1:5923", Some(password)))
    };
    assert!(!local("secret-5923").await.unwrap(), "the first password was never issued");
    let until_then = Some(Timestamp::from_seconds(4_000_000_000));
    let ticket = Ticket { password: "ticket-1".to_owned(), until: until_then };
    libvirt.set_ticket("kiosk-5923", &ticket).await.unwrap();
    assert!(local("ticket-1").await.unwrap());
    libvirt
        .set_ticket("kiosk-5923", &Ticket { until: Some(Timestamp::from_seconds(1)), ..ticket })
        .await
        .unwrap();
    assert!(!local("ticket-1").await.unwrap(), "it was taken back");
}

/// A station that knows a ticket and the broker's certificate, on a broker that asks for both.
async fn secure(libvirt: &Arc<Libvirt>) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "desks");
    let root = KeyPair::generate().unwrap();
    let trusted = authority.self_signed(&root).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["10.9.3.1".to_owned()])
        .unwrap()
        .signed_by(&key, &Issuer::new(authority, root))
        .unwrap();
    fs::write(AUTHORITIES, trusted).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let broker = Broker::new(&Settings { tls: Some(Arc::new(tls)), ..Settings::default() }).unwrap();
    let listener = TcpListener::bind("10.9.3.1:5907").await.unwrap();
    let mut events = broker.events();
    tokio::spawn(hand_over(libvirt.clone(), broker.clone()));
    let served = broker.clone();
    tokio::spawn(async move { served.serve(listener).await });
    let bound = Binding {
        tls: true,
        ticket: Some("for one".to_owned().try_into().unwrap()),
        ..binding("kiosk-5924", [10, 9, 3, 2].into(), Backend::Descriptor)
    };
    broker.bind(bound).unwrap();
    let view = |address: &'static str, ticket: &'static str| {
        tokio::task::spawn_blocking(move || picture(3, address, Some(ticket)))
    };
    assert!(!view("10.9.3.1:5907", "for one").await.unwrap(), "without TLS");
    assert!(!view("10.9.3.1?tls-port=5907", "a guess").await.unwrap(), "with a wrong ticket");
    let seen = view("10.9.3.1?tls-port=5907", "for one").await.unwrap();
    assert!(seen, "{}", fs::read_to_string("/run/picture.log").unwrap());
    let secure = heard(&mut events, |event| match event {
        Told::Opened { tls, .. } => Some(*tls),
        _ => None,
    });
    assert!(secure.await);
}

/// libvirtd is killed and comes back: VMs run on, marks are what they were.
async fn killed(libvirt: &Libvirt, version: &str, config: &Config) {
    let mut events: mpsc::Receiver<Event> = libvirt.events();
    let mut mark: Mark = request(config, 5924, 1, version).mark;
    mark.state = MarkState::Used;
    libvirt.set_mark("kiosk-5924", &mark).await.unwrap();
    ok("kill -9 $(cat /run/libvirtd.pid)");
    let closed = async { while events.recv().await.unwrap() != Event::Closed {} };
    timeout(PATIENCE, closed).await.expect("nobody told that the connection broke");
    assert!(libvirt.domains().await.is_err());
    ok("/usr/sbin/libvirtd --daemon --pid-file /run/libvirtd.pid");
    let opened = async { while events.recv().await.unwrap() != Event::Opened {} };
    timeout(PATIENCE, opened).await.expect("the connection was not opened again");
    let domains = libvirt.domains().await.unwrap();
    assert!(domains.len() == 4 && domains.iter().all(|domain| domain.power == Power::Running), "{domains:?}");
    let found = domains.into_iter().find(|domain| domain.name == "kiosk-5924").unwrap();
    assert_eq!(found.mark, Some(mark));
}

/// A domain's generation id.
fn generation(name: &str) -> String {
    ok(&format!("virsh dumpxml {name} | grep '<genid>.*</genid>'"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside of namespaces that another test makes"]
async fn inside_instant() {
    let config = config("instant = true\nboot_seconds = 25\n");
    let libvirt = opened(&config).await;
    let version = libvirt.golden().await.unwrap().version;
    let first = request(&config, 5921, 1, &version);
    libvirt.create(&first).await.unwrap();
    // There is no image yet, so the first one boots, and the image is made meanwhile.
    assert_eq!(libvirt.start(&first.name, Start::Instant).await.unwrap(), Start::Cold);
    let image = PathBuf::from(format!("/run/images/kiosk.{version}.fingerprint"));
    until("a memory image is made", || image.exists()).await;
    assert!(serial("kiosk-5920").contains("BOOTED"), "the template had time to boot");
    let mut generations = BTreeSet::from([generation("kiosk"), generation(&first.name)]);
    assert_eq!(generations.len(), 2);
    for port in [5922, 5923] {
        let vm = request(&config, port, 1, &version);
        let began = Instant::now();
        libvirt.create(&vm).await.unwrap();
        assert_eq!(libvirt.start(&vm.name, Start::Instant).await.unwrap(), Start::Instant);
        until("a VM goes on", || serial(&vm.name).contains("ALIVE")).await;
        eprintln!("a VM woke in {:?}", began.elapsed());
        assert!(!serial(&vm.name).contains("BOOTED"));
        // libvirt draws another one whenever a memory image is restored.
        assert!(generations.insert(generation(&vm.name)), "it does not know that it is a copy");
        let cards = ok(&format!("virsh domiflist {}", vm.name));
        let mac = vm.mac.map(|octet| format!("{octet:02x}")).join(":");
        assert!(cards.contains(&mac), "{cards}");
        until("the guest sees its card", || serial(&vm.name).contains("eth0")).await;
    }
    // A used VM is replaced by one that wakes.
    let (used, next) = (request(&config, 5923, 1, &version), request(&config, 5923, 2, &version));
    let began = Instant::now();
    libvirt.destroy(&used.name).await.unwrap();
    libvirt.undefine(&used.name).await.unwrap();
    libvirt.delete_overlay(&used.mark.overlay).await.unwrap();
    fs::remove_file("/run/serial.kiosk-5923").unwrap();
    libvirt.create(&next).await.unwrap();
    assert_eq!(libvirt.start(&next.name, Start::Instant).await.unwrap(), Start::Instant);
    until("the next VM goes on", || serial(&next.name).contains("ALIVE")).await;
    eprintln!("a used VM was replaced by one that woke in {:?}", began.elapsed());
    let domains = libvirt.domains().await.unwrap();
    assert_eq!(domains.len(), 3, "the template is none of the pool's VMs");
    // An image of another QEMU is none of ours: the VM boots.
    fs::write(&image, "qemu 1").unwrap();
    let last = request(&config, 5924, 1, &version);
    libvirt.create(&last).await.unwrap();
    assert_eq!(libvirt.start(&last.name, Start::Instant).await.unwrap(), Start::Cold);
}
