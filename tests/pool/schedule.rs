//! What may happen to a pool, and the schedules of it that the laws draw.

use vrouter::pool::fake::Fault;

/// What happens next.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// Time passes, in tenths of a second.
    Pass(u8),
    /// A station asks for a VM.
    Arrive(u8),
    /// A station stops asking.
    Leave(u8),
    /// A station's viewer connects to the broker.
    Connect(u8),
    /// A station's viewer goes.
    Disconnect(u8),
    /// A station's visitor does nothing for so many seconds.
    Idle(u8, u16),
    /// One of the calls under way is answered, in some way.
    Answer(u8, Option<Fault>),
    /// So many calls are answered well, the oldest first, and a tenth of a second passes with each.
    Calm(u8),
    /// A station asks, everything is answered well for a while, and its viewer connects, if it may.
    Visit(u8),
    /// One of the calls under way gets no answer in time, and acts later or never.
    Hang(u8),
    /// One of the calls that hung acts now.
    Act(u8),
    /// The manager takes the broker's events in.
    Hear,
    /// The manager asks what there is, and what it asked before arrives.
    List,
    /// The manager asks the broker, and what it asked before arrives.
    Sessions,
    /// `kill -9` of the manager; calls under way act later or never.
    CrashManager,
    /// The broker dies.
    CrashBroker,
    /// The host restarts.
    Reboot,
    /// The connection to the hypervisor is lost.
    LoseHypervisor,
    /// A guest shuts down.
    GuestEnds(u8),
    /// A guest restarts.
    GuestRestarts(u8),
    /// The golden image gets a new version.
    Publish(u8),
    /// The host's memory runs out, or is there again.
    Memory(bool),
    /// An operator recycles a slot.
    Recycle(u8),
    /// An operator keeps a slot.
    Quarantine(u8),
    /// An operator clears everything.
    Clear,
    /// The pool hands nothing out, or does again.
    Drain(bool),
}

/// What three octets stand for. Schedules are drawn as octets because drawing them is most of the work otherwise, and they
/// shrink as well. Left to chance alone, next to no station would be asked in, answered and connected in this order, so there
/// are whole visits among what happens.
pub(crate) fn happening([kind, who, how]: [u8; 3]) -> Happening {
    let fault = match how % 12 {
        0 => Some(Fault::Refused),
        1 => Some(Fault::Unanswered),
        2 => Some(Fault::Disconnected),
        3 => Some(Fault::NoRoom),
        _ => None,
    };
    match kind % 72 {
        0..14 => Happening::Answer(who, fault),
        14..21 => Happening::Calm(1 + who % 12),
        21..24 => Happening::Visit(who),
        24..28 => Happening::Pass(1 + who % 40),
        28..34 => Happening::Arrive(who),
        34..40 => Happening::Connect(who),
        40..45 => Happening::Hear,
        45..48 => Happening::List,
        48..51 => Happening::Sessions,
        51..53 => Happening::Disconnect(who),
        53..55 => Happening::Act(who),
        55 => Happening::Leave(who),
        56 => Happening::Idle(who, u16::from(how)),
        57 => Happening::Hang(who),
        58 => Happening::CrashManager,
        59 => Happening::CrashBroker,
        60 => Happening::Reboot,
        61 => Happening::LoseHypervisor,
        62 => Happening::GuestEnds(who),
        63 => Happening::Publish(who % 6),
        64 => Happening::Memory(how % 2 == 0),
        65 => Happening::Recycle(who),
        66 => Happening::Quarantine(who),
        67 => Happening::Clear,
        68 => Happening::Drain(how % 2 == 0),
        69 => Happening::GuestRestarts(who),
        _ => Happening::Hear,
    }
}
