//! TLS as it is configured: whom to trust, who to be, under which name.
//!
//! Verification of the server cannot be switched off, only pointed at other roots. Everything a caller gives is checked once,
//! when the configuration is built; the roots of the system are read when a client is made. The cryptography is `ring`'s,
//! named here and not taken from a default of the process, so that no other crate can change it.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::error::Error;

/// Whom to trust and who to be over TLS. Goes into [`ConfigBuilder::tls`](crate::ConfigBuilder::tls).
///
/// By default the certificates of the operating system are trusted (also those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name
/// instead) and those of Mozilla, which are built in.
///
/// ```
/// use volley::{Config, TlsConfig};
///
/// let tls = TlsConfig::new().server_name("mcp.example.com");
/// let config = Config::builder().tls(tls).build()?;
/// let error = Config::builder().tls(TlsConfig::new().ca_pem("no PEM")).build().unwrap_err();
/// assert!(error.to_string().contains("ca_pem"));
/// # let _ = config;
/// # Ok::<(), volley::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct TlsConfig {
    roots: Vec<Vec<u8>>,
    only_these_roots: bool,
    /// The chain and its key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
    server_name: Option<String>,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("roots", &self.roots.len())
            .field("only_these_roots", &self.only_these_roots)
            .field("has_identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

impl TlsConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does it show a certificate of its own?
    pub(crate) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Trusts these certificates too; one PEM text may hold several.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Trusts what [`Self::ca_pem`] was given and nothing else.
    #[must_use]
    pub fn only_these_roots(mut self) -> Self {
        self.only_these_roots = true;
        self
    }

    /// Shows this certificate to servers that ask for one: the chain in PEM, the client's own first, and its private key in PEM.
    #[must_use]
    pub fn client_certificate_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((chain.into(), key.into()));
        self
    }

    /// The name that the server's certificate has to be valid for, and that the server is told. Default: the endpoint's host.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Can it be used?
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.only_these_roots && self.roots.is_empty() {
            return Err(Error::config(
                "tls: only_these_roots without a ca_pem trusts nobody; give at least one",
            ));
        }
        if let Some(name) = &self.server_name {
            name_of(name)?;
        }
        // With no roots but the given ones: the others are read once, when a client is made.
        self.client_config(self.given_roots()?).map(|_| ())
    }

    /// What a connection to `host` needs. `alpn` are the protocols offered, the best first.
    pub(crate) fn dial(&self, host: &str, alpn: &[&[u8]]) -> Result<TlsDial, Error> {
        let name = name_of(self.server_name.as_deref().unwrap_or(host))?;
        let mut roots = self.given_roots()?;
        if !self.only_these_roots {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            // What of the system's store cannot be read is not trusted; a server that needs it is then refused by its name.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let config = Arc::new(self.client_config(roots)?);
        Ok(TlsDial { config, name }.with_alpn(alpn))
    }

    fn given_roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for (n, pem) in self.roots.iter().enumerate() {
            for certificate in certificates(pem, &format!("ca_pem number {n}"))? {
                roots.add(certificate).map_err(|error| {
                    Error::config(format!(
                        "tls: ca_pem number {n} has a certificate that cannot be a root: {error}"
                    ))
                    .because(error)
                })?;
            }
        }
        Ok(roots)
    }

    fn client_config(&self, roots: RootCertStore) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                Error::config(format!("tls: no protocol version can be had: {error}")).because(error)
            })?
            .with_root_certificates(roots);
        let Some((chain, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(chain, "the client certificate's chain")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            Error::config(format!("tls: the client certificate's key is no private key in PEM: {error}"))
        })?;
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            Error::config(format!("tls: the client certificate and its key do not fit: {error}"))
                .because(error)
        })
    }
}

/// At least one certificate out of a PEM text.
fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::config(format!("tls: {what} is no PEM: {error}")))?;
    if found.is_empty() {
        return Err(Error::config(format!("tls: {what} has no certificate in {} bytes", pem.len())));
    }
    Ok(found)
}

fn name_of(host: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| Error::config(format!("tls: {host:?} is neither a DNS name nor an IP address")))
}

/// What a TLS connection is made with.
#[derive(Clone, Debug)]
pub(crate) struct TlsDial {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl TlsDial {
    /// The same with these protocols offered, the best first. Sessions to resume are shared with the original.
    pub(crate) fn with_alpn(mut self, protocols: &[&[u8]]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, error::ErrorKind};

    #[test]
    fn what_is_wrong_is_named() {
        let bad_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (tls, what) in [
            (TlsConfig::new().ca_pem("no PEM at all"), "ca_pem number 0 has no certificate in 13 bytes"),
            (TlsConfig::new().ca_pem(""), "ca_pem number 0 has no certificate in 0 bytes"),
            (TlsConfig::new().ca_pem(bad_der), "cannot be a root"),
            (TlsConfig::new().ca_pem("-----BEGIN CERTIFICATE-----\n?"), "ca_pem number 0 is no PEM"),
            (TlsConfig::new().only_these_roots(), "trusts nobody"),
            (TlsConfig::new().server_name("a b"), "\"a b\" is neither"),
            (TlsConfig::new().client_certificate_pem("", "x"), "the client certificate's chain"),
            (TlsConfig::new().client_certificate_pem(bad_der, "x"), "no private key"),
        ] {
            let error = Config::builder().tls(tls).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(what), "{error}");
        }
    }

    #[test]
    fn a_name_may_be_an_address() {
        for name in ["example.com", "127.0.0.1", "::1"] {
            name_of(name).unwrap();
        }
    }

    #[test]
    fn protocols_are_offered_without_touching_the_original() {
        let plain = TlsConfig::new().dial("localhost", &[]).unwrap();
        let h2 = plain.clone().with_alpn(&[b"h2", b"http/1.1"]);
        assert!(plain.config.alpn_protocols.is_empty());
        assert_eq!(h2.config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }
}
