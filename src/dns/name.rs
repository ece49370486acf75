//! Names as this room keeps and compares them: lower case, the labels from the root down, each behind its length.
//!
//! In that form what is below a name are the octets that start with it, and the names of a zone lie side by side in an
//! ordered map: whether something is below a name, and which name encloses it most closely, is one look each.
//! Called by the zones and by the cache.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::wire::MAX_NAME;

/// `in-addr.arpa` in the form of this room.
const REVERSE: &[u8] = b"\x04arpa\x07in-addr";

/// How many octets a name may have to be kept in place.
const SHORT: usize = 30;

/// A name that is kept. Most names are short and kept in place: looking for one then stays within the map.
#[derive(Clone)]
pub(super) enum Name {
    /// Its length and its octets.
    Short(u8, [u8; SHORT]),
    /// Its octets, shared by the maps that hold it.
    Long(Arc<[u8]>),
}

impl Name {
    fn new(octets: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match (short.get_mut(..octets.len()), u8::try_from(octets.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(octets);
                Self::Short(length, short)
            }
            _ => Self::Long(octets.into()),
        }
    }

    /// The octets, without the zero of the root.
    pub(super) fn octets(&self) -> &[u8] {
        match self {
            Self::Short(length, octets) => octets.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(octets) => octets,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.octets() == other.octets()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.octets().cmp(other.octets())
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.octets()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = Labels(self.octets()).filter_map(|label| label.get(1..)).collect();
        for label in labels.iter().rev() {
            write!(f, "{}.", String::from_utf8_lossy(label))?;
        }
        Ok(())
    }
}

/// The labels of a name in its order, each with its length in front.
struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.0.first()?);
        let (label, rest) = self.0.split_at_checked(1 + length)?;
        self.0 = rest;
        Some(label)
    }
}

/// A name that is looked up; it knows its ancestors and lives on the stack.
#[derive(Clone)]
pub(super) struct Key {
    octets: [u8; MAX_NAME],
    length: u8,
    /// The lengths of what remains when 1, 2 … labels are taken off at the left.
    ancestors: [u8; MAX_NAME / 2],
    labels: u8,
}

impl Key {
    /// The key of an uncompressed name with its final zero, as messages carry it; nothing where it is none.
    pub(super) fn of_wire(name: &[u8]) -> Option<Self> {
        let (last, mut rest) = name.split_last()?;
        let labels = std::iter::from_fn(|| {
            let (label, behind) = rest.split_at_checked(1 + usize::from(*rest.first()?))?;
            rest = behind;
            label.get(1..)
        });
        let key = Self::new(name.len() - 1, labels)?;
        (*last == 0 && rest.is_empty()).then_some(key)
    }

    /// The key of a name in text without its final dot; the empty text is the root. Nothing where it is no name.
    pub(super) fn of_text(name: &str) -> Option<Self> {
        if name.is_empty() {
            return Self::new(0, std::iter::empty());
        }
        Self::new(name.len() + 1, name.split('.').map(str::as_bytes))
    }

    /// The key of `labels` from left to right, which fill `length` octets with their lengths.
    fn new<'a>(length: usize, labels: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut key = Self { octets: [0; MAX_NAME], length: 0, ancestors: [0; MAX_NAME / 2], labels: 0 };
        if length >= MAX_NAME {
            return None;
        }
        key.length = u8::try_from(length).ok()?;
        let mut end = length;
        for label in labels {
            let start = end.checked_sub(1 + label.len())?;
            let (size, text) = key.octets.get_mut(start..end)?.split_first_mut()?;
            *size = u8::try_from(label.len()).ok().filter(|size| (1..=63).contains(size))?;
            text.copy_from_slice(label);
            text.make_ascii_lowercase();
            *key.ancestors.get_mut(usize::from(key.labels))? = u8::try_from(start).ok()?;
            key.labels += 1;
            end = start;
        }
        (end == 0).then_some(key)
    }

    /// The octets in the order of this room.
    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// How many labels it has; the root has none.
    pub(super) fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// The name without its `labels` leftmost labels: itself for 0, the root for all.
    pub(super) fn ancestor(&self, labels: usize) -> &[u8] {
        let length = match labels {
            0 => self.length,
            _ => self.ancestors.get(labels - 1).copied().unwrap_or(0),
        };
        self.octets.get(..usize::from(length)).unwrap_or_default()
    }

    /// How far behind the start of the name on the wire the name of these first octets starts.
    pub(super) fn offset_of(&self, ancestor: usize) -> usize {
        usize::from(self.length).saturating_sub(ancestor)
    }

    /// The name to be kept.
    pub(super) fn to_name(&self) -> Name {
        Name::new(self.octets())
    }
}

/// The name of what matches any label below these octets, unless it grows too long.
pub(super) fn wildcard_below<'a>(parent: &[u8], buffer: &'a mut [u8; MAX_NAME]) -> Option<&'a [u8]> {
    let whole = buffer.get_mut(..parent.len() + 2)?;
    let (start, end) = whole.split_at_mut(parent.len());
    start.copy_from_slice(parent);
    end.copy_from_slice(b"\x01*");
    Some(whole)
}

/// Whether the name's leftmost label is `*`.
pub(super) fn is_wildcard(name: &[u8]) -> bool {
    Labels(name).last() == Some(b"\x01*")
}

/// The addresses that a name in `in-addr.arpa` stands for, the first and the last; nothing for other names, and for
/// labels that no address has.
pub(super) fn reversed(name: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (mut first, mut last) = ([0; 4], [255; 4]);
    for (count, label) in Labels(name.strip_prefix(REVERSE)?).enumerate() {
        let digits = label.get(1..)?;
        let plain = digits.len() == 1 || digits.first() != Some(&b'0');
        let octet: u8 =
            std::str::from_utf8(digits).ok().filter(|text| plain && !text.starts_with('+'))?.parse().ok()?;
        *first.get_mut(count)? = octet;
        *last.get_mut(count)? = octet;
    }
    Some((first.into(), last.into()))
}

/// Writes a name in the form of this room as messages carry it.
pub(super) fn write_name(name: &[u8], out: &mut Vec<u8>) {
    let mut labels = [&[][..]; MAX_NAME / 2];
    let mut count = 0;
    for (slot, label) in labels.iter_mut().zip(Labels(name)) {
        *slot = label;
        count += 1;
    }
    for label in labels.iter().take(count).rev() {
        out.extend_from_slice(label);
    }
    out.push(0);
}

/// Writes a name from text without its final dot; the empty text is the root. The text is a name of the configuration.
pub(super) fn write_text(name: &str, out: &mut Vec<u8>) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        // A label of the configuration has at most 63 octets.
        out.push(u8::try_from(label.len()).unwrap_or(0));
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        Key::of_text(text).unwrap()
    }

    #[test]
    fn names_lie_in_order_of_their_labels_from_the_root() {
        let key = key("Web1.demo.LOCAL");
        assert_eq!(key.octets(), b"\x05local\x04demo\x04web1");
        assert_eq!(key.labels(), 3);
        assert_eq!(key.ancestor(0), key.octets());
        assert_eq!(key.ancestor(1), b"\x05local\x04demo");
        assert_eq!(key.ancestor(3), b"");
        assert_eq!(key.offset_of(key.ancestor(1).len()), 5);
        assert_eq!(format!("{:?}", key.to_name()), "web1.demo.local.");
        assert_eq!(Key::of_text("").unwrap().labels(), 0);
    }

    #[test]
    fn what_is_no_name_has_no_key() {
        let long = ["x".repeat(63).as_str(); 4].join(".");
        for bad in ["a..b", ".", &"x".repeat(64), &long] {
            assert!(Key::of_text(bad).is_none(), "{bad}");
        }
        assert!(Key::of_text(&long[..253]).is_some());
        for bad in [&b""[..], b"\x01a", b"\x02a\x00", b"\x01a\x00\x00", b"\xc0\x0c\x00"] {
            assert!(Key::of_wire(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn reverse_names_stand_for_addresses() {
        let range = |text: &str| reversed(key(text).octets()).map(|(a, b)| (a.to_string(), b.to_string()));
        let of = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(range("20.1.1.10.in-addr.arpa"), of("10.1.1.20", "10.1.1.20"));
        assert_eq!(range("1.10.IN-ADDR.arpa"), of("10.1.0.0", "10.1.255.255"));
        assert_eq!(range("in-addr.arpa"), of("0.0.0.0", "255.255.255.255"));
        for bad in [
            "020.1.1.10.in-addr.arpa",
            "256.in-addr.arpa",
            "a.in-addr.arpa",
            "1.1.1.1.1.in-addr.arpa",
            "ip6.arpa",
        ] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }

    #[test]
    fn wildcards_are_known() {
        let mut buffer = [0; MAX_NAME];
        let name = key("*.demo.local");
        assert_eq!(wildcard_below(key("demo.local").octets(), &mut buffer), Some(name.octets()));
        assert!(is_wildcard(name.octets()));
        assert!(!is_wildcard(key("a.*.local").octets()));
        assert!(!is_wildcard(b""));
    }

    proptest! {
        /// A key and the name on the wire say the same.
        #[test]
        fn a_kept_name_is_written_as_it_was_read(labels in prop::collection::vec("[a-z0-9_-]{1,20}", 0..10)) {
            let text = labels.join(".");
            let mut wire = Vec::new();
            write_text(&text, &mut wire);
            let key = Key::of_wire(&wire).unwrap();
            let mut again = Vec::new();
            write_name(key.octets(), &mut again);
            prop_assert_eq!(&again, &wire);
            let of_text = Key::of_text(&text).unwrap();
            prop_assert_eq!(of_text.octets(), key.octets());
        }

        #[test]
        fn no_octets_make_a_key_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Key::of_wire(&octets);
            let _ = reversed(&octets);
            let _ = is_wildcard(&octets);
        }
    }
}
