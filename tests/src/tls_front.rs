//! A TLS front: takes TLS connections, speaks plainly to a server behind it, and can do so badly. With it comes an authority
//! that signs certificates for the occasion.
//!
//! Two threads for each connection pass bytes on, one each way. Nothing is buffered beyond what the session holds.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::{ports, processes::Mark};

/// Signs certificates; whoever trusts its [`pem`](Self::pem) trusts them.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

/// How a front behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    /// At the end of a stream it says so (`close_notify`).
    pub good_bye: bool,
    /// It writes ciphertext in pieces of so many bytes, each in a packet of its own if the kernel is willing.
    pub piece_bytes: usize,
    /// It lets in only clients with a certificate of this authority.
    pub clients_of: Option<String>,
    /// It speaks TLS 1.2 and nothing newer.
    pub old: bool,
    /// What it would have spoken above TLS, the best first; nothing says nothing of it (ALPN).
    pub alpn: &'static [&'static str],
}

impl Default for Manners {
    fn default() -> Self {
        Self { good_bye: true, piece_bytes: usize::MAX, clients_of: None, old: false, alpn: &[] }
    }
}

/// A listening front. Dropping it ends the listening; connections end with their two sides.
#[derive(Debug)]
pub struct TlsFront {
    port: u16,
    over: Arc<AtomicBool>,
    agreed: Arc<Mutex<Vec<String>>>,
}

impl Authority {
    /// A new one that nobody knows.
    ///
    /// # Panics
    /// If no key can be made.
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Authorities are known by their names; two of one name would be taken for each other.
        let name = format!("authority {}", Mark::new().as_str());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names, which `change` may make strange.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

impl TlsFront {
    /// In front of a plain TCP server, `behind` as in `tcp://127.0.0.1:1`.
    ///
    /// # Panics
    /// If the identity cannot be used or no port is free.
    pub fn start(identity: &Identity, behind: &str, manners: Manners) -> Self {
        let behind = behind.trim_start_matches("tcp://").to_owned();
        let config = server_config(identity, &manners);
        let listener = ports::listener();
        let port = listener.local_addr().expect("an address").port();
        let (over, agreed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ends, agrees) = (Arc::clone(&over), Arc::clone(&agreed));
        thread::spawn(move || {
            for client in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let client = client.expect("a connection");
                let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
                let (behind, manners, agrees) = (behind.clone(), manners.clone(), Arc::clone(&agrees));
                thread::spawn(move || serve(client, session, &behind, &manners, &agrees));
            }
        });
        Self { port, over, agreed }
    }

    /// Where it listens; on 127.0.0.1, which `localhost` is as well.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was agreed on above TLS, for each connection whose handshake is over; empty if that was nothing.
    pub fn agreed(&self) -> Vec<String> {
        self.agreed.lock().clone()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; if it cannot be reached it has gone already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The two halves of a TLS session on a socket, for one thread that reads and writes in turn.
///
/// # Panics
/// If the identity cannot be used.
pub fn halves(identity: &Identity, socket: TcpStream) -> (Box<dyn Read + Send>, Box<dyn Write + Send>) {
    struct Half(Arc<Mutex<StreamOwned<ServerConnection, TcpStream>>>);
    impl Read for Half {
        fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
            self.0.lock().read(space)
        }
    }
    impl Write for Half {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.lock().flush()
        }
    }
    let config = server_config(identity, &Manners::default());
    let session = ServerConnection::new(config).expect("a session");
    let both = Arc::new(Mutex::new(StreamOwned::new(session, socket)));
    (Box::new(Half(Arc::clone(&both))), Box::new(Half(both)))
}

fn server_config(identity: &Identity, manners: &Manners) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes())
        .collect::<Result<_, _>>()
        .expect("a chain in PEM");
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key in PEM");
    let versions = if manners.old { &[&rustls::version::TLS12][..] } else { rustls::DEFAULT_VERSIONS };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions");
    let builder = match &manners.clients_of {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("a root in PEM"))
                .expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .expect("a verifier");
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).expect("a certificate that fits its key");
    config.alpn_protocols = manners.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Passes on from the client to what is behind; a second thread passes on what comes back.
fn serve(
    mut client: TcpStream,
    session: ServerConnection,
    behind: &str,
    manners: &Manners,
    agreed: &Mutex<Vec<String>>,
) {
    let Ok(mut plain) = TcpStream::connect(behind) else { return };
    client.set_nodelay(true).expect("no delay");
    plain.set_nodelay(true).expect("no delay");
    let session = Arc::new(Mutex::new(session));
    let back = {
        let (mut plain, mut client) =
            (plain.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
        let (session, manners) = (Arc::clone(&session), manners.clone());
        thread::spawn(move || {
            let mut space = vec![0; 16 * 1024];
            while let Ok(n @ 1..) = plain.read(&mut space) {
                let mut session = session.lock();
                session.writer().write_all(&space[..n]).expect("the session takes it");
                if !say(&mut session, &mut client, manners.piece_bytes) {
                    break;
                }
            }
            let mut session = session.lock();
            if manners.good_bye {
                session.send_close_notify();
                say(&mut session, &mut client, manners.piece_bytes);
            }
            // Ends the other direction as well. It may be gone already.
            let _ = client.shutdown(Shutdown::Both);
        })
    };
    let mut space = vec![0; 16 * 1024];
    let (mut text, mut has_agreed) = (Vec::new(), false);
    'client: while let Ok(n @ 1..) = client.read(&mut space) {
        let mut ciphertext = &space[..n];
        while !ciphertext.is_empty() {
            text.clear();
            let is_fine = {
                let mut session = session.lock();
                let taken = session.read_tls(&mut ciphertext).is_ok_and(|taken| taken > 0);
                let is_fine = taken && session.process_new_packets().is_ok();
                if !session.is_handshaking() && !std::mem::replace(&mut has_agreed, true) {
                    let name = session.alpn_protocol().unwrap_or_default();
                    agreed.lock().push(String::from_utf8_lossy(name).into_owned());
                }
                // Reads what there is; that there is no end yet is no error here.
                let _ = session.reader().read_to_end(&mut text);
                // An alert, if something is wrong.
                say(&mut session, &mut client, manners.piece_bytes) && is_fine
            };
            if plain.write_all(&text).is_err() || !is_fine {
                break 'client;
            }
        }
    }
    let _ = plain.shutdown(Shutdown::Both);
    // It says no more than that there was nobody to say something to.
    let _ = back.join();
}

/// Writes what the session has to say. `false` if the client has hung up.
fn say(session: &mut ServerConnection, client: &mut TcpStream, piece_bytes: usize) -> bool {
    let mut ciphertext = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut ciphertext).expect("a vector takes everything");
    }
    ciphertext.chunks(piece_bytes.min(ciphertext.len()).max(1)).all(|piece| client.write_all(piece).is_ok())
}
