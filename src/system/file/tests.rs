//! What a file has to be, however it is cut into pieces on its way.

use proptest::prelude::*;
use ring::digest::digest;
use serde_json::{Value, json};

use super::super::keys::tests::{key, pem, sign};
use super::*;

pub(crate) fn hex(octets: &[u8]) -> String {
    let sha256 = digest(&SHA256, octets);
    sha256.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

pub(crate) fn manifest(version: &str, root: &[u8], uki: &[u8]) -> Value {
    json!({"format": 1, "product": "vrouter", "architecture": std::env::consts::ARCH, "version": version,
           "root": {"size": root.len(), "sha256": hex(root)}, "uki": {"size": uki.len(), "sha256": hex(uki)}})
}

/// What stands before the parts, signed by the key of this seed.
pub(crate) fn head(manifest: &str, seed: u8) -> Vec<u8> {
    let length = u32::try_from(manifest.len()).unwrap().to_be_bytes();
    [MAGIC.as_slice(), &length, manifest.as_bytes(), &sign(&key(seed), manifest.as_bytes())].concat()
}

/// A whole file, signed by key 1.
pub(crate) fn update(version: &str, root: &[u8], uki: &[u8]) -> Vec<u8> {
    [&head(&manifest(version, root, uki).to_string(), 1), root, uki].concat()
}

pub(crate) fn keys() -> Keys {
    Keys::parse(pem(&key(1)).as_bytes()).unwrap()
}

/// What is read of pieces: the version, the parts, and how many events were parts' ends.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Version, Vec<u8>, Vec<u8>), FileFault> {
    let keys = keys();
    let mut reader = Reader::new(&keys);
    let (mut version, mut root, mut uki, mut whole) = (None, Vec::new(), Vec::new(), Vec::new());
    for mut piece in pieces {
        while let Some(event) = reader.next(&mut piece)? {
            match event {
                Event::Manifest(manifest) => version = Some(manifest.version),
                Event::Octets(Part::Root, octets) => root.extend_from_slice(octets),
                Event::Octets(Part::Uki, octets) => uki.extend_from_slice(octets),
                Event::Whole(part, _) => whole.push(part),
            }
        }
        assert!(piece.is_empty());
    }
    reader.finish()?;
    assert_eq!(whole, [Part::Root, Part::Uki]);
    Ok((version.unwrap(), root, uki))
}

use super::super::version::Version;

const ROOT: &[u8] = b"the root and its tree";
const UKI: &[u8] = b"a kernel";

#[test]
fn who_did_not_sign_is_refused_before_anything_else_is_looked_at() {
    let manifest = manifest("0.2.0", ROOT, UKI).to_string();
    let file = |head: Vec<u8>| [&head, ROOT, UKI].concat();
    assert_eq!(read([&*file(head(&manifest, 2))]), Err(FileFault::Signature));
    assert_eq!(read([&*file(head("not even JSON", 2))]), Err(FileFault::Signature));
    let mut unsigned = head(&manifest, 1);
    let end = unsigned.len();
    unsigned[end - SIGNATURE..].fill(0);
    assert_eq!(read([&*file(unsigned)]), Err(FileFault::Unsigned));
    let mut changed = head(&manifest, 1);
    let at = changed.windows(5).position(|part| part == b"0.2.0").unwrap();
    changed[at] = b'9';
    assert_eq!(read([&*file(changed)]), Err(FileFault::Signature));
    assert!(matches!(read([&*file(head("not even JSON", 1))]), Err(FileFault::Unsuitable(_))));
}

#[test]
fn what_is_no_update_is_told_so_at_its_first_octet() {
    for octets in [b"x".as_slice(), b"VRUPDATE\x02", b"VRUPDATF", b"\x7fELF"] {
        assert_eq!(read([octets]), Err(FileFault::Magic));
    }
    let long = [MAGIC.as_slice(), &[0, 1, 0, 1]].concat();
    assert_eq!(read([&*long]), Err(FileFault::Manifest(LONGEST_MANIFEST + 1)));
    assert_eq!(
        read([&[MAGIC.as_slice(), &[0xff; 4]].concat()[..]]),
        Err(FileFault::Manifest(u32::MAX as usize))
    );
    // An empty manifest is no JSON, and is signed by somebody or not.
    let empty = [MAGIC.as_slice(), &[0; 4], &sign(&key(1), b"")].concat();
    assert!(matches!(read([&*empty]), Err(FileFault::Unsuitable(_))));
}

#[test]
fn a_part_that_is_not_what_was_signed_is_told_by_name() {
    let mut file = update("0.2.0", ROOT, UKI);
    let end = file.len();
    file[end - 1] ^= 1;
    assert_eq!(read([&*file]), Err(FileFault::Damaged(Part::Uki)));
    file[end - UKI.len() - 1] ^= 1;
    assert_eq!(read([&*file]), Err(FileFault::Damaged(Part::Root)));
}

#[test]
fn it_ends_where_it_says() {
    let file = update("0.2.0", ROOT, UKI);
    let whole = read([&*file]).unwrap();
    assert_eq!(whole, (Version::new(0, 2, 0), ROOT.to_vec(), UKI.to_vec()));
    for length in 0..file.len() {
        assert!(matches!(read([&file[..length]]), Err(FileFault::Short(_))), "cut at {length}");
    }
    assert_eq!(read([&*file, b"!"]), Err(FileFault::Long));
    let said = read([&file[..file.len() - 3]]).unwrap_err().to_string();
    assert_eq!(said, "the update ended early, with 5 of 8 octets of its kernel image: send it again");
}

proptest! {
    /// However the way cuts it, the same is read; and no octets confuse the reader.
    #[test]
    fn pieces_come_to_the_same(root in prop::collection::vec(any::<u8>(), 1..600), uki in prop::collection::vec(any::<u8>(), 1..600),
                               sizes in prop::collection::vec(0usize..90, 1..80), harm in prop::option::of((any::<prop::sample::Index>(), 1u8..))) {
        let mut file = update("1.2.3", &root, &uki);
        if let Some((index, mask)) = harm {
            let at = index.index(file.len());
            file[at] ^= mask;
        }
        let mut pieces = Vec::new();
        let mut rest = &file[..];
        for size in sizes {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        pieces.push(rest);
        let read = read(pieces);
        match harm {
            None => prop_assert_eq!(read, Ok((Version::new(1, 2, 3), root, uki))),
            Some(_) => prop_assert!(read.is_err(), "every octet is guarded"),
        }
    }
}
