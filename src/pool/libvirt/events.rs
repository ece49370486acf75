//! libvirt's events: from its own loop, through C callbacks, into a bounded channel. Nothing of ours blocks or panics in a
//! callback. The one file of the pool that speaks with C; called by `connection.rs`.

#![expect(unsafe_code, reason = "the bindings have no safe wrapper for events")]

use std::ffi::CStr;
use std::net::IpAddr;
use std::os::raw::{c_char, c_int, c_ulonglong, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use virt::connect::Connect;
use virt::error::Error;
use virt::{event, sys};

use super::call::failed;
use crate::pool::hypervisor::{Answer, Event, GraphicsPhase, HypervisorError, Lifecycle};

/// How many events may wait to be taken.
const EVENTS: usize = 1024;
/// How many VMs may wait to be ended because their overlay is full.
const FULL: usize = 256;
/// How long the loop pauses when the library says that it failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Where events go: to whoever asked last.
#[derive(Debug, Default)]
pub(super) struct Sink {
    /// Who ends VMs whose overlay is full.
    full: OnceLock<mpsc::Sender<String>>,
    listener: Mutex<Option<mpsc::Sender<Event>>>,
    lost: AtomicBool,
}

impl Sink {
    /// A new listener, who takes the place of the former.
    pub(super) fn subscribe(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        *self.listener.lock() = Some(sender);
        self.lost.store(false, Ordering::Relaxed);
        receiver
    }

    /// The names of VMs whose overlay is full. To be asked for once.
    pub(super) fn full(&self) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel(FULL);
        // A second caller gets a channel that has ended.
        let _ = self.full.set(sender);
        receiver
    }

    /// Passes an event on without waiting. What finds no room is told as lost as soon as there is some.
    pub(super) fn tell(&self, event: Event) {
        let listener = self.listener.lock();
        let Some(listener) = listener.as_ref() else { return };
        if self.lost.load(Ordering::Relaxed) && listener.try_send(Event::Lost).is_ok() {
            self.lost.store(false, Ordering::Relaxed);
        }
        if self.lost.load(Ordering::Relaxed) || listener.try_send(event).is_err() {
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

/// Starts the library's loop, once in the life of the process.
pub(super) fn start() -> Answer<()> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        // What fails is told by whoever called; the library would write it to standard error as well.
        virt::error::clear_error_callback();
        event::event_register_default_impl().map_err(|error| error.message().to_owned())?;
        let run = || {
            loop {
                if let Err(error) = event::event_run_default_impl() {
                    tracing::warn!(error = error.message(), "libvirt's events");
                    std::thread::sleep(PAUSE);
                }
            }
        };
        std::thread::Builder::new()
            .name("libvirt-events".to_owned())
            .spawn(run)
            .map(drop)
            .map_err(|error| error.to_string())
    });
    started.clone().map_err(|message| HypervisorError::Refused { call: "starting libvirt's events", message })
}

/// A callback of any event, as the library takes it.
type Generic = sys::virConnectDomainEventGenericCallback;

/// What a callback is given: libvirt owns a reference until it says that it needs it no more.
struct Context {
    sink: Arc<Sink>,
    closed: Arc<Notify>,
}

/// Asks for the events of a connection.
pub(super) fn register(connection: &Connect, sink: &Arc<Sink>, closed: &Arc<Notify>) -> Answer<()> {
    const CALL: &str = "asking for events";
    let context = || {
        let context = Context { sink: sink.clone(), closed: closed.clone() };
        Arc::into_raw(Arc::new(context)).cast_mut().cast::<c_void>()
    };
    // SAFETY: the callbacks have the signatures that libvirt documents for their events; the library takes all of them
    // as the generic type and calls each by its own (`virConnectDomainEventRegisterAny`).
    let callbacks: [(sys::virDomainEventID, Generic); 4] = unsafe {
        [
            (
                sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                std::mem::transmute::<sys::virConnectDomainEventCallback, Generic>(Some(lifecycle)),
            ),
            (sys::VIR_DOMAIN_EVENT_ID_REBOOT, Some(reboot)),
            (
                sys::VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD,
                std::mem::transmute::<sys::virConnectDomainEventBlockThresholdCallback, Generic>(Some(
                    threshold,
                )),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_GRAPHICS,
                std::mem::transmute::<sys::virConnectDomainEventGraphicsCallback, Generic>(Some(graphics)),
            ),
        ]
    };
    for (number, callback) in callbacks {
        let opaque = context();
        let number = c_int::try_from(number).unwrap_or(c_int::MAX);
        // SAFETY: the connection is open; `opaque` is a reference that `release` gives back exactly once.
        let registered = unsafe {
            sys::virConnectDomainEventRegisterAny(
                connection.as_ptr(),
                std::ptr::null_mut(),
                number,
                callback,
                opaque,
                Some(release),
            )
        };
        if registered < 0 {
            let error = Error::last_error();
            // SAFETY: libvirt did not take the reference, because it refused.
            unsafe { release(opaque) };
            return Err(failed(CALL)(error));
        }
    }
    let opaque = context();
    // SAFETY: as above.
    let registered = unsafe {
        sys::virConnectRegisterCloseCallback(connection.as_ptr(), Some(close), opaque, Some(release))
    };
    if registered < 0 {
        // Drivers inside of this process never close by themselves.
        // SAFETY: libvirt did not take the reference.
        unsafe { release(opaque) };
    }
    Ok(())
}

/// Gives back the reference that a callback was registered with.
unsafe extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: `register` made it from an `Arc`, and libvirt calls this once for each registration.
    drop(unsafe { Arc::from_raw(opaque.cast::<Context>()) });
}

/// Borrows what a callback was registered with.
unsafe fn borrow<'a>(opaque: *mut c_void) -> &'a Context {
    // SAFETY: libvirt calls no callback after `release`.
    unsafe { &*opaque.cast::<Context>() }
}

fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: libvirt's strings end with a zero octet and live as long as the callback runs.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

fn name(domain: sys::virDomainPtr) -> Option<String> {
    // SAFETY: the domain is valid while the callback runs, and so is its name.
    text(unsafe { sys::virDomainGetName(domain) })
}

unsafe extern "C" fn lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    what: c_int,
    _: c_int,
    opaque: *mut c_void,
) -> c_int {
    let what = match u32::try_from(what).unwrap_or(u32::MAX) {
        sys::VIR_DOMAIN_EVENT_UNDEFINED => Lifecycle::Undefined,
        sys::VIR_DOMAIN_EVENT_STARTED => Lifecycle::Started,
        sys::VIR_DOMAIN_EVENT_STOPPED | sys::VIR_DOMAIN_EVENT_CRASHED => Lifecycle::Stopped,
        _ => return 0,
    };
    if let Some(name) = name(domain) {
        // SAFETY: it is what this callback was registered with.
        unsafe { borrow(opaque) }.sink.tell(Event::Lifecycle { name, what });
    }
    0
}

unsafe extern "C" fn reboot(_: sys::virConnectPtr, domain: sys::virDomainPtr, opaque: *mut c_void) {
    if let Some(name) = name(domain) {
        // SAFETY: it is what this callback was registered with.
        unsafe { borrow(opaque) }.sink.tell(Event::Lifecycle { name, what: Lifecycle::Rebooted });
    }
}

unsafe extern "C" fn graphics(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    phase: c_int,
    _: *const sys::virDomainEventGraphicsAddress,
    remote: *const sys::virDomainEventGraphicsAddress,
    _: *const c_char,
    _: *const sys::virDomainEventGraphicsSubject,
    opaque: *mut c_void,
) {
    let phase = match u32::try_from(phase).unwrap_or(u32::MAX) {
        sys::VIR_DOMAIN_EVENT_GRAPHICS_CONNECT => GraphicsPhase::Connected,
        sys::VIR_DOMAIN_EVENT_GRAPHICS_INITIALIZE => GraphicsPhase::Initialized,
        sys::VIR_DOMAIN_EVENT_GRAPHICS_DISCONNECT => GraphicsPhase::Disconnected,
        _ => return,
    };
    // SAFETY: libvirt's structure lives as long as the callback runs, if it is there.
    let node = unsafe { remote.as_ref() }.and_then(|remote| text(remote.node));
    let peer = node.and_then(|node| node.parse::<IpAddr>().ok());
    if let Some(name) = name(domain) {
        // SAFETY: it is what this callback was registered with.
        unsafe { borrow(opaque) }.sink.tell(Event::Graphics { name, phase, peer });
    }
}

unsafe extern "C" fn threshold(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: *const c_char,
    _: *const c_char,
    _: c_ulonglong,
    _: c_ulonglong,
    opaque: *mut c_void,
) {
    // SAFETY: it is what this callback was registered with.
    let sink = &unsafe { borrow(opaque) }.sink;
    if let (Some(name), Some(full)) = (name(domain), sink.full.get())
        && full.try_send(name.clone()).is_err()
    {
        tracing::error!(vm = name, "its overlay is full, and nobody is there to end it");
    }
}

unsafe extern "C" fn close(_: sys::virConnectPtr, _: c_int, opaque: *mut c_void) {
    // SAFETY: it is what this callback was registered with.
    unsafe { borrow(opaque) }.closed.notify_one();
}
