//! What a seed disk held, as the appliance's first program hands it over: which disk, and its files, one after the other.
//!
//! Written by `image/init`, which builds this file as well and knows nothing else of the house; read by [`super::read`].
//! The service manager gives it to the service as the credential `vrouter.seed`.
//!
//! ```text
//! vrouter-seed 1
//! kind nocloud
//! disk /dev/vdb
//! left user-data it has more than 393216 octets
//! file meta-data 27
//! (27 octets and a newline)
//! ```

/// The first line.
const HEAD: &str = "vrouter-seed 1\n";
/// The most octets of all files together: the service manager gives a service at most a mebibyte of credentials.
pub const MOST: usize = 384 << 10;

/// Who defined what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// cloud-init's `NoCloud`: a disk with the label `cidata`.
    NoCloud,
    /// `OpenStack`'s config drive: a disk with the label `config-2`.
    ConfigDrive,
}

impl Kind {
    /// The kinds; of two disks, the first of these is taken.
    pub const ALL: [Self; 2] = [Self::ConfigDrive, Self::NoCloud];

    /// The label of such disks, which may be in capitals.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoCloud => "cidata",
            Self::ConfigDrive => "config-2",
        }
    }

    /// Its files that a router reads, as paths on the disk. What follows the last `/` is the file's name in a bundle.
    #[must_use]
    pub const fn files(self) -> [&'static str; 3] {
        match self {
            Self::NoCloud => ["meta-data", "network-config", "user-data"],
            Self::ConfigDrive => [
                "openstack/latest/meta_data.json",
                "openstack/latest/network_data.json",
                "openstack/latest/user_data",
            ],
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::NoCloud => "nocloud",
            Self::ConfigDrive => "config-drive",
        }
    }
}

/// What a seed disk held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Who defined it.
    pub kind: Kind,
    /// The disk's device.
    pub disk: String,
    /// The files by their names.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files that are there and could not be handed over, and why.
    pub left: Vec<(String, String)>,
}

impl Bundle {
    /// As octets.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut octets = format!("{HEAD}kind {}\ndisk {}\n", self.kind.word(), self.disk).into_bytes();
        for (name, why) in &self.left {
            octets.extend_from_slice(format!("left {name} {}\n", why.replace('\n', " ")).as_bytes());
        }
        for (name, content) in &self.files {
            octets.extend_from_slice(format!("file {name} {}\n", content.len()).as_bytes());
            octets.extend_from_slice(content);
            octets.push(b'\n');
        }
        octets
    }

    /// Of octets; nothing where they are no bundle.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut rest = octets.strip_prefix(HEAD.as_bytes())?;
        let kind = line(&mut rest)?.strip_prefix("kind ")?;
        let kind = Kind::ALL.into_iter().find(|known| known.word() == kind)?;
        let disk = line(&mut rest)?.strip_prefix("disk ")?.to_owned();
        let mut bundle = Self { kind, disk, files: Vec::new(), left: Vec::new() };
        while !rest.is_empty() {
            let line = line(&mut rest)?;
            let (what, line) = line.split_once(' ')?;
            let (name, said) = line.split_once(' ')?;
            match what {
                "left" => bundle.left.push((name.to_owned(), said.to_owned())),
                "file" => {
                    let length = said.parse::<usize>().ok()?;
                    let content = rest.get(..length)?;
                    rest = rest.get(length..)?.strip_prefix(b"\n")?;
                    bundle.files.push((name.to_owned(), content.to_vec()));
                }
                _ => return None,
            }
        }
        Some(bundle)
    }

    /// A file; nothing where there is none.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(known, _)| known == name).map(|(_, content)| content.as_slice())
    }
}

fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|octet| *octet == b'\n')?;
    let (line, after) = rest.split_at_checked(end)?;
    *rest = after.get(1..)?;
    std::str::from_utf8(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_comes_back_as_it_was_written_and_no_part_of_it_is_one() {
        let files =
            vec![("meta-data".to_owned(), b"a\n\nfile b 1\n".to_vec()), ("user-data".to_owned(), vec![])];
        let left = vec![("network-config".to_owned(), "it is a\nfolder".to_owned())];
        let bundle = Bundle { kind: Kind::NoCloud, disk: "/dev/sr0".to_owned(), files, left };
        let octets = bundle.write();
        let back = Bundle::read(&octets).unwrap();
        assert_eq!(back.files, bundle.files);
        assert_eq!(back.left, [("network-config".to_owned(), "it is a folder".to_owned())]);
        assert_eq!(back.file("user-data"), Some(b"".as_slice()));
        assert_eq!(back.file("vendor-data"), None);
        for length in 0..octets.len() {
            let part = Bundle::read(&octets[..length]);
            assert!(part.is_none_or(|part| part.files.len() < 2), "{length}");
        }
        assert_eq!(Bundle::read(b"vrouter-seed 1\nkind other\ndisk x\n"), None);
    }
}
