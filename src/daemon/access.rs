//! Who may speak, from the command line, files and the service manager's credentials: read at start, and again when the
//! service is told to look at everything anew. Called by `mod.rs`; its options stand on the command line of `vrouterd`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use nix::unistd::Uid;

use super::memory;
use crate::api::Door;
use crate::api::access::tls::{Pem, Tls, TlsFault};
use crate::api::access::{Access, Role, Settings, TokenFault, Tokens};

/// The largest file that is read, in octets.
const MAX_FILE: u64 = 1 << 20;
/// Where the service manager leaves credentials (systemd.exec(5)), and what they are called.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
const TOKENS: &str = "vrouter.tokens";
const TLS_CERT: &str = "vrouter.tls-cert";
const TLS_KEY: &str = "vrouter.tls-key";
const CLIENT_CA: &str = "vrouter.client-ca";

/// Who may speak.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Who may speak")]
pub struct AccessOptions {
    /// Bearer tokens, one on a line: NAME ROLE SECRET. ROLE is read or write, SECRET the token or sha256:HEX of it.
    ///
    /// Without it, the systemd credential `vrouter.tokens` is taken where there is one, else `vrouter_tokens` of a seed disk.
    /// SIGHUP has it read again.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The certificate chain of the API in PEM; with it, TCP is spoken by TLS alone. Or the credential `vrouter.tls-cert`.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its key. Or the credential `vrouter.tls-key`.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Who vouches for the certificates of clients. Or the credential `vrouter.client-ca`.
    ///
    /// Where there are tokens as well, a client shows either; otherwise each has to show a certificate.
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// What clients with a certificate may do: read or write. Those of the unit `vrouter-read` may only ever read.
    #[arg(long, value_name = "ROLE", default_value = "write")]
    pub client_role: Role,
    /// A user who may look on the socket, by number; may be given several times. Root and the service's own user may do
    /// everything there.
    #[arg(long, value_name = "UID")]
    pub socket_reader_uid: Vec<u32>,
    /// Where neither tokens nor client certificates are set, listen on loopback in place of any other address, instead
    /// of refusing to start.
    #[arg(long)]
    pub or_loopback: bool,
    /// Where a seed disk brought tokens, and their lines.
    #[arg(skip)]
    seeded: Option<(String, String)>,
}

/// Why it cannot be said who may speak.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// The system's words.
        source: io::Error,
    },
    /// The tokens.
    #[error("{path}: {fault}")]
    Tokens {
        /// Where they are.
        path: String,
        /// What is wrong with them.
        fault: TokenFault,
    },
    /// TLS.
    #[error("TLS of the API: {0}")]
    Tls(#[from] TlsFault),
    /// One of two that belong together.
    #[error("{0} takes {1} as well")]
    Lacks(&'static str, &'static str),
    /// Anybody could command the router.
    #[error(
        "{0} can be reached from elsewhere, and nobody would be asked who he is there: give --token-file, or --tls-cert, \
         --tls-key and --client-ca, or listen on loopback alone"
    )]
    Open(SocketAddr),
}

/// A file that was found, and what it holds.
struct Found {
    path: PathBuf,
    content: Vec<u8>,
}

impl AccessOptions {
    /// The same where a seed disk brought tokens, which are taken where nothing else has any. Tokens of a disk that cannot be
    /// read are none: a machine that does not start because of them could not even be asked why.
    #[must_use]
    pub(super) fn with_tokens_of(self, seeded: Option<(String, String)>) -> Self {
        let seeded = seeded.filter(|(source, lines)| {
            let fault = Tokens::parse(lines).err();
            if let Some(fault) = &fault {
                tracing::error!(source, %fault, "the tokens are refused");
            }
            fault.is_none()
        });
        Self { seeded, ..self }
    }

    /// The door as it is wanted.
    ///
    /// # Errors
    /// What cannot be read, or does not fit.
    pub(super) fn door(&self) -> Result<Arc<Door>, AccessError> {
        let tokens = self.tokens()?;
        if tokens.as_ref().is_some_and(Tokens::is_empty) {
            tracing::warn!("there are no tokens in the file of tokens: nobody is known by one");
        }
        let tls = self.tls(tokens.is_some())?;
        let settings = Settings {
            tokens,
            client_certificates: self.found(self.client_ca.as_deref(), CLIENT_CA)?.is_some(),
            writers: BTreeSet::from([0, Uid::effective().as_raw()]),
            readers: self.socket_reader_uid.iter().copied().collect(),
        };
        Ok(Arc::new(
            Door::new(Access::new(settings), tls)
                .with_relief(memory::give_back)
                .with_memory(memory::octets()),
        ))
    }

    /// Reads tokens and certificates again. What cannot be read leaves those that there are.
    pub(super) fn reload(&self, door: &Door) {
        let asks = match self.tokens() {
            Ok(tokens) => {
                let asks = tokens.is_some();
                if let Some(tokens) = tokens {
                    tracing::info!(target: "audit", tokens = tokens.len(), "tokens were read again");
                    door.access.replace_tokens(tokens);
                }
                asks
            }
            Err(error) => {
                tracing::error!(%error, "tokens stay as they are");
                true
            }
        };
        match self.tls(asks) {
            Ok(Some(tls)) => door.replace_tls(tls),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "certificates stay as they are"),
        }
    }

    /// Where the API listens.
    ///
    /// # Errors
    /// Somebody could come from elsewhere and would not be asked who he is.
    pub(super) fn listen(&self, wanted: &[SocketAddr], asks: bool) -> Result<Vec<SocketAddr>, AccessError> {
        let mut addresses = Vec::new();
        for address in wanted {
            let safe = asks || address.ip().to_canonical().is_loopback();
            let address = match (safe, self.or_loopback) {
                (true, _) => *address,
                (false, false) => return Err(AccessError::Open(*address)),
                (false, true) => {
                    tracing::warn!(
                        wanted = %address,
                        "neither tokens nor client certificates are set: the API answers on loopback alone"
                    );
                    SocketAddr::new(loopback(address.ip()), address.port())
                }
            };
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    fn tokens(&self) -> Result<Option<Tokens>, AccessError> {
        let Some(Found { path, content }) = self.found(self.token_file.as_deref(), TOKENS)? else {
            let of_disk = |(path, lines): &(String, String)| {
                Tokens::parse(lines).map_err(|fault| AccessError::Tokens { path: path.clone(), fault })
            };
            return self.seeded.as_ref().map(of_disk).transpose();
        };
        let shown = || path.display().to_string();
        if self.token_file.is_some() && is_open(&path) {
            tracing::warn!(path = shown(), "other users of this machine can read the file of tokens");
        }
        let text = String::from_utf8(content).map_err(|_| {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8");
            AccessError::Read { path: shown(), source }
        })?;
        Tokens::parse(&text).map(Some).map_err(|fault| AccessError::Tokens { path: shown(), fault })
    }

    fn tls(&self, tokens: bool) -> Result<Option<Tls>, AccessError> {
        let chain = self.found(self.tls_cert.as_deref(), TLS_CERT)?;
        let key = self.found(self.tls_key.as_deref(), TLS_KEY)?;
        let authorities = self.found(self.client_ca.as_deref(), CLIENT_CA)?;
        let (chain, key) = match (chain, key) {
            (Some(chain), Some(key)) => (chain.content, key.content),
            (Some(_), None) => return Err(AccessError::Lacks("--tls-cert", "--tls-key")),
            (None, Some(_)) => return Err(AccessError::Lacks("--tls-key", "--tls-cert")),
            (None, None) if authorities.is_some() => {
                return Err(AccessError::Lacks("--client-ca", "--tls-cert"));
            }
            (None, None) => return Ok(None),
        };
        let client_authorities =
            authorities.map(|found| String::from_utf8_lossy(&found.content).into_owned());
        Ok(Some(Tls::new(&Pem { chain, key, client_authorities }, self.client_role, tokens)?))
    }

    /// A file that was named, else the credential of this name where there is one.
    #[expect(clippy::unused_self, reason = "it is one of what the options say")]
    fn found(&self, named: Option<&Path>, credential: &str) -> Result<Option<Found>, AccessError> {
        let path = match (named, std::env::var_os(CREDENTIALS)) {
            (Some(named), _) => named.to_owned(),
            (None, Some(folder)) => PathBuf::from(folder).join(credential),
            (None, None) => return Ok(None),
        };
        match read(&path) {
            Ok(content) => Ok(Some(Found { path, content })),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AccessError::Read { path: path.display().to_string(), source }),
        }
    }
}

/// Whether users may read a file whose it is not.
fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut content = Vec::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(content)
}

const fn loopback(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(or_loopback: bool) -> AccessOptions {
        AccessOptions {
            token_file: None,
            tls_cert: None,
            tls_key: None,
            client_ca: None,
            client_role: Role::Write,
            socket_reader_uid: Vec::new(),
            or_loopback,
            seeded: None,
        }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn off_loopback_somebody_has_to_be_asked() {
        let wanted = addresses(&["127.0.0.1:7270", "0.0.0.0:7270", "[::]:7270", "[::1]:7270"]);
        assert_eq!(options(false).listen(&wanted, true).unwrap(), wanted);
        let error = options(false).listen(&wanted, false).unwrap_err().to_string();
        assert!(error.starts_with("0.0.0.0:7270 can be reached from elsewhere"), "{error}");
        let instead = options(true).listen(&wanted, false).unwrap();
        assert_eq!(instead, addresses(&["127.0.0.1:7270", "[::1]:7270"]));
        assert_eq!(options(true).listen(&wanted, true).unwrap(), wanted);
        let loopback = addresses(&["127.0.0.9:80", "[::ffff:127.0.0.1]:81"]);
        assert_eq!(options(false).listen(&loopback, false).unwrap(), loopback);
    }

    #[test]
    fn a_file_that_is_named_has_to_be_there_and_be_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let options = AccessOptions { token_file: Some(path.clone()), ..options(false) };
        assert!(matches!(options.door(), Err(AccessError::Read { .. })));
        fs::write(&path, "ops write short").unwrap();
        let error = options.door().err().unwrap().to_string();
        assert!(
            error.ends_with(
                "tokens: line 1: a token has 16 to 512 characters; `openssl rand -hex 32` makes one"
            ),
            "{error}"
        );
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(options.door(), Err(AccessError::Read { .. })));
        fs::write(&path, vec![b'#'; 1 << 21]).unwrap();
        assert!(matches!(options.door(), Err(AccessError::Read { .. })));
        fs::write(&path, "").unwrap();
        let door = options.door().unwrap();
        assert!(door.access.asks(), "a file without tokens closes the door");
        fs::write(&path, "ops write a-token-of-some-length").unwrap();
        options.reload(&door);
        fs::remove_file(&path).unwrap();
        options.reload(&door);
        assert!(door.access.asks());
        let none = AccessOptions { token_file: None, ..options };
        let half = AccessOptions { tls_cert: Some("/dev/null".into()), ..none.clone() };
        assert_eq!(half.door().err().unwrap().to_string(), "--tls-cert takes --tls-key as well");
        let half = AccessOptions { client_ca: Some("/dev/null".into()), ..none };
        assert_eq!(half.door().err().unwrap().to_string(), "--client-ca takes --tls-cert as well");
    }
}
