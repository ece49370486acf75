//! What a disk holds, by the first octets of its file system. Pure; called with what `mounts` read.

/// How many octets of a disk tell what it holds.
pub(crate) const PROBE: usize = 2048;
/// The label of the disk that keeps the router's state.
pub(crate) const STATE_LABEL: &[u8] = b"vrouter-data";

/// Where erofs and ext4 both keep their superblock (linux/fs/erofs/erofs_fs.h, linux/fs/ext4/ext4.h).
const SUPERBLOCK: usize = 1024;
const EROFS_MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();
const EXT4_MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();
const EXT4_MAGIC_OFFSET: usize = SUPERBLOCK + 0x38;
const EXT4_LABEL_OFFSET: usize = SUPERBLOCK + 0x78;
const EXT4_LABEL_LENGTH: usize = 16;

/// What the appliance does with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The appliance's root.
    Root,
    /// The router's state.
    State,
    /// Something else, which is left alone.
    Other,
}

/// Tells what a disk holds from its first [`PROBE`] octets; fewer are a smaller disk, and that is something else.
pub(crate) fn recognise(start: &[u8]) -> Content {
    if at(start, SUPERBLOCK, EROFS_MAGIC.len()) == Some(&EROFS_MAGIC) {
        return Content::Root;
    }
    let ext4 = at(start, EXT4_MAGIC_OFFSET, EXT4_MAGIC.len()) == Some(&EXT4_MAGIC);
    let label = at(start, EXT4_LABEL_OFFSET, EXT4_LABEL_LENGTH).map(until_nul);
    if ext4 && label == Some(STATE_LABEL) { Content::State } else { Content::Other }
}

fn at(octets: &[u8], offset: usize, length: usize) -> Option<&[u8]> {
    octets.get(offset..)?.get(..length)
}

fn until_nul(label: &[u8]) -> &[u8] {
    label.split(|octet| *octet == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ext4(label: &[u8]) -> Vec<u8> {
        let mut disk = vec![0; PROBE];
        disk[EXT4_MAGIC_OFFSET..EXT4_MAGIC_OFFSET + 2].copy_from_slice(&EXT4_MAGIC);
        disk[EXT4_LABEL_OFFSET..EXT4_LABEL_OFFSET + label.len()].copy_from_slice(label);
        disk
    }

    #[test]
    fn an_erofs_is_the_root_and_only_the_labelled_ext4_is_state() {
        let mut erofs = vec![0; PROBE];
        erofs[SUPERBLOCK..SUPERBLOCK + 4].copy_from_slice(&EROFS_MAGIC);
        assert_eq!(recognise(&erofs), Content::Root);
        assert_eq!(recognise(&ext4(b"vrouter-data")), Content::State);
        assert_eq!(recognise(&ext4(b"vrouter-data2")), Content::Other);
        assert_eq!(recognise(&ext4(b"")), Content::Other);
    }

    #[test]
    fn a_label_without_a_file_system_is_something_else() {
        let mut disk = ext4(b"vrouter-data");
        disk[EXT4_MAGIC_OFFSET] = 0;
        assert_eq!(recognise(&disk), Content::Other);
    }

    #[test]
    fn a_disk_that_ends_early_is_something_else() {
        let disk = ext4(b"vrouter-data");
        for length in 0..EXT4_LABEL_OFFSET + EXT4_LABEL_LENGTH {
            assert_eq!(recognise(&disk[..length]), Content::Other);
        }
    }
}
