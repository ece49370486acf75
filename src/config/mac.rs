//! Ethernet addresses (IEEE 802, 48 bits): how interfaces are found and DHCP hosts are known.

use std::fmt;
use std::str::FromStr;

use super::text::{InvalidText, text_leaf};

/// A unicast Ethernet address. Written with colons or hyphens, kept in lower case with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address of these octets, unless it is a group address or all zero.
    #[must_use]
    pub const fn from_octets(octets: [u8; 6]) -> Option<Self> {
        let [first, ..] = octets;
        if first & 1 == 1 || matches!(octets, [0, 0, 0, 0, 0, 0]) { None } else { Some(Self(octets)) }
    }

    /// The six octets in the order of transmission.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let wrong = || InvalidText::new(format!("`{text}` is not a MAC address such as 52:54:00:00:00:01"));
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Self::from_octets(octets).ok_or_else(|| {
            InvalidText::new(format!("`{text}` is a group or null address, not one station's"))
        })
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

text_leaf!(
    MacAddress,
    "^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$",
    "A unicast Ethernet address, such as `52:54:00:00:00:01`."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_comes_back_whatever_was_written() {
        for text in ["52:54:00:AB:cd:01", "52-54-00-ab-CD-01"] {
            assert_eq!(text.parse::<MacAddress>().unwrap().to_string(), "52:54:00:ab:cd:01");
        }
    }

    #[test]
    fn what_no_station_can_have_is_refused() {
        for text in [
            "",
            "52:54:00:00:00",
            "52:54:00:00:00:01:02",
            "5:54:00:00:00:01",
            "+5:54:00:00:00:01",
            "zz:54:00:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }
}
