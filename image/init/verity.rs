//! Which root a machine that starts from a disk of slots wants, and how a slot shows that it holds it. Pure; `slots` reads
//! the command line and the slots, and `mapper` hands the table to the kernel.
//!
//! A slot is an erofs, padded to whole blocks, then dm-verity's superblock and its tree of hashes, as
//! `veritysetup format --hash-offset` leaves them. The kernel's command line names the hash over all of it. The
//! superblock does not, so the image's build gives it the hash's first half as its uuid: a slot is told from another
//! without reading what it holds, and whether it truly holds that is for the kernel to find, block by block.

/// The word of the command line: the root hash in hexadecimal, a colon, the number of data blocks.
const WORD: &str = "vrouter.verity";
/// Data and hashes alike come in blocks of so many octets.
const BLOCK: u64 = 4096;
/// Sectors, in which the device mapper counts.
const SECTORS_PER_BLOCK: u64 = BLOCK / 512;
/// Octets of a SHA-256.
const HASH: usize = 32;

/// Octets of a superblock (cryptsetup, lib/verity/verity.c).
pub(crate) const SUPERBLOCK: usize = 512;
const SIGNATURE: &[u8] = b"verity\0\0";
/// The version of the superblock, and of the hashes: salt first.
const VERSION: u32 = 1;
const VERSION_OFFSET: usize = 8;
const TYPE_OFFSET: usize = 12;
const UUID_OFFSET: usize = 16;
const UUID: usize = 16;
const ALGORITHM_OFFSET: usize = 32;
const ALGORITHM: &[u8; 32] = b"sha256\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const DATA_BLOCK_OFFSET: usize = 64;
const HASH_BLOCK_OFFSET: usize = 68;
const BLOCKS_OFFSET: usize = 72;
const SALT_LENGTH_OFFSET: usize = 80;
const SALT_OFFSET: usize = 88;
const SALT_MOST: usize = 256;

/// Why the command line names no root, although it speaks of one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordError {
    /// The word is there several times.
    #[error("{WORD} is on the command line more than once")]
    Repeated,
    /// Its value is none.
    #[error("{WORD}={0} is not 64 hexadecimal digits, a colon and a number of blocks")]
    Malformed(String),
}

/// Why a slot is not the wanted one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    /// It was never written, or what was written is damaged.
    #[error("there is no verity superblock where this root would end")]
    NoSuperblock,
    /// It is another root's.
    #[error("it holds another root")]
    AnotherRoot,
    /// It is the wanted one's by its uuid, but made in a way that this program does not know.
    #[error("its verity superblock has a {0} that is not expected")]
    Unexpected(&'static str),
}

/// The root that the command line names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WantedRoot {
    hash: [u8; HASH],
    blocks: u64,
}

impl WantedRoot {
    /// What the kernel's command line says; `None` where it says nothing of it.
    ///
    /// # Errors
    /// The word is malformed or there twice. It is never taken to be absent then: what it forbids would be done.
    pub(crate) fn from_command_line(line: &str) -> Result<Option<Self>, WordError> {
        let mut values = line
            .split_ascii_whitespace()
            .map(|word| word.split_once('=').unwrap_or((word, "")))
            .filter(|(name, _)| *name == WORD)
            .map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(WordError::Repeated);
        }
        Self::parse(value).map(Some).ok_or_else(|| WordError::Malformed(value.to_owned()))
    }

    fn parse(value: &str) -> Option<Self> {
        let (digits, blocks) = value.split_once(':')?;
        if digits.len() != 2 * HASH || !blocks.bytes().all(|octet| octet.is_ascii_digit()) {
            return None;
        }
        let mut hash = [0; HASH];
        for (octet, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            // A sign is no digit, though a number may have one.
            *octet = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
        }
        let blocks = blocks.parse().ok()?;
        // The end of the superblock has to be a number of octets as well.
        let within = (1..=u64::MAX / BLOCK - 1).contains(&blocks);
        within.then_some(Self { hash, blocks })
    }

    /// Where in a slot its superblock is, in octets.
    pub(crate) fn superblock_offset(&self) -> u64 {
        self.blocks * BLOCK
    }

    /// The length of the root in sectors of 512 octets.
    pub(crate) fn sectors(&self) -> u64 {
        self.blocks * SECTORS_PER_BLOCK
    }

    /// Holds a slot's superblock against what is wanted and takes its salt.
    ///
    /// # Errors
    /// What tells this slot from the wanted one.
    pub(crate) fn fits(&self, superblock: &[u8]) -> Result<Salt, Misfit> {
        if at(superblock, 0, SIGNATURE.len()) != Some(SIGNATURE) {
            return Err(Misfit::NoSuperblock);
        }
        if at(superblock, UUID_OFFSET, UUID) != self.hash.get(..UUID) {
            return Err(Misfit::AnotherRoot);
        }
        let numbers = [
            ("version", VERSION_OFFSET, VERSION.into(), 4),
            ("hash type", TYPE_OFFSET, VERSION.into(), 4),
            ("data block size", DATA_BLOCK_OFFSET, BLOCK, 4),
            ("hash block size", HASH_BLOCK_OFFSET, BLOCK, 4),
            ("number of blocks", BLOCKS_OFFSET, self.blocks, 8),
        ];
        for (name, offset, wanted, length) in numbers {
            if number(superblock, offset, length) != Some(wanted) {
                return Err(Misfit::Unexpected(name));
            }
        }
        if at(superblock, ALGORITHM_OFFSET, ALGORITHM.len()) != Some(ALGORITHM) {
            return Err(Misfit::Unexpected("hash algorithm"));
        }
        number(superblock, SALT_LENGTH_OFFSET, 2)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= SALT_MOST)
            .and_then(|length| at(superblock, SALT_OFFSET, length))
            .map(|salt| Salt(salt.to_vec()))
            .ok_or(Misfit::Unexpected("salt"))
    }

    /// What the kernel is told of the device to make (Documentation/admin-guide/device-mapper/verity.rst).
    ///
    /// `slot` is the partition as `MAJOR:MINOR`. A block that is not what it was ends the kernel, so that nothing of a
    /// damaged root is ever run, and the machine starts again.
    pub(crate) fn table(&self, slot: &str, salt: &Salt) -> String {
        let Self { hash, blocks } = self;
        let hashes = blocks + 1;
        let (hash, salt) =
            (hexadecimal(hash), if salt.0.is_empty() { "-".to_owned() } else { hexadecimal(&salt.0) });
        format!(
            "1 {slot} {slot} {BLOCK} {BLOCK} {blocks} {hashes} sha256 {hash} {salt} 1 panic_on_corruption"
        )
    }
}

/// What every block is hashed with. A wrong one makes all hashes wrong, so it needs no other proof.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Salt(Vec<u8>);

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn at(octets: &[u8], offset: usize, length: usize) -> Option<&[u8]> {
    octets.get(offset..)?.get(..length)
}

/// A number of up to eight octets, the least significant first.
fn number(octets: &[u8], offset: usize, length: usize) -> Option<u64> {
    Some(at(octets, offset, length)?.iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

    fn wanted() -> WantedRoot {
        WantedRoot::from_command_line(&format!("quiet vrouter.verity={DIGITS}:10537\n")).unwrap().unwrap()
    }

    /// A superblock as veritysetup writes it for `wanted`.
    fn superblock() -> Vec<u8> {
        let mut octets = Vec::new();
        octets.extend(b"verity\0\0");
        octets.extend([1, 0, 0, 0, 1, 0, 0, 0]);
        octets.extend(&wanted().hash[..16]);
        octets.extend(ALGORITHM);
        octets.extend(4096_u32.to_le_bytes());
        octets.extend(4096_u32.to_le_bytes());
        octets.extend(10537_u64.to_le_bytes());
        octets.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        octets.extend([0xab, 0x01]);
        octets.resize(SUPERBLOCK, 0);
        octets
    }

    #[test]
    fn a_command_line_without_the_word_wants_no_slot() {
        assert_eq!(WantedRoot::from_command_line("console=ttyS0 vrouter.verityx=1 quiet"), Ok(None));
        assert_eq!(WantedRoot::from_command_line(""), Ok(None));
    }

    #[test]
    fn a_word_that_is_no_root_is_an_obstacle_and_not_absent() {
        let many = format!("{DIGITS}:1 vrouter.verity={DIGITS}:1");
        assert_eq!(
            WantedRoot::from_command_line(&format!("vrouter.verity={many}")),
            Err(WordError::Repeated)
        );
        for value in [
            "",
            DIGITS,
            &format!("{DIGITS}:"),
            &format!("{DIGITS}:0"),
            &format!("{DIGITS}:+1"),
            &format!("{DIGITS}:-1"),
            &format!("{DIGITS}:1:1"),
            &format!("{DIGITS}:18446744073709551615"),
            &format!("{DIGITS}:4503599627370496"),
            &format!("{}:1", &DIGITS[2..]),
            &format!("{DIGITS}00:1"),
            &format!("+1{}:1", &DIGITS[2..]),
            &format!("é{}:1", &DIGITS[2..]),
            &format!("xx{}:1", &DIGITS[2..]),
        ] {
            let said = WantedRoot::from_command_line(&format!("quiet vrouter.verity={value}"));
            assert_eq!(said, Err(WordError::Malformed(value.to_owned())));
        }
        assert_eq!(WantedRoot::from_command_line("vrouter.verity"), Err(WordError::Malformed(String::new())));
    }

    #[test]
    fn the_table_follows_from_word_and_superblock() {
        let wanted = wanted();
        assert_eq!(wanted.superblock_offset(), 10537 * 4096);
        assert_eq!(wanted.sectors(), 10537 * 8);
        let salt = wanted.fits(&superblock()).unwrap();
        assert_eq!(
            wanted.table("254:2", &salt),
            format!("1 254:2 254:2 4096 4096 10537 10538 sha256 {DIGITS} ab01 1 panic_on_corruption")
        );
        assert!(wanted.table("254:2", &Salt(Vec::new())).contains(" - 1 panic"));
    }

    #[test]
    fn another_root_is_told_from_a_damaged_slot() {
        let wanted = wanted();
        assert_eq!(wanted.fits(&[0; SUPERBLOCK]), Err(Misfit::NoSuperblock));
        let mut other = superblock();
        other[UUID_OFFSET] ^= 1;
        assert_eq!(wanted.fits(&other), Err(Misfit::AnotherRoot));
    }

    #[test]
    fn every_parameter_has_to_agree() {
        for offset in [8, 12, 32, 40, 64, 68, 72, 81] {
            let mut changed = superblock();
            changed[offset] ^= 0x80;
            assert!(matches!(wanted().fits(&changed), Err(Misfit::Unexpected(_))), "octet {offset}");
        }
        let mut long = superblock();
        long[80..82].copy_from_slice(&257_u16.to_le_bytes());
        assert_eq!(wanted().fits(&long), Err(Misfit::Unexpected("salt")));
    }

    #[test]
    fn a_slot_that_ends_early_fits_nothing() {
        let superblock = superblock();
        for length in 0..SALT_OFFSET + 2 {
            assert!(wanted().fits(&superblock[..length]).is_err());
        }
    }
}
