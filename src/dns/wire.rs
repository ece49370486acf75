//! The numbers of DNS messages, and reading them without trust: every access is checked.
//!
//! Called by everything in this room that reads or writes a message.

/// The octets of a header (RFC 1035 section 4.1.1).
pub(super) const HEADER: usize = 12;
/// The class of the Internet.
pub(super) const CLASS_IN: u16 = 1;
/// The most octets that an answer over UDP has here, whatever the client says: no fragment on any usual path.
pub(super) const MAX_UDP: u16 = 1232;
/// What a client without EDNS takes over UDP (RFC 1035 section 4.2.1).
pub(super) const MIN_UDP: u16 = 512;
/// The longest name in a message, its final zero included (RFC 1035 section 3.1).
pub(super) const MAX_NAME: usize = 255;
/// The longest label.
pub(super) const MAX_LABEL: u8 = 63;
/// The two high bits that make an octet the first of a compression pointer (RFC 1035 section 4.1.4).
pub(super) const POINTER: u8 = 0xc0;

/// Header flags, as the second 16 bits of a message.
pub(super) mod flag {
    pub(in crate::dns) const RESPONSE: u16 = 0x8000;
    pub(in crate::dns) const OPCODE: u16 = 0x7800;
    pub(in crate::dns) const AUTHORITATIVE: u16 = 0x0400;
    pub(in crate::dns) const TRUNCATED: u16 = 0x0200;
    pub(in crate::dns) const RECURSION_DESIRED: u16 = 0x0100;
    pub(in crate::dns) const RECURSION_AVAILABLE: u16 = 0x0080;
    pub(in crate::dns) const CHECKING_DISABLED: u16 = 0x0010;
    pub(in crate::dns) const RCODE: u16 = 0x000f;
    /// DNSSEC OK, in the TTL of an OPT record (RFC 6891 section 6.1.3).
    pub(in crate::dns) const DNSSEC_OK: u16 = 0x8000;
}

/// Record types that this room treats in a way of their own.
pub(super) mod kind {
    pub(in crate::dns) const A: u16 = 1;
    pub(in crate::dns) const NS: u16 = 2;
    pub(in crate::dns) const CNAME: u16 = 5;
    pub(in crate::dns) const SOA: u16 = 6;
    pub(in crate::dns) const PTR: u16 = 12;
    pub(in crate::dns) const HINFO: u16 = 13;
    pub(in crate::dns) const MX: u16 = 15;
    pub(in crate::dns) const TXT: u16 = 16;
    pub(in crate::dns) const AAAA: u16 = 28;
    pub(in crate::dns) const SRV: u16 = 33;
    pub(in crate::dns) const OPT: u16 = 41;
    pub(in crate::dns) const DS: u16 = 43;
    pub(in crate::dns) const RRSIG: u16 = 46;
    pub(in crate::dns) const NSEC: u16 = 47;
    pub(in crate::dns) const DNSKEY: u16 = 48;
    pub(in crate::dns) const HTTPS: u16 = 65;
    pub(in crate::dns) const IXFR: u16 = 251;
    pub(in crate::dns) const AXFR: u16 = 252;
    pub(in crate::dns) const ANY: u16 = 255;

    /// Whether a type asks for something else than data of one type (RFC 6895 section 3.1).
    pub(in crate::dns) const fn is_meta(kind: u16) -> bool {
        matches!(kind, 0 | OPT | 128..=255)
    }

    /// Whether validators ask for the type at the cut of a zone, at top-level domains too.
    pub(in crate::dns) const fn is_infrastructure(kind: u16) -> bool {
        matches!(kind, NS | SOA | DS | RRSIG | NSEC | DNSKEY)
    }
}

/// Response codes (RFC 6895 section 2.3); the high bits travel in OPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rcode(pub(super) u16);

impl Rcode {
    pub(super) const NOERROR: Self = Self(0);
    pub(super) const FORMERR: Self = Self(1);
    pub(super) const SERVFAIL: Self = Self(2);
    pub(super) const NXDOMAIN: Self = Self(3);
    pub(super) const NOTIMP: Self = Self(4);
    pub(super) const REFUSED: Self = Self(5);
    pub(super) const BADVERS: Self = Self(16);
}

/// The 16 bits at a place.
pub(super) fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|octets| u16::from_be_bytes(*octets))
}

/// The 32 bits at a place.
pub(super) fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

/// Where a name ends that starts at `at`, compressed or not; pointers are not followed.
pub(super) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=MAX_LABEL => at += 1 + usize::from(length),
            // A pointer ends the name; its second octet has to be there.
            POINTER.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at - start >= MAX_NAME {
            return None;
        }
    }
}

/// Where a name ends that starts at `at` and is not compressed.
pub(super) fn plain_name(message: &[u8], at: usize) -> Option<usize> {
    let end = skip_name(message, at)?;
    // A name that ends in a pointer is the only one that does not end in zero, or whose last octet is reached early.
    let mut label = at;
    while label + 1 < end {
        let length = *message.get(label)?;
        if length > MAX_LABEL {
            return None;
        }
        label += 1 + usize::from(length);
    }
    (label + 1 == end && end - at <= MAX_NAME).then_some(end)
}

/// One resource record of a message, by place.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordAt {
    pub(super) kind: u16,
    /// The payload size, for OPT.
    pub(super) class: u16,
    pub(super) ttl: u32,
    /// Where the owner starts.
    pub(super) start: usize,
    /// Where the TTL starts.
    pub(super) ttl_at: usize,
    /// Where the data starts.
    pub(super) data: usize,
    /// Where the record ends.
    pub(super) end: usize,
}

impl RecordAt {
    /// The record that starts at `start`, if all of it is there.
    pub(super) fn read(message: &[u8], start: usize) -> Option<Self> {
        let fixed = skip_name(message, start)?;
        let data = fixed + 10;
        let end = data + usize::from(u16_at(message, fixed + 8)?);
        (end <= message.len()).then_some(Self {
            kind: u16_at(message, fixed)?,
            class: u16_at(message, fixed + 2)?,
            ttl: u32_at(message, fixed + 4)?,
            start,
            ttl_at: fixed + 4,
            data,
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_end_where_they_end() {
        let message = b"\x03www\x04demo\x00\xc0\x00\x41x\x03ww";
        assert_eq!(plain_name(message, 0), Some(10));
        assert_eq!(plain_name(message, 4), Some(10));
        assert_eq!(skip_name(message, 10), Some(12));
        assert_eq!(plain_name(message, 10), None);
        assert_eq!(skip_name(message, 12), None, "0x40 starts no label");
        assert_eq!(skip_name(message, 14), None, "torn");
        assert_eq!(skip_name(message, 99), None);
        let long = [[63u8; 64].as_slice(); 4].concat();
        assert_eq!(skip_name(&long, 0), None, "256 octets are no name");
    }

    proptest! {
        #[test]
        fn no_octets_make_reading_panic(octets in prop::collection::vec(any::<u8>(), 0..600), at in 0usize..700) {
            if let Some(end) = plain_name(&octets, at) {
                prop_assert_eq!(skip_name(&octets, at), Some(end));
            }
            if let Some(record) = RecordAt::read(&octets, at) {
                prop_assert!(record.end <= octets.len());
            }
        }
    }
}
