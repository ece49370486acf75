//! Netlink attributes that the message crates have no types for. Called by the files that write messages.

use rtnetlink::packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED};
use rtnetlink::packet_core::{NLA_HEADER_SIZE, NlasIterator};

/// The length of `struct nfgenmsg`, before the attributes.
pub(super) const NFGENMSG: usize = 4;

/// An attribute of four octets in network order.
pub(super) fn u32_be(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

/// An attribute of four octets in the host's order.
pub(super) fn u32_ne(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

/// An attribute of eight octets in network order.
pub(super) fn u64_be(kind: u16, value: u64) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

/// An attribute of text with its final zero.
pub(super) fn text(kind: u16, text: &str) -> DefaultNla {
    let mut octets = text.as_bytes().to_vec();
    octets.push(0);
    DefaultNla::new(kind, octets)
}

/// An attribute that holds attributes.
pub(super) fn nested(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    let mut octets = vec![0; attributes.buffer_len()];
    attributes.emit(&mut octets);
    DefaultNla::new(kind | NLA_F_NESTED, octets)
}

/// The attributes in a buffer, each with its kind and its value, read in place.
pub(super) fn attributes(buffer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(buffer).flatten().filter_map(|attribute| {
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        attribute.into_inner().get(NLA_HEADER_SIZE..length).map(|value| (kind, value))
    })
}
