//! TLS under any TCP transport: a certificate made at the start, and the stream it protects.
//!
//! The certificate is for localhost, 127.0.0.1 and ::1 and is signed by an authority that is made
//! and forgotten at the same moment; `--tls-ca` writes the authority's own certificate, which is
//! all a client needs to trust. What rustls takes but the socket does not yet is kept by rustls,
//! and [`TlsStream::flush`] passes it on.
//! What always holds: while ciphertext waits, no further plaintext is taken, so what waits has a
//! bound. Proof: `a_client_that_trusts_the_authority_is_served`, below.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

/// What all TLS connections of a server share.
#[derive(Clone)]
pub(super) struct TlsKeeper {
    /// For protocols that ALPN has a name for: HTTP and what begins as HTTP.
    http: Arc<ServerConfig>,
    plain: Arc<ServerConfig>,
}

/// A TCP stream under TLS; all calls return at once.
pub(super) struct TlsStream {
    pub(super) socket: TcpStream,
    tls: ServerConnection,
}

impl TlsKeeper {
    /// Makes authority, certificate and keys, and writes the authority's certificate to `ca`.
    pub(super) fn make(ca: Option<&Path>) -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "loadgen target authority");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let authority = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, "loadgen target");
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &authority).map_err(io::Error::other)?;
        if let Some(path) = ca {
            std::fs::write(path, authority.pem()).map_err(|error| {
                io::Error::new(error.kind(), format!("--tls-ca {}: {error}", path.display()))
            })?;
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(io::Error::other)?;
        let mut http = config.clone();
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { http: Arc::new(http), plain: Arc::new(config) })
    }

    /// Begins TLS on a connection that was accepted.
    pub(super) fn accept(&self, socket: TcpStream, is_http: bool) -> io::Result<TlsStream> {
        let config = if is_http { &self.http } else { &self.plain };
        let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(TlsStream { socket, tls })
    }
}

impl TlsStream {
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Clients that leave without a farewell are the rule.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            let read = self.tls.read_tls(&mut self.socket)?;
            let processed = self.tls.process_new_packets().map_err(io::Error::other);
            // The handshake has something to say, and so has a fault, as an alert.
            match self.flush() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            processed?;
            if read == 0 && self.tls.wants_read() {
                return self.tls.reader().read(bytes).or(Ok(0));
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let written = self.tls.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ if written == 0 && !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(written),
        }
    }

    /// Passes on ciphertext that waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};
    use std::thread;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::*;

    /// Blocks where the stream would not, as the event loop waits for readiness.
    fn patiently<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match work() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                done => return done,
            }
        }
    }

    #[test]
    fn a_client_that_trusts_the_authority_is_served() {
        let path = std::env::temp_dir().join(format!("loadgen-tls-{}.pem", std::process::id()));
        let keeper = TlsKeeper::make(Some(&path)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for is_http in [true, false, true] {
                let (socket, _) = listener.accept().unwrap();
                socket.set_nonblocking(true).unwrap();
                let mut stream = keeper.accept(TcpStream::from_std(socket), is_http).unwrap();
                let mut bytes = vec![0; 1 << 20];
                let mut total = 0;
                while total < bytes.len() {
                    let read = patiently(|| stream.read(&mut bytes[total..])).unwrap();
                    assert!(read > 0, "{total} bytes came");
                    total += read;
                }
                let mut sent = 0;
                while sent < bytes.len() {
                    sent += patiently(|| stream.write(&bytes[sent..])).unwrap();
                }
                patiently(|| stream.flush()).unwrap();
                assert_eq!(patiently(|| stream.read(&mut bytes)).unwrap(), 0, "the end");
            }
        });
        let sent: Vec<u8> = (0..1_u32 << 20).map(|n| n as u8).collect();
        for name in ["localhost", "127.0.0.1", "::1"] {
            let name = ServerName::try_from(name).unwrap();
            let tls = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
            let socket = std::net::TcpStream::connect(address).unwrap();
            let mut stream = StreamOwned::new(tls, socket);
            stream.write_all(&sent).unwrap();
            let mut received = vec![0; sent.len()];
            stream.read_exact(&mut received).unwrap();
            assert!(received == sent);
            stream.sock.shutdown(Shutdown::Write).unwrap();
        }
        server.join().unwrap();
    }
}
