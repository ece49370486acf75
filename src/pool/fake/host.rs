//! A host with a hypervisor that is made up: its domains, marks and overlays outlive whoever asks for them, as libvirt's
//! do. Synchronous, so that the laws can stop between any two calls; `FakeHypervisor` waits around it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use super::world::Fault;
use super::world::{FakeDomain, World};
use crate::pool::hypervisor::{
    Answer, CloneRequest, Domain, Event, Golden, HypervisorError, Lifecycle, Mark, OVERLAY_SUFFIX, Power,
    Resources, Start, Ticket,
};

/// Octets of memory that one made-up VM takes.
const VM_MEMORY: u64 = 256 << 20;

/// A domain as [`FakeHost::everything`] shows it: its name, its UUID, and its mark where it has one.
pub type Shown = (String, String, Option<Mark>);

/// A made-up host.
#[derive(Debug)]
pub struct FakeHost {
    pool: String,
    overlay_dir: PathBuf,
    world: Mutex<World>,
}

impl FakeHost {
    /// A host with nothing on it but a golden domain, for the pool of this name.
    #[must_use]
    pub fn new(pool: &str, overlay_dir: &Path) -> Self {
        let world = World {
            domains: BTreeMap::new(),
            overlays: BTreeSet::new(),
            golden: Golden { version: "1".to_owned(), memory: VM_MEMORY, fault: None },
            resources: Resources { memory: 1 << 40, disk: 1 << 40 },
            networks: Vec::new(),
            faults: VecDeque::new(),
            events: VecDeque::new(),
            calls: 0,
            stop_at: None,
        };
        Self { pool: pool.to_owned(), overlay_dir: overlay_dir.to_owned(), world: Mutex::new(world) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next calls go wrong like this, one each.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.world().faults.extend(faults);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.world().faults.clear();
    }

    /// The golden domain has another content now.
    pub fn set_golden(&self, golden: Golden) {
        self.world().golden = golden;
    }

    /// The host has so much left.
    pub fn set_resources(&self, resources: Resources) {
        self.world().resources = resources;
    }

    /// A guest shuts down, or its QEMU crashes.
    pub fn guest_ends(&self, name: &str) {
        let mut world = self.world();
        if let Some(domain) = world.domains.get_mut(name)
            && domain.power == Power::Running
        {
            domain.power = Power::Off;
            world.tell(name, Lifecycle::Stopped);
        }
    }

    /// A guest restarts.
    pub fn guest_restarts(&self, name: &str) {
        self.world().tell(name, Lifecycle::Rebooted);
    }

    /// The host is restarted: nothing runs any more.
    pub fn reboot(&self) {
        let mut world = self.world();
        for domain in world.domains.values_mut() {
            domain.power = Power::Off;
        }
        world.events.clear();
    }

    /// Somebody else's domain or overlay appears.
    pub fn add_foreign(&self, name: &str, overlay: Option<PathBuf>) {
        let mut world = self.world();
        let domain = FakeDomain {
            uuid: format!("foreign-{name}"),
            power: Power::Running,
            mark: None,
            port: 0,
            password: None,
            foreign: true,
        };
        world.domains.insert(name.to_owned(), domain);
        world.overlays.extend(overlay);
    }

    /// An overlay without a domain appears, as a crash leaves one.
    pub fn add_overlay(&self, overlay: PathBuf) {
        self.world().overlays.insert(overlay);
    }

    /// Everything that is on the host: each domain with its mark and UUID, and every overlay.
    #[must_use]
    pub fn everything(&self) -> (Vec<Shown>, Vec<PathBuf>) {
        let world = self.world();
        let domain =
            |(name, domain): (&String, &FakeDomain)| (name.clone(), domain.uuid.clone(), domain.mark.clone());
        (world.domains.iter().map(domain).collect(), world.overlays.iter().cloned().collect())
    }

    /// From the call of this number on, nothing is done any more: it is where a manager is killed. `done` says whether that
    /// call itself is still done.
    pub fn stop_at(&self, call: u64, done: bool) {
        self.world().stop_at = Some((call, done));
    }

    /// Whether nothing is done any more.
    #[must_use]
    pub fn stopped(&self) -> bool {
        let world = self.world();
        world.stop_at.is_some_and(|(at, _)| world.calls >= at)
    }

    /// Calls are done again.
    pub fn go_on(&self) {
        self.world().stop_at = None;
    }

    /// The port of a domain's console.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<u16> {
        self.world().domains.get(name).map(|domain| domain.port)
    }

    /// What a domain's console is opened with, if it is open.
    #[must_use]
    pub fn password(&self, name: &str) -> Option<String> {
        let world = self.world();
        let domain = world.domains.get(name).filter(|domain| domain.power == Power::Running);
        domain.and_then(|domain| domain.password.clone())
    }

    /// How many calls were made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.world().calls
    }

    /// Whether everything that happened was taken.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.world().events.is_empty()
    }

    /// Takes what happened.
    pub fn take_events(&self) -> Vec<Event> {
        self.world().events.drain(..).collect()
    }

    /// See [`crate::pool::hypervisor::Hypervisor::domains`].
    ///
    /// # Errors
    /// As a fault says.
    pub fn domains(&self) -> Answer<Vec<Domain>> {
        self.call("domains", |world| {
            let ours = world.domains.iter().filter(|(_, domain)| !domain.foreign);
            Ok(ours
                .map(|(name, domain)| Domain {
                    name: name.clone(),
                    uuid: domain.uuid.clone(),
                    power: domain.power,
                    mark: domain.mark.clone().filter(|mark| mark.uuid == domain.uuid),
                    console: (domain.power == Power::Running)
                        .then(|| (std::net::Ipv4Addr::LOCALHOST, domain.port).into()),
                })
                .collect())
        })
    }

    /// See [`crate::pool::hypervisor::Hypervisor::overlays`].
    ///
    /// # Errors
    /// As a fault says.
    pub fn overlays(&self) -> Answer<Vec<PathBuf>> {
        self.call("overlays", |world| {
            Ok(world.overlays.iter().filter(|o| self.is_ours(o)).cloned().collect())
        })
    }

    /// See [`crate::pool::hypervisor::Hypervisor::create`].
    ///
    /// # Errors
    /// As there.
    pub fn create(&self, clone: &CloneRequest) -> Answer<()> {
        self.call("create", |world| {
            if world.domains.contains_key(&clone.name) {
                return Err(HypervisorError::Exists(clone.name.clone()));
            }
            // What an earlier visitor wrote is never what a new VM starts with.
            if world.overlays.contains(&clone.mark.overlay) {
                return Err(HypervisorError::Exists(clone.mark.overlay.display().to_string()));
            }
            if let Some(fault) = &world.golden.fault {
                return Err(HypervisorError::Refused { call: "create", message: fault.clone() });
            }
            let domain = FakeDomain {
                uuid: clone.uuid.clone(),
                power: Power::Off,
                mark: Some(clone.mark.clone()),
                port: clone.console.port(),
                password: None,
                foreign: false,
            };
            world.overlays.insert(clone.mark.overlay.clone());
            world.domains.insert(clone.name.clone(), domain);
            Ok(())
        })
    }

    /// See [`crate::pool::hypervisor::Hypervisor::start`].
    ///
    /// # Errors
    /// As there.
    pub fn start(&self, name: &str, how: Start) -> Answer<Start> {
        self.call("start", |world| {
            let domain = world.ours(name)?;
            // What it was opened with does not outlive its running.
            (domain.power, domain.password) = (Power::Running, None);
            world.tell(name, Lifecycle::Started);
            Ok(how)
        })
    }

    /// See [`crate::pool::hypervisor::Hypervisor::set_mark`].
    ///
    /// # Errors
    /// As there.
    pub fn set_mark(&self, name: &str, mark: &Mark) -> Answer<()> {
        self.call("set_mark", |world| {
            let domain = world.ours(name)?;
            if domain.uuid != mark.uuid {
                return Err(HypervisorError::NotOurs(format!("{name} with UUID {}", domain.uuid)));
            }
            domain.mark = Some(mark.clone());
            Ok(())
        })
    }

    /// See [`crate::pool::hypervisor::Hypervisor::destroy`].
    ///
    /// # Errors
    /// As there.
    pub fn destroy(&self, name: &str) -> Answer<()> {
        self.call("destroy", |world| {
            match world.ours(name) {
                Err(HypervisorError::NotFound(_)) => return Ok(()),
                domain => domain?.power = Power::Off,
            }
            world.tell(name, Lifecycle::Stopped);
            Ok(())
        })
    }

    /// See [`crate::pool::hypervisor::Hypervisor::undefine`].
    ///
    /// # Errors
    /// As there.
    pub fn undefine(&self, name: &str) -> Answer<()> {
        self.call("undefine", |world| {
            match world.ours(name) {
                Err(HypervisorError::NotFound(_)) => return Ok(()),
                Ok(domain) if domain.power == Power::Running => {
                    let message = format!("{name} runs");
                    return Err(HypervisorError::Refused { call: "undefine", message });
                }
                domain => domain.map(|_| ())?,
            }
            world.domains.remove(name);
            world.tell(name, Lifecycle::Undefined);
            Ok(())
        })
    }

    /// See [`crate::pool::hypervisor::Hypervisor::delete_overlay`].
    ///
    /// # Errors
    /// As there.
    pub fn delete_overlay(&self, overlay: &Path) -> Answer<()> {
        self.call("delete_overlay", |world| {
            if !self.is_ours(overlay) {
                return Err(HypervisorError::NotOurs(overlay.display().to_string()));
            }
            world.overlays.remove(overlay);
            Ok(())
        })
    }

    /// See [`crate::pool::hypervisor::Hypervisor::set_ticket`].
    ///
    /// # Errors
    /// As there.
    pub fn set_ticket(&self, name: &str, ticket: &Ticket) -> Answer<()> {
        self.call("set_ticket", |world| {
            let domain = world.ours(name)?;
            if domain.power != Power::Running {
                return Err(HypervisorError::Refused {
                    call: "set_ticket",
                    message: format!("{name} is off"),
                });
            }
            // Whoever names an end means one that is over.
            domain.password = ticket.until.is_none().then(|| ticket.password.clone());
            Ok(())
        })
    }

    /// See [`crate::pool::hypervisor::Hypervisor::golden`].
    ///
    /// # Errors
    /// As a fault says.
    pub fn golden(&self) -> Answer<Golden> {
        self.call("golden", |world| Ok(world.golden.clone()))
    }

    /// See [`crate::pool::hypervisor::Hypervisor::resources`].
    ///
    /// # Errors
    /// As a fault says.
    pub fn resources(&self) -> Answer<Resources> {
        self.call("resources", |world| Ok(world.resources))
    }

    /// See [`crate::pool::hypervisor::Hypervisor::define_network`].
    ///
    /// # Errors
    /// As there.
    pub fn define_network(&self, xml: &str) -> Answer<()> {
        self.call("define_network", |world| {
            if world.networks.iter().any(|network| network == xml) {
                return Err(HypervisorError::Exists("the network".to_owned()));
            }
            world.networks.push(xml.to_owned());
            Ok(())
        })
    }

    fn is_ours(&self, overlay: &Path) -> bool {
        let name = overlay.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        overlay.parent() == Some(&self.overlay_dir)
            && name.ends_with(OVERLAY_SUFFIX)
            && name.starts_with(&format!("{}-", self.pool))
    }

    fn call<T>(&self, call: &'static str, act: impl FnOnce(&mut World) -> Answer<T>) -> Answer<T> {
        let mut world = self.world();
        world.calls = world.calls.saturating_add(1);
        if let Some((at, done)) = world.stop_at
            && world.calls >= at
        {
            if world.calls == at && done {
                // Nobody hears how it went.
                let _ = act(&mut world);
            }
            return Err(HypervisorError::Disconnected("the manager is dead".to_owned()));
        }
        match world.faults.pop_front() {
            None => act(&mut world),
            Some(Fault::Refused) => {
                Err(HypervisorError::Refused { call, message: "a fault was asked for".to_owned() })
            }
            Some(Fault::Unanswered) => {
                act(&mut world)?;
                Err(HypervisorError::Deadline { call, after: std::time::Duration::from_secs(10) })
            }
            Some(Fault::Disconnected) => {
                Err(HypervisorError::Disconnected("a fault was asked for".to_owned()))
            }
            Some(Fault::NoRoom) => Err(HypervisorError::NoRoom("the disk is full".to_owned())),
        }
    }
}
