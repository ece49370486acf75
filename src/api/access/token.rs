//! Bearer tokens: the file that names them, and who presents one (RFC 6750).
//!
//! A line is `NAME ROLE SECRET`. The secret is a token itself, or `sha256:` and the SHA-256 of one in hex, so that the file
//! gives nothing away. In memory there are digests alone. Called by the daemon, which reads the file, and by `mod.rs`.

use std::collections::BTreeSet;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

/// The most tokens of a file.
pub const MAX_TOKENS: usize = 1024;
/// The longest name, in characters.
const MAX_NAME: usize = 64;
/// The shortest token: 16 characters hold 96 random bits.
const MIN_TOKEN: usize = 16;
/// The longest token.
const MAX_TOKEN: usize = 512;
/// How a digest begins. No token has a colon (RFC 6750 section 2.1).
const SHA256_PREFIX: &str = "sha256:";

type Digest = [u8; 32];

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look at everything, plan and trace.
    Read,
    /// Everything.
    Write,
}

impl Role {
    /// Its name, as files and options have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            other => Err(format!("`{other}` is no role; roles are read and write")),
        }
    }
}

/// One token that is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is. Several may have one name, so that a token can be replaced without a moment in which none works.
    pub name: String,
    /// What its owner may do.
    pub role: Role,
    digest: Digest,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// The tokens of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

/// What is wrong with a file of tokens. It never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// A line is not as it has to be.
    #[error("line {line}: {why}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// There are too many.
    #[error("it has more than {MAX_TOKENS} tokens")]
    TooMany,
}

impl Tokens {
    /// Reads a file: a token on each line, `#` begins a comment line, blank lines are nothing.
    ///
    /// # Errors
    /// The first line that is not as it has to be.
    pub fn parse(text: &str) -> Result<Self, TokenFault> {
        let (mut tokens, mut seen) = (Vec::new(), BTreeSet::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if tokens.len() == MAX_TOKENS {
                return Err(TokenFault::TooMany);
            }
            let fault = |why: String| TokenFault::Line { line: index + 1, why };
            let token = parse_line(line).map_err(fault)?;
            if !seen.insert(token.digest) {
                return Err(fault("its token stands on a line before it already".to_owned()));
            }
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    /// Whether there is none: then nobody is known by one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whose a token is. Every digest is looked at to its end, so that the time it takes says nothing of any of them.
    #[must_use]
    pub fn find(&self, presented: &str) -> Option<&Token> {
        let presented = sha256(presented.as_bytes());
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.digest.ct_eq(&presented)) {
                found = Some(token);
            }
        }
        found
    }
}

fn parse_line(line: &str) -> Result<Token, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(role), Some(secret), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("expected NAME ROLE SECRET, with blanks between them".to_owned());
    };
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if name.len() > MAX_NAME || !name.chars().all(of_name) {
        return Err(format!("a name is 1 to {MAX_NAME} of A-Z a-z 0-9 . _ - @"));
    }
    let role = role.parse()?;
    let digest = match secret.strip_prefix(SHA256_PREFIX) {
        Some(hex) => unhex(hex).ok_or("behind sha256: there have to be 64 hexadecimal digits")?,
        None => {
            check_token(secret)?;
            sha256(secret.as_bytes())
        }
    };
    Ok(Token { name: name.to_owned(), role, digest })
}

/// Whether a text can be a token: b64token of RFC 6750, and neither short nor long.
fn check_token(text: &str) -> Result<(), String> {
    let body = text.trim_end_matches('=');
    let of_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    if body.is_empty() || !body.chars().all(of_token) {
        return Err("a token is of A-Z a-z 0-9 - . _ ~ + / and may end with =".to_owned());
    }
    if !(MIN_TOKEN..=MAX_TOKEN).contains(&text.len()) {
        return Err(format!(
            "a token has {MIN_TOKEN} to {MAX_TOKEN} characters; `openssl rand -hex 32` makes one"
        ));
    }
    Ok(())
}

fn sha256(octets: &[u8]) -> Digest {
    let mut own = Digest::default();
    // A SHA-256 is as long as a SHA-256.
    for (place, octet) in own.iter_mut().zip(digest(&SHA256, octets).as_ref()) {
        *place = *octet;
    }
    own
}

fn unhex(text: &str) -> Option<Digest> {
    let mut own = Digest::default();
    if text.len() != 2 * own.len() || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return None;
    }
    for (index, place) in own.iter_mut().enumerate() {
        *place = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(own)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPS: &str = "0123456789abcdef0123456789abcdef";
    /// `printf %s monitoring-0123456789 | sha256sum`
    const MONITORING: &str = "monitoring-0123456789";

    fn hex(digest: &Digest) -> String {
        digest.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    #[test]
    fn a_token_is_known_by_itself_or_by_its_digest() {
        let text = format!(
            "# who may speak\n\nops write {OPS}\n  watch@site\tread  sha256:{}\n",
            hex(&sha256(MONITORING.as_bytes())).to_uppercase()
        );
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!(tokens.len(), 2);
        let known = |presented| tokens.find(presented).map(|token| (token.name.as_str(), token.role));
        assert_eq!(known(OPS), Some(("ops", Role::Write)));
        assert_eq!(known(MONITORING), Some(("watch@site", Role::Read)));
        for presented in ["", "ops", &OPS[1..], &format!("{OPS} "), &hex(&sha256(MONITORING.as_bytes()))] {
            assert_eq!(known(presented), None, "{presented}");
        }
        assert!(!format!("{tokens:?}").contains("012345"), "secrets show themselves to nobody");
        assert_eq!(
            hex(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "FIPS 180-2 appendix B.1"
        );
    }

    #[test]
    fn a_token_can_be_replaced_by_another_of_its_name() {
        let tokens = Tokens::parse(&format!("ops write {OPS}\nops write {OPS}{OPS}\n")).unwrap();
        assert!(tokens.find(OPS).is_some() && tokens.find(&format!("{OPS}{OPS}")).is_some());
        assert!(Tokens::parse("# none\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_without_the_secret() {
        for (text, why) in [
            ("ops write", "line 1: expected NAME ROLE SECRET"),
            (&format!("ops write {OPS} more"), "line 1: expected NAME ROLE SECRET"),
            (&format!("\nops admin {OPS}"), "line 2: `admin` is no role; roles are read and write"),
            (&format!("o/ps write {OPS}"), "line 1: a name is"),
            (&format!("{} write {OPS}", "n".repeat(65)), "line 1: a name is"),
            ("ops write short", "line 1: a token has 16 to 512 characters"),
            (&format!("ops write {}", "t".repeat(513)), "line 1: a token has 16 to 512 characters"),
            ("ops write ================", "line 1: a token is of"),
            ("ops write 0123456789:abcdef", "line 1: a token is of"),
            ("ops write sha256:0123", "line 1: behind sha256:"),
            (&format!("ops write sha256:{}", "é".repeat(32)), "line 1: behind sha256:"),
            (&format!("a write {OPS}\nb read {OPS}"), "line 2: its token stands on a line before it"),
        ] {
            let said = Tokens::parse(text).unwrap_err().to_string();
            assert!(said.starts_with(why), "{text}: {said}");
            assert!(!said.contains(OPS), "{said}");
        }
        let many: String = (0..=MAX_TOKENS).map(|n| format!("n{n} read token-number-{n:08}\n")).collect();
        assert_eq!(Tokens::parse(&many), Err(TokenFault::TooMany));
    }

    proptest! {
        #[test]
        fn no_file_is_beyond_reading(text in "\\PC{0,200}", lines in proptest::collection::vec("[a-z0-9:=# \t]{0,90}", 0..9)) {
            let _ = Tokens::parse(&text);
            let _ = Tokens::parse(&lines.join("\n"));
        }
    }
}
