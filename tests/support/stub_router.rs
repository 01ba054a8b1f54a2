//! A BGP speaker of our own that resets its session over a rule that it dislikes, which well-meaning routers do not do with what
//! Levee sends. It listens on a loopback address, takes IPv4 rules, and knows just enough of RFC 4271 for that.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;
const MP_REACH: u8 = 14;
const MP_UNREACH: u8 = 15;
const EXTENDED_LENGTH: u8 = 0x10;
/// IPv4 Flow Spec.
const FAMILY: [u8; 3] = [0, 1, 133];
/// Seconds without a word before a session falls.
const HOLD_TIME: u16 = 90;

/// What it was told, and what it did.
#[derive(Default)]
struct Heard {
    /// Rules as they came, without their length.
    held: BTreeSet<Vec<u8>>,
    sessions: usize,
    resets: usize,
    /// The open session.
    session: Option<TcpStream>,
    stop: bool,
}

/// A running stub. It ends when dropped.
pub(crate) struct StubRouter {
    heard: Arc<Mutex<Heard>>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl StubRouter {
    /// Listens on this address, any port, as a router of this AS; resets its session over each rule that has these octets.
    pub(crate) fn start(address: Ipv4Addr, asn: u16, dislikes: Option<&[u8]>) -> StubRouter {
        let listener = TcpListener::bind((address, 0)).expect("listen");
        let address = listener.local_addr().expect("an address");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (shared, dislikes) = (Arc::clone(&heard), dislikes.map(<[u8]>::to_vec));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                shared.lock().unwrap().session = stream.try_clone().ok();
                if shared.lock().unwrap().stop {
                    return;
                }
                // However a session ends, what it told is forgotten.
                let _ = session(stream, asn, &shared, dislikes.as_deref());
                shared.lock().unwrap().held.clear();
            }
        });
        StubRouter { heard, address, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The rules that it has been told on the present session.
    pub(crate) fn held(&self) -> BTreeSet<Vec<u8>> {
        self.heard.lock().unwrap().held.clone()
    }

    /// How many sessions it had.
    pub(crate) fn sessions(&self) -> usize {
        self.heard.lock().unwrap().sessions
    }

    /// How often it has reset its session.
    pub(crate) fn resets(&self) -> usize {
        self.heard.lock().unwrap().resets
    }
}

impl Drop for StubRouter {
    fn drop(&mut self) {
        let session = {
            let mut heard = self.heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            heard.stop = true;
            heard.session.take()
        };
        if let Some(session) = session {
            let _ = session.shutdown(std::net::Shutdown::Both);
        }
        // Wakes the one that listens.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One session, from OPEN to its end.
fn session(mut stream: TcpStream, asn: u16, heard: &Mutex<Heard>, dislikes: Option<&[u8]>) -> std::io::Result<()> {
    let SocketAddr::V4(own) = stream.local_addr()? else { return Ok(()) };
    // RFC 4271 section 4.2: version, AS, hold time, identifier; one optional parameter, capabilities (RFC 5492), of which one:
    // multiprotocol (RFC 4760), IPv4 Flow Spec.
    let mut open = vec![4];
    open.extend(asn.to_be_bytes());
    open.extend(HOLD_TIME.to_be_bytes());
    open.extend(own.ip().octets());
    open.extend([8, 2, 6, 1, 4, 0, 1, 0, 133]);
    send(&mut stream, OPEN, &open)?;
    loop {
        let mut header = [0; 19];
        stream.read_exact(&mut header)?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let mut body = vec![0; length.saturating_sub(19)];
        stream.read_exact(&mut body)?;
        match header[18] {
            OPEN => {
                heard.lock().unwrap().sessions += 1;
                send(&mut stream, KEEPALIVE, &[])?;
            }
            KEEPALIVE => send(&mut stream, KEEPALIVE, &[])?,
            UPDATE => {
                let mut heard = heard.lock().unwrap();
                take_in(&body, &mut heard.held);
                let is_disliked =
                    |rule: &Vec<u8>| dislikes.is_some_and(|bad| rule.windows(bad.len()).any(|octets| octets == bad));
                if heard.held.iter().any(is_disliked) {
                    heard.resets += 1;
                    // UPDATE message error, invalid network field.
                    return send(&mut stream, NOTIFICATION, &[3, 10]);
                }
            }
            _ => return Ok(()),
        }
    }
}

fn send(stream: &mut TcpStream, kind: u8, body: &[u8]) -> std::io::Result<()> {
    let length = (19 + body.len()) as u16;
    stream.write_all(&[&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat())
}

/// RFC 4271 section 4.3 and RFC 4760: rules that come in MP_REACH_NLRI, and that go in MP_UNREACH_NLRI.
fn take_in(update: &[u8], held: &mut BTreeSet<Vec<u8>>) {
    let length = |octets: &[u8]| usize::from(u16::from_be_bytes([octets[0], octets[1]]));
    let attributes = &update[2 + length(update)..];
    let mut attributes = &attributes[2..2 + length(attributes)];
    while let [flags, kind, rest @ ..] = attributes {
        let (size, value) = match flags & EXTENDED_LENGTH != 0 {
            true => (length(rest), &rest[2..]),
            false => (usize::from(rest[0]), &rest[1..]),
        };
        attributes = &value[size..];
        match (*kind, value[..size].strip_prefix(&FAMILY)) {
            // The next hop with its length, and a reserved octet.
            (MP_REACH, Some(rest)) => held.extend(rules(&rest[2 + usize::from(rest[0])..])),
            (MP_UNREACH, Some(rest)) => held.retain(|rule| !rules(rest).contains(rule)),
            _ => {}
        }
    }
}

/// All of ours are short: one octet of length each.
fn rules(mut nlri: &[u8]) -> Vec<Vec<u8>> {
    let mut rules = Vec::new();
    while let [length, rest @ ..] = nlri {
        let (rule, rest) = rest.split_at(usize::from(*length));
        rules.push(rule.to_vec());
        nlri = rest;
    }
    rules
}
