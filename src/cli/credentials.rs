//! Who asks, and who answers: the token and the certificates that are shown to a router, and who vouches for it.
//!
//! Read once, before anything is asked. Called by `mod.rs`; `client.rs` shows what is held here.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::error::CliError;

/// The variable that holds a token where no file does.
const TOKEN: &str = "VROUTER_TOKEN";

/// The files that say who asks and who may answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Files<'a> {
    pub(super) token: Option<&'a Path>,
    pub(super) ca: Option<&'a Path>,
    pub(super) cert: Option<&'a Path>,
    pub(super) key: Option<&'a Path>,
}

/// What is shown to a router. It does not show itself.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    /// The field `Authorization`.
    pub(super) authorization: Option<String>,
    /// TLS, where it is spoken.
    pub(super) tls: Option<TlsConnector>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads what the command line names and the environment holds.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub(super) fn gather(files: Files<'_>, address: &Address) -> Result<Self, CliError> {
        let token = match (files.token, std::env::var(TOKEN)) {
            (Some(file), _) => Some((text(file)?, file.display().to_string())),
            (None, Ok(token)) if !token.is_empty() => Some((token, TOKEN.to_owned())),
            (None, _) => None,
        };
        let authorization = token.map(|(token, file)| authorization(&token, file)).transpose()?;
        let tls = match address {
            Address::Tcp(url) if url.secure => Some(tls(files)?),
            Address::Tcp(_) | Address::Unix(_) => None,
        };
        Ok(Self { authorization, tls })
    }
}

fn authorization(token: &str, file: String) -> Result<String, CliError> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        let reason = "it holds something else than one token".to_owned();
        return Err(CliError::Input { file, reason });
    }
    Ok(format!("Bearer {token}"))
}

fn tls(files: Files<'_>) -> Result<TlsConnector, CliError> {
    let Some(ca) = files.ca else {
        let reason = "https:// takes --ca FILE, which says who vouches for the router".to_owned();
        return Err(CliError::Input { file: "the authorities".to_owned(), reason });
    };
    let fault = |file: &Path, reason: String| CliError::Input { file: file.display().to_string(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in chain(ca)? {
        roots.add(certificate).map_err(|error| fault(ca, error.to_string()))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(ca, error.to_string()))?
        .with_root_certificates(roots);
    let config = match (files.cert, files.key) {
        (Some(cert), Some(key)) => {
            let octets = text(key)?;
            let own = PrivateKeyDer::from_pem_slice(octets.as_bytes())
                .map_err(|error| fault(key, error.to_string()))?;
            builder.with_client_auth_cert(chain(cert)?, own).map_err(|error| fault(key, error.to_string()))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CliError> {
    let fault = |reason: String| CliError::Input { file: file.display().to_string(), reason };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text(file)?.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| fault(error.to_string()))?;
    if chain.is_empty() { Err(fault("there is no certificate in it".to_owned())) } else { Ok(chain) }
}

fn text(file: &Path) -> Result<String, CliError> {
    fs::read_to_string(file)
        .map_err(|error| CliError::Input { file: file.display().to_string(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_token_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let address = Address::Unix("/run/vrouter/api.sock".into());
        let files = Files { token: Some(&path), ..Files::default() };
        assert!(Credentials::gather(files, &address).is_err(), "it is not there");
        for (text, good) in
            [("a-token\n", true), ("", false), ("ops write a-token", false), ("\u{e9}", false)]
        {
            fs::write(&path, text).unwrap();
            let gathered = Credentials::gather(files, &address);
            assert_eq!(gathered.is_ok(), good, "{text}");
            let own = gathered.ok().and_then(|own| own.authorization);
            assert_eq!(own.as_deref(), good.then_some("Bearer a-token"));
        }
    }

    #[test]
    fn https_takes_who_vouches_for_the_router() {
        let address = Address::Tcp("https://router:7270".parse().unwrap());
        let said = Credentials::gather(Files::default(), &address).err().unwrap().to_string();
        assert!(said.contains("--ca FILE"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let files = Files { ca: Some(&path), ..Files::default() };
        fs::write(&path, "nothing").unwrap();
        assert!(Credentials::gather(files, &address).is_err());
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(["router".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(&path, own.pem()).unwrap();
        assert!(Credentials::gather(files, &address).unwrap().tls.is_some());
        let both = Files { cert: Some(&path), key: Some(&path), ..files };
        assert!(Credentials::gather(both, &address).is_err(), "a certificate is no key");
    }
}
