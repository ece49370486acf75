//! What every hypervisor does alike, whichever implements the trait.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use vrouter::clock::Timestamp;
use vrouter::pool::config::Config;
use vrouter::pool::fake::{Delays, FakeHost, FakeHypervisor};
use vrouter::pool::hypervisor::{
    CloneRequest, Domain, Event, Hypervisor, HypervisorError, Lifecycle, Mark, MarkState, Power, Start,
};

/// How long a VM may take to do something on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A VM of this pool for a slot; the number tells it from an earlier one of the same slot.
pub(crate) fn request(config: &Config, port: u16, number: u8, golden: &str) -> CloneRequest {
    let uuid = format!("00000000-0000-4000-8000-{port:010}{number:02x}");
    let [high, low] = port.to_be_bytes();
    CloneRequest {
        name: config.vm_name(port),
        uuid: uuid.clone(),
        mac: [0x52, 0x54, 0, number, high, low],
        console: SocketAddr::from(([127, 0, 0, 1], port)),
        password: format!("secret-{port}"),
        overlay_limit: None,
        mark: Mark {
            pool: config.name.clone(),
            uuid: uuid.clone(),
            port,
            state: MarkState::Creating,
            since: Timestamp::from_seconds(1_800_000_000),
            station: None,
            golden: golden.to_owned(),
            overlay: config.overlay(port, &uuid),
        },
    }
}

async fn only(hypervisor: &impl Hypervisor) -> Domain {
    let mut found = hypervisor.domains().await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Waits until the hypervisor tells this of a VM.
pub(crate) async fn told(events: &mut mpsc::Receiver<Event>, vm: &str, wanted: Lifecycle) {
    let waited = async {
        loop {
            match events.recv().await.expect("the events ended") {
                Event::Lifecycle { name, what } if name == vm && what == wanted => return,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("nobody told that {vm} is {wanted:?}"));
}

/// Leads one VM through its whole life and tries at each step what must not work. No VM of the pool may be there before;
/// `foreign` is the name of a domain that carries no mark.
pub(crate) async fn suite(hypervisor: &impl Hypervisor, config: &Config, foreign: &str) {
    let golden = hypervisor.golden().await.unwrap();
    assert_eq!(golden.fault, None);
    assert!(!golden.version.is_empty() && golden.memory > 0);
    assert_eq!(hypervisor.golden().await.unwrap(), golden, "nothing changed");
    let left = hypervisor.resources().await.unwrap();
    assert!(left.memory > 0 && left.disk > 0);
    assert_eq!(hypervisor.domains().await.unwrap(), []);
    let mut events = hypervisor.events();
    let port = config.ports().next().unwrap();
    let vm = request(config, port, 1, &golden.version);

    hypervisor.create(&vm).await.unwrap();
    let made = only(hypervisor).await;
    assert_eq!((&made.name, &made.uuid, made.power), (&vm.name, &vm.uuid, Power::Off));
    assert_eq!((made.mark.as_ref(), made.console), (Some(&vm.mark), None));
    assert_eq!(hypervisor.overlays().await.unwrap(), std::slice::from_ref(&vm.mark.overlay));
    let again = hypervisor.create(&request(config, port, 2, &golden.version)).await;
    assert!(matches!(again, Err(HypervisorError::Exists(_))), "{again:?}");
    assert_eq!(only(hypervisor).await, made, "the attempt left the first one as it was");

    assert_eq!(hypervisor.start(&vm.name, Start::Cold).await.unwrap(), Start::Cold);
    told(&mut events, &vm.name, Lifecycle::Started).await;
    let runs = only(hypervisor).await;
    assert_eq!((runs.power, runs.console), (Power::Running, Some(vm.console)));
    let mark = Mark { state: MarkState::Reserved, station: Some([192, 0, 2, 7].into()), ..vm.mark.clone() };
    hypervisor.set_mark(&vm.name, &mark).await.unwrap();
    assert_eq!(only(hypervisor).await.mark.as_ref(), Some(&mark));
    let late = Mark { uuid: request(config, port, 9, "").uuid, state: MarkState::Clean, ..mark.clone() };
    let refused = hypervisor.set_mark(&vm.name, &late).await;
    assert!(matches!(refused, Err(HypervisorError::NotOurs(_))), "a mark of another VM: {refused:?}");
    assert!(hypervisor.undefine(&vm.name).await.is_err(), "it runs");
    assert_eq!(only(hypervisor).await.mark, Some(mark));

    hypervisor.destroy(&vm.name).await.unwrap();
    told(&mut events, &vm.name, Lifecycle::Stopped).await;
    hypervisor.destroy(&vm.name).await.expect("what does not run is ended already");
    hypervisor.undefine(&vm.name).await.unwrap();
    hypervisor.undefine(&vm.name).await.expect("what is not there is forgotten already");
    hypervisor.delete_overlay(&vm.mark.overlay).await.unwrap();
    hypervisor.delete_overlay(&vm.mark.overlay).await.expect("what is not there is removed already");
    assert_eq!(hypervisor.domains().await.unwrap(), []);
    assert!(hypervisor.overlays().await.unwrap().is_empty());

    let missing = hypervisor.start(&vm.name, Start::Cold).await;
    assert!(matches!(missing, Err(HypervisorError::NotFound(_))), "{missing:?}");
    let missing = hypervisor.set_mark(&vm.name, &vm.mark).await;
    assert!(matches!(missing, Err(HypervisorError::NotFound(_))), "{missing:?}");
    for name in [foreign, &config.base] {
        let refused = [
            hypervisor.destroy(name).await,
            hypervisor.undefine(name).await,
            hypervisor.set_mark(name, &vm.mark).await,
            hypervisor.start(name, Start::Cold).await.map(drop),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(HypervisorError::NotOurs(_))), "{name}: {refused:?}");
        }
    }
    for path in [Path::new("/etc/hostname"), &config.clones.overlay_dir.join("other.qcow2")] {
        let refused = hypervisor.delete_overlay(path).await;
        assert!(matches!(refused, Err(HypervisorError::NotOurs(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn the_made_up_host_does_what_every_hypervisor_does() {
    let config = Config::parse("base = 'kiosk'\n[slots]\nsize = 4\n").unwrap();
    let host = Arc::new(FakeHost::new(&config.base, &config.clones.overlay_dir));
    host.add_foreign("kiosk", None);
    host.add_foreign("kiosk-5924", None);
    suite(&FakeHypervisor::new(host, Delays::NONE), &config, "kiosk-5924").await;
}
