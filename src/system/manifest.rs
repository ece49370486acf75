//! What an update says of itself, and whether this router takes it. Pure.

use serde::Deserialize;

use super::version::Version;

/// The format that is understood.
const FORMAT: u64 = 1;
/// What it has to be for.
const PRODUCT: &str = "vrouter";
/// The largest kernel image, in octets: two of them and the boot loader fit the system partition.
pub const LARGEST_UKI: u64 = 30 << 20;

/// A manifest, as it was signed. What a later version adds to it is not needed to take the update.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    format: u64,
    product: String,
    architecture: String,
    /// What it brings.
    pub version: Version,
    /// The root with its hash tree, for the slot's partition.
    pub root: Content,
    /// The kernel with what it starts from, for the boot loader.
    pub uki: Content,
}

/// A part that follows the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Content {
    /// Its length in octets.
    pub size: u64,
    /// What it has to come to.
    pub sha256: Digest,
}

/// A SHA-256 in 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let octets: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        let octets = octets.filter(|_| rest.is_empty()).and_then(|octets| octets.try_into().ok());
        octets.map(Self).ok_or("a SHA-256 is 64 hexadecimal digits")
    }
}

/// Why an update that is signed is not for this router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// The manifest is not understood.
    #[error("the manifest of the update is not understood: {0}")]
    Manifest(String),
    /// Another product's.
    #[error("the update is for `{0}`, and this is a {PRODUCT}")]
    Product(String),
    /// Another machine's.
    #[error("the update is for the architecture {theirs}, and this machine is {ours}")]
    Architecture {
        /// What it is for.
        theirs: String,
        /// What this is.
        ours: &'static str,
    },
    /// It runs already.
    #[error("version {0} runs already; give the update another version")]
    Same(Version),
    /// An older one.
    #[error(
        "the update brings version {brings}, and {runs} runs; an older one is taken with `force=true` (`vrctl system update --force`)"
    )]
    Older {
        /// What it brings.
        brings: Version,
        /// What runs.
        runs: Version,
    },
    /// Nothing can be that long, or that short.
    #[error("the update's {what} has {size} octets, and there is room for {most}")]
    Size {
        /// `root` or `kernel image`.
        what: &'static str,
        /// How long it says that it is.
        size: u64,
        /// How long it may be.
        most: u64,
    },
    /// A part without content.
    #[error("the update's {0} is empty")]
    Empty(&'static str),
}

/// What a router is that an update comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    /// What runs.
    pub version: Version,
    /// Its kind of machine, as Rust names it.
    pub architecture: &'static str,
    /// The octets of the partition that it goes to.
    pub slot: u64,
}

impl Manifest {
    /// Reads one. It has been shown before who signed it.
    ///
    /// # Errors
    /// It is no manifest.
    pub fn read(octets: &[u8]) -> Result<Self, Unsuitable> {
        serde_json::from_slice(octets).map_err(|error| Unsuitable::Manifest(error.to_string()))
    }

    /// Whether a router takes it; `forced`, it also takes what is older.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, recipient: &Recipient, forced: bool) -> Result<(), Unsuitable> {
        let Recipient { version: runs, architecture: ours, slot } = *recipient;
        if self.product != PRODUCT {
            return Err(Unsuitable::Product(self.product.clone()));
        }
        if self.format != FORMAT {
            let why = format!("it is of format {}, and this router reads format {FORMAT}", self.format);
            return Err(Unsuitable::Manifest(why));
        }
        if self.architecture != ours {
            return Err(Unsuitable::Architecture { theirs: self.architecture.clone(), ours });
        }
        let brings = self.version;
        if brings == runs {
            return Err(Unsuitable::Same(runs));
        }
        if brings < runs && !forced {
            return Err(Unsuitable::Older { brings, runs });
        }
        for (what, size, most) in
            [("root", self.root.size, slot), ("kernel image", self.uki.size, LARGEST_UKI)]
        {
            if size > most {
                return Err(Unsuitable::Size { what, size, most });
            }
            if size == 0 {
                return Err(Unsuitable::Empty(what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const RECIPIENT: Recipient =
        Recipient { version: Version::new(0, 2, 0), architecture: "x86_64", slot: 64 << 20 };

    fn document() -> Value {
        let part = json!({"size": 4096, "sha256": "ab".repeat(32)});
        json!({"format": 1, "product": "vrouter", "architecture": "x86_64", "version": "0.3.0", "root": part, "uki": part})
    }

    fn judged(changes: &Value, forced: bool) -> String {
        let mut document = document();
        for (name, change) in changes.as_object().unwrap() {
            match change.as_object() {
                Some(members) => {
                    members.iter().for_each(|(inner, value)| document[name][inner] = value.clone())
                }
                None => document[name] = change.clone(),
            }
        }
        let checked = Manifest::read(document.to_string().as_bytes())
            .and_then(|manifest| manifest.check(&RECIPIENT, forced));
        checked.map_or_else(|why| why.to_string(), |()| "taken".to_owned())
    }

    #[test]
    fn an_update_for_this_router_is_taken_and_others_are_told_why_not() {
        assert_eq!(judged(&json!({}), false), "taken");
        assert_eq!(judged(&json!({"since": "a later version"}), false), "taken");
        for (changes, why) in [
            (json!({"product": "toaster"}), "the update is for `toaster`, and this is a vrouter"),
            (
                json!({"format": 2}),
                "the manifest of the update is not understood: it is of format 2, and this router reads format 1",
            ),
            (
                json!({"architecture": "aarch64"}),
                "the update is for the architecture aarch64, and this machine is x86_64",
            ),
            (json!({"version": "0.2.0"}), "version 0.2.0 runs already; give the update another version"),
            (
                json!({"version": "0.1.9"}),
                "the update brings version 0.1.9, and 0.2.0 runs; an older one is taken with",
            ),
            (json!({"version": "1.0"}), "the manifest of the update is not understood: `1.0` is no version"),
            (
                json!({"root": {"size": 67_108_865}}),
                "the update's root has 67108865 octets, and there is room for 67108864",
            ),
            (json!({"uki": {"size": 40 << 20}}), "the update's kernel image has 41943040 octets"),
            (json!({"uki": {"size": 0}}), "the update's kernel image is empty"),
            (
                json!({"root": {"sha256": "ab"}}),
                "the manifest of the update is not understood: a SHA-256 is 64",
            ),
            (json!({"root": {"size": -1}}), "the manifest of the update is not understood: invalid value"),
            (json!({"root": null}), "the manifest of the update is not understood: invalid type: null"),
        ] {
            let said = judged(&changes, false);
            assert!(said.starts_with(why), "{changes}: {said}");
        }
    }

    #[test]
    fn force_takes_what_is_older_and_nothing_else() {
        assert_eq!(judged(&json!({"version": "0.1.9"}), true), "taken");
        assert!(judged(&json!({"version": "0.2.0"}), true).contains("runs already"));
        assert!(judged(&json!({"product": "toaster"}), true).contains("toaster"));
    }
}
