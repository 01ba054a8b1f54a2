//! A MITIGATOR that is none: its REST API as far as Levee uses it, over TLS, with both generations of names, a state for each
//! policy, and every fault that a test asks for. It records all that it is asked. It agrees with what is known of the real one;
//! it proves nothing about that.

pub mod http;
mod state;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub use state::{Fault, Request, State};

/// Who may log in, unless a test says otherwise.
pub const USER: &str = "levee";
/// With this.
pub const PASSWORD: &str = "pass \"word\" of 20% tests";
/// A connection that says nothing for so long ends.
const IDLE: Duration = Duration::from_secs(120);

/// Whose certificate a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Its own, as that of an appliance.
    SelfSigned,
    /// An authority's.
    Signed,
}

/// One node. Nodes of one cluster have one state.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    pem: String,
    state: Arc<Mutex<State>>,
}

impl Stub {
    /// A node with a state of its own, that has its own certificate.
    pub fn start(listener: TcpListener, version: &str) -> Stub {
        Stub::node(listener, Arc::new(Mutex::new(State::new(version))), Certificate::SelfSigned)
    }

    /// A node on a free port of this machine.
    pub fn local(version: &str) -> Stub {
        Stub::start(free_port(), version)
    }

    /// Another node of the same cluster.
    pub fn beside(&self, listener: TcpListener, certificate: Certificate) -> Stub {
        Stub::node(listener, Arc::clone(&self.state), certificate)
    }

    fn node(listener: TcpListener, state: Arc<Mutex<State>>, certificate: Certificate) -> Stub {
        let address = listener.local_addr().expect("an address");
        let (config, pem) = tls(address, certificate);
        let (config, theirs) = (Arc::new(config), Arc::clone(&state));
        // It ends with the process: nobody waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, state) = (Arc::clone(&config), Arc::clone(&theirs));
                std::thread::spawn(move || drop(serve(stream, config, &state)));
            }
        });
        Stub { address, pem, state }
    }

    /// `https://ADDRESS`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate that clients need: its own, or its authority's.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// All that it has and does.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What it was asked, as `METHOD PATH` and the body, without the log-ins and what only looks.
    pub fn puts(&self) -> Vec<String> {
        let requests = self.state().requests.clone();
        let puts = requests.iter().filter(|request| request.method == "PUT" && request.status == 200);
        puts.map(|request| format!("{} {}", request.path, request.body)).collect()
    }
}

/// A listener on this machine that nobody else has.
///
/// # Panics
/// Where there is none.
pub fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A certificate for this address, and what vouches for it.
///
/// # Panics
/// Where none can be made.
pub fn tls(address: SocketAddr, certificate: Certificate) -> (ServerConfig, String) {
    let names = vec![address.ip().to_string(), "localhost".to_owned(), "mitigator.example".to_owned()];
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, "MITIGATOR stub");
    let (own, pem) = match certificate {
        Certificate::SelfSigned => {
            // As `openssl req -x509` makes them: an authority that vouches for itself.
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let own = params.self_signed(&key).expect("a certificate");
            let pem = own.pem();
            (own, pem)
        }
        Certificate::Signed => {
            let authority_key = KeyPair::generate().expect("a key");
            let mut authority = CertificateParams::default();
            authority.distinguished_name.push(DnType::CommonName, "Authority of the stub");
            authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let root = authority.self_signed(&authority_key).expect("a certificate");
            let issuer = Issuer::new(authority, authority_key);
            (params.signed_by(&key, &issuer).expect("a certificate"), root.pem())
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key.into())
        .expect("a certificate with its key");
    (config, pem)
}

/// Answers what comes over one connection, until it ends.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    while let Some(message) = http::read(&mut stream)? {
        let (answer, fault) = lock(state).answer(&message);
        match fault {
            Some(Fault::Slow(time)) => std::thread::sleep(time),
            Some(Fault::Drop) => return Ok(()),
            Some(Fault::Garbage) => return stream.write_all(b"SMTP? no.\r\n\r\n").and_then(|()| stream.flush()),
            _ => {}
        }
        http::write(&mut stream, &answer)?;
    }
    Ok(())
}
