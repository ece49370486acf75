//! A pool with everything around it made up, in which a schedule says what happens when: which call is answered, which
//! never, who comes, what crashes. Time is what the schedule says.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use vrouter::clock::Timestamp;
use vrouter::pool::config::Config;
use vrouter::pool::door::{DoorEvent, DoorSession, vm_of};
use vrouter::pool::fake::{FakeDoor, FakeHost, Fault};
use vrouter::pool::hypervisor::{Golden, MarkState, Resources};
use vrouter::pool::plan::plan;
use vrouter::pool::slot::{Now, State};
use vrouter::pool::state::{Call, CallError, Done, Listing, Pool, Started};

use crate::schedule::Happening;

/// Where the made-up overlays are.
const OVERLAYS: &str = "/overlays";

/// A pool and its surroundings.
pub(crate) struct World {
    config: Config,
    pub(crate) host: FakeHost,
    pub(crate) door: FakeDoor,
    pub(crate) pool: Pool,
    at: Duration,
    calls: Vec<Started>,
    hung: Vec<Started>,
    listing: Option<Listing>,
    sessions: Option<(u64, Vec<DoorSession>)>,
    /// Who was ever connected to the VM of a UUID.
    visitors: BTreeMap<String, IpAddr>,
    chance: u64,
    /// How many sessions there were.
    pub(crate) connected: usize,
}

/// The station of this number.
pub(crate) fn station(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number % 6).into()
}

impl World {
    pub(crate) fn new(slots: u16, spare: u16) -> Self {
        let text = format!(
            "base = \"kiosk\"\n[slots]\nsize = {slots}\nspare = {spare}\n[clones]\noverlay_dir = \"{OVERLAYS}\"\n\
             [session]\nidle_seconds = 60\nlongest_seconds = 600\n"
        );
        let config = Config::parse(&text).unwrap();
        let host = FakeHost::new("kiosk", Path::new(OVERLAYS));
        host.add_foreign("kiosk", None);
        host.add_foreign("kiosk-1", Some(Path::new("/elsewhere/kiosk-5921.vrouter-pool.qcow2").into()));
        let now = Now { time: Timestamp::from_seconds(1_000_000), at: Duration::ZERO };
        let mut world = Self {
            pool: Pool::new(config.clone(), false, now),
            config,
            host,
            door: FakeDoor::default(),
            at: Duration::ZERO,
            calls: Vec::new(),
            hung: Vec::new(),
            listing: None,
            sessions: None,
            visitors: BTreeMap::new(),
            chance: 1,
            connected: 0,
        };
        world.start();
        world
    }

    pub(crate) fn now(&self) -> Now {
        Now { time: Timestamp::from_seconds(1_000_000 + self.at.as_secs()), at: self.at }
    }

    /// A manager starts: it knows nothing but its configuration and what it is told.
    fn start(&mut self) {
        self.pool = Pool::new(self.config.clone(), false, self.now());
        self.calls.clear();
        (self.listing, self.sessions) = (None, None);
        // What was told while nobody listened is not told again.
        self.door.take_events();
        self.look();
    }

    /// The manager asks for everything and gets it at once.
    fn look(&mut self) {
        let asked = self.pool.ask();
        let (Ok(domains), Ok(overlays), Ok(sessions)) =
            (self.host.domains(), self.host.overlays(), self.door.sessions_now())
        else {
            return;
        };
        self.hear();
        self.pool.door(&DoorEvent::Opened, self.now());
        self.pool.golden_is(self.host.golden().ok());
        self.pool.host(self.host.resources().ok());
        let now = self.now();
        self.pool.listed(&Listing { asked, domains, overlays }, &sessions, now);
    }

    fn hear(&mut self) {
        let now = self.now();
        for event in self.door.take_events() {
            self.pool.door(&event, now);
        }
    }

    pub(crate) fn happen(&mut self, happening: &Happening) {
        let now = self.now();
        match happening {
            Happening::Pass(tenths) => self.at += Duration::from_millis(100 * u64::from(*tenths)),
            Happening::Arrive(number) => self.pool.arrive(station(*number), now),
            Happening::Leave(number) => self.pool.leave(station(*number)),
            Happening::Connect(number) => self.connect(station(*number)),
            Happening::Disconnect(number) => self.door.disconnect(station(*number)),
            Happening::Idle(number, seconds) => {
                self.door.idle(station(*number), Duration::from_secs(u64::from(*seconds)));
            }
            Happening::Answer(number, fault) => {
                if let Some(call) = take(&mut self.calls, *number) {
                    self.answer(&call, *fault);
                }
            }
            Happening::Calm(count) => {
                for _ in 0..*count {
                    self.happen(&Happening::Answer(0, None));
                    self.happen(&Happening::Pass(1));
                }
            }
            Happening::Visit(number) => {
                self.happen(&Happening::Arrive(*number));
                self.happen(&Happening::Calm(12));
                self.happen(&Happening::Connect(*number));
            }
            Happening::Hang(number) => {
                if let Some(call) = take(&mut self.calls, *number) {
                    let error = CallError { text: "no answer".to_owned(), unreached: true };
                    self.pool.done(&call.name, call.number, Err(error), now);
                    self.hung.push(call);
                }
            }
            Happening::Act(number) => {
                if let Some(call) = take(&mut self.hung, *number) {
                    let _ = self.act(&call);
                }
            }
            Happening::Hear => self.hear(),
            Happening::List => self.list(),
            Happening::Sessions => self.ask_broker(),
            Happening::CrashManager => {
                self.hung.append(&mut self.calls);
                self.start();
            }
            Happening::CrashBroker => {
                self.door.restart();
                self.pool.door(&DoorEvent::Closed, now);
            }
            Happening::Reboot => {
                self.host.reboot();
                self.door.restart();
                self.hung.clear();
                self.start();
            }
            Happening::LoseHypervisor => self.pool.hypervisor(false),
            Happening::GuestEnds(number) => {
                let name = self.config.vm_name(5921 + u16::from(*number % 4));
                self.host.guest_ends(&name);
            }
            Happening::GuestRestarts(number) => {
                let name = self.config.vm_name(5921 + u16::from(*number % 4));
                self.pool.guest_restarted(&name, now);
            }
            Happening::Publish(version) => {
                let version = format!("v{version}");
                self.host.set_golden(Golden { version, memory: 1 << 28, fault: None });
                self.pool.golden_is(self.host.golden().ok());
            }
            Happening::Memory(there) => {
                let memory = if *there { 1 << 40 } else { 1 << 20 };
                self.host.set_resources(Resources { memory, disk: 1 << 40 });
                self.pool.host(self.host.resources().ok());
            }
            Happening::Recycle(number) => {
                let _ = self.pool.recycle(&(5921 + u16::from(*number % 4)).to_string(), now);
            }
            Happening::Quarantine(number) => {
                let _ = self.pool.quarantine(&(5921 + u16::from(*number % 4)).to_string(), now);
            }
            Happening::Clear => self.pool.clear(now),
            Happening::Drain(draining) => self.pool.drain(*draining),
        }
        self.go_on();
    }

    /// A call is answered, well or in some other way.
    fn answer(&mut self, call: &Started, fault: Option<Fault>) {
        self.host.fail(fault);
        let of_door = matches!(call.call, Call::Bind(_) | Call::Unbind(_) | Call::Kick(Some(_)));
        let result = match fault {
            Some(fault) if of_door => {
                if fault == Fault::Unanswered {
                    let _ = self.act(call);
                }
                Err(CallError { text: "the broker is away".to_owned(), unreached: true })
            }
            _ => self.act(call),
        };
        self.host.heal();
        let now = self.now();
        self.pool.done(&call.name, call.number, result, now);
    }

    /// What the manager does after whatever happens.
    fn go_on(&mut self) {
        let now = self.now();
        self.pool.tick(now);
        for action in plan(&self.pool, now) {
            let mut chance = self.chance;
            let started = self.pool.begin(&action, now, &mut || {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                chance
            });
            self.chance = chance;
            self.calls.push(started.unwrap_or_else(|| panic!("{action:?} fits no more")));
        }
        for stray in self.pool.take_strays() {
            let _ = self.door.kick_now(&stray);
        }
        for record in self.pool.take_records() {
            let (domains, overlays) = self.host.everything();
            assert!(!domains.iter().any(|(_, uuid, _)| *uuid == record.uuid), "{record:?} is not gone");
            assert!(!overlays.contains(&record.overlay), "{record:?} left an overlay");
        }
    }

    fn list(&mut self) {
        let asked = self.pool.ask();
        let fresh = self.host.domains().ok().zip(self.host.overlays().ok());
        let fresh = fresh.map(|(domains, overlays)| Listing { asked, domains, overlays });
        if let Some(listing) = std::mem::replace(&mut self.listing, fresh) {
            let now = self.now();
            self.pool.listed(&listing, &[], now);
        }
    }

    fn ask_broker(&mut self) {
        let asked = self.pool.ask();
        let fresh = self.door.sessions_now().ok().map(|sessions| (asked, sessions));
        if let Some((asked, sessions)) = std::mem::replace(&mut self.sessions, fresh) {
            let now = self.now();
            // Answers and events come by one connection, in order.
            self.hear();
            self.pool.door_sessions(&sessions, asked, now);
        }
    }

    /// A viewer connects. Here the laws are held: nobody gets into a VM that another station was in, or that is not marked.
    fn connect(&mut self, station: IpAddr) {
        let Some(id) = self.door.connect(station) else { return };
        let name = vm_of(&id);
        let (domains, _) = self.host.everything();
        let Some((_, uuid, mark)) = domains.iter().find(|(other, ..)| other == name) else { return };
        // A binding that is left from an earlier VM of the slot does not know what this one's console is opened with.
        if self.host.password(name) != self.door.password(&id) {
            return;
        }
        let state = mark.as_ref().unwrap().state;
        assert!(
            !matches!(state, MarkState::Clean | MarkState::Creating),
            "{name} is used while marked {state:?}"
        );
        let first = *self.visitors.entry(uuid.clone()).or_insert_with(|| {
            self.connected += 1;
            station
        });
        assert_eq!(first, station, "{name} ({uuid}) was another station's");
    }

    fn act(&self, started: &Started) -> Result<Done, CallError> {
        let name = &started.name;
        let of_door =
            |error: vrouter::pool::door::DoorError| CallError { text: error.to_string(), unreached: true };
        let answer = match &started.call {
            Call::Create(clone) => self.host.create(clone),
            Call::Start(how) => match self.host.start(name, *how) {
                Ok(how) => return Ok(Done::Started(how)),
                Err(error) => Err(error),
            },
            Call::SetMark(mark) => self.host.set_mark(name, mark),
            Call::SetTicket(ticket) => self.host.set_ticket(name, ticket),
            Call::Bind(binding) => return self.door.bind_now(binding).map(|()| Done::Done).map_err(of_door),
            Call::Unbind(id) => return self.door.unbind_now(id).map(Done::Unbound).map_err(of_door),
            Call::Kick(Some(id)) => {
                return self.door.kick_now(id).map(|()| Done::Done).map_err(of_door);
            }
            Call::Destroy => self.host.destroy(name),
            Call::Undefine => self.host.undefine(name),
            Call::DeleteOverlay(None) | Call::Kick(None) => Ok(()),
            Call::DeleteOverlay(Some(overlay)) => self.host.delete_overlay(overlay),
        };
        answer
            .map(|()| Done::Done)
            .map_err(|error| CallError { text: error.to_string(), unreached: error.is_transient() })
    }

    /// Everybody goes, nothing fails any more, and time passes.
    pub(crate) fn settle(&mut self) {
        for number in 0..6 {
            self.happen(&Happening::Leave(number));
            self.happen(&Happening::Disconnect(number));
        }
        self.happen(&Happening::Drain(false));
        self.happen(&Happening::Memory(true));
        while !self.hung.is_empty() {
            self.happen(&Happening::Act(0));
        }
        for slot in 0..4 {
            if self.pool.slots().values().any(|s| s.state() == State::Quarantined) {
                self.happen(&Happening::Recycle(slot));
            }
        }
        for round in 0..120 {
            while !self.calls.is_empty() {
                self.happen(&Happening::Answer(0, None));
            }
            self.pool.door(&DoorEvent::Opened, self.now());
            self.happen(&Happening::Hear);
            self.happen(&Happening::List);
            self.happen(&Happening::Sessions);
            self.happen(&Happening::Pass(70));
            if round > 2 && self.is_full() && self.calls.is_empty() {
                break;
            }
        }
    }

    /// Whether every slot has a clean VM of the newest version.
    pub(crate) fn is_full(&self) -> bool {
        let newest = self.host.golden().unwrap().version;
        let clean = self.pool.slots().values().filter(|slot| slot.state() == State::Clean);
        let clean = clean.filter(|slot| slot.golden == newest && !slot.used).count();
        clean >= usize::from(self.config.spare())
            && self.pool.slots().len() == usize::from(self.config.slots.size)
    }

    /// Whether the host has what the pool knows, and nothing else but what others own.
    pub(crate) fn check_host(&self) {
        let (domains, overlays) = self.host.everything();
        let foreign = domains.iter().filter(|(.., mark)| mark.is_none()).count();
        assert_eq!(foreign, 2, "foreign domains were touched: {domains:?}");
        assert!(overlays.iter().any(|overlay| overlay.starts_with("/elsewhere")), "{overlays:?}");
        let known: Vec<_> = self.pool.slots().values().filter(|slot| slot.state() != State::Empty).collect();
        assert_eq!(domains.len() - 2, known.len(), "{domains:?}");
        assert_eq!(overlays.len() - 1, known.len(), "{overlays:?}");
        for slot in known {
            assert!(!self.visitors.contains_key(&slot.uuid), "{} was used and is kept", slot.name);
        }
    }
}

fn take(calls: &mut Vec<Started>, number: u8) -> Option<Started> {
    (!calls.is_empty()).then(|| calls.remove(usize::from(number) % calls.len()))
}
