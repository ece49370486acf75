//! Transport ports as the wire writes them: `"80"` or `"9000-9010"`.

use std::fmt;
use std::str::FromStr;

use super::text::{InvalidText, text_leaf};

/// Ports from the first to the last, both included; never port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }
}

impl FromStr for Ports {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let wrong = || {
            InvalidText::new(format!("`{text}` is not a port from 1 to 65535 or a range such as 9000-9010"))
        };
        let port = |part: &str| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u16>().ok().filter(|port| plain && *port > 0).ok_or_else(wrong)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ports = Self { first: port(first)?, last: port(last)? };
        if ports.first > ports.last {
            return Err(InvalidText::new(format!("`{text}` ends before it begins")));
        }
        Ok(ports)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

text_leaf!(Ports, r"^\d{1,5}(-\d{1,5})?$", "A port or a range of ports: `80`, `9000-9010`.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_rising_range() {
        for good in ["1", "65535", "9000-9010", "1-65535"] {
            assert_eq!(good.parse::<Ports>().unwrap().to_string(), good);
        }
        assert_eq!("80-80".parse::<Ports>().unwrap().to_string(), "80");
        for bad in ["", "0", "65536", "+80", "80-", "-80", "90-80", "80,81", "http"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad}");
        }
    }
}
