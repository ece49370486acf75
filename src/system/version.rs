//! Versions of the firmware: three numbers, of which the first that differs decides. Pure.
//!
//! Nothing more may be in a version, because the boot loader orders the same texts by rules of its own: where each of both
//! sides has three numbers, the two orders are one.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A version, such as 0.2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u32; 3]);

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version; one is three numbers, such as 0.2.0")]
pub struct NoVersion(String);

impl Version {
    /// The version of these three numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self([major, minor, patch])
    }
}

/// A number as it is written in one way alone.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let mut parts = text.split('.').map(number);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Self([major, minor, patch]))
            }
            _ => Err(NoVersion(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, patch]) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+\\.[0-9]+\\.[0-9]+$", "description": "Three numbers, such as 0.2.0."})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_follow_their_numbers() {
        let of = |text: &str| text.parse::<Version>().unwrap();
        assert!(of("0.9.0") < of("0.10.0") && of("0.10.0") < of("1.0.0") && of("1.0.0") < of("1.0.1"));
        assert_eq!(of("1.2.3"), Version::new(1, 2, 3));
    }

    #[test]
    fn what_the_boot_loader_would_order_otherwise_is_no_version() {
        for text in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "1.0.0-rc1",
            "1.0.0+3",
            "01.0.0",
            "1.0.",
            "+1.0.0",
            "1.0.4294967296",
            " 1.0.0",
        ] {
            assert_eq!(text.parse::<Version>(), Err(NoVersion(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn a_version_is_written_as_it_is_read(numbers: [u32; 3]) {
            let [major, minor, patch] = numbers;
            let version = Version::new(major, minor, patch);
            prop_assert_eq!(version.to_string().parse(), Ok(version));
        }
    }
}
