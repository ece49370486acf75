//! What the boot loader left in variables of the firmware: which entry it started. Pure.

use super::entry::Entry;

/// Whose the variables are: systemd-boot's (Boot Loader Interface).
pub const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// The variable that names the entry that was started.
pub const SELECTED: &str = "LoaderEntrySelected";
/// The variable that names the file of an entry whose tries are counted.
pub const COUNT_PATH: &str = "LoaderBootCountPath";
/// The attributes of a variable, which stand before what it holds in a file of efivarfs.
const ATTRIBUTES: usize = 4;

/// The text that a variable holds, of the octets of its file in efivarfs: attributes, then UTF-16 that may end with a zero.
#[must_use]
pub fn text(file: &[u8]) -> Option<String> {
    let (units, rest) = file.get(ATTRIBUTES..)?.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    (rest.is_empty() && !text.is_empty()).then_some(text)
}

/// The entry that was started, of what the two variables hold. Its counter is that of before the start, or none.
#[must_use]
pub fn started(selected: Option<&str>, count_path: Option<&str>) -> Option<Entry> {
    let name = |path: &str| path.rsplit(['\\', '/']).next().and_then(Entry::parse);
    selected.and_then(name).or_else(|| count_path.and_then(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(units).collect()
    }

    #[test]
    fn a_variable_is_text_behind_its_attributes() {
        assert_eq!(text(&variable("vrouter_0.1.0.efi\0")).unwrap(), "vrouter_0.1.0.efi");
        assert_eq!(text(&variable("größe")).unwrap(), "größe");
        for wrong in [&b""[..], b"\x06\0\0\0", b"\x06\0\0\0a", b"\x06\0\0\0\0\0", b"\x06\0\0\0\0\xd8"] {
            assert_eq!(text(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_entry_is_named_by_itself_or_by_its_path() {
        let version = |selected, path| started(selected, path).map(|entry| entry.version.to_string());
        assert_eq!(version(Some("vrouter_0.2.0+3.efi"), None).unwrap(), "0.2.0");
        assert_eq!(version(None, Some("\\EFI\\Linux\\vrouter_0.2.0+2-1.efi")).unwrap(), "0.2.0");
        assert_eq!(version(Some("shell.efi"), Some("\\EFI\\Linux\\vrouter_0.2.0+2-1.efi")).unwrap(), "0.2.0");
        assert_eq!(version(Some("shell.efi"), None), None);
    }
}
