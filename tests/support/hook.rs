//! A server that takes webhooks, over TLS: keeps what it was sent, and answers as a test wants.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mitigator_stub::{Certificate, free_port, http, tls};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Posted {
    /// A header, by its name in small letters.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

#[derive(Default)]
struct State {
    posted: Vec<Posted>,
    /// Status, further header lines, and how long it takes; without one it is 200 at once.
    answers: VecDeque<(u16, String, Duration)>,
}

/// The server. It ends with the process.
pub(crate) struct Hook {
    address: SocketAddr,
    pem: String,
    state: Arc<Mutex<State>>,
}

impl Hook {
    pub(crate) fn start() -> Hook {
        let listener = free_port();
        let address = listener.local_addr().unwrap();
        let (config, pem) = tls(address, Certificate::Signed);
        let (config, state) = (Arc::new(config), Arc::<Mutex<State>>::default());
        let theirs = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, state) = (Arc::clone(&config), Arc::clone(&theirs));
                std::thread::spawn(move || drop(serve(stream, config, &state)));
            }
        });
        Hook { address, pem, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/hooks/levee", self.address)
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next requests are answered so.
    pub(crate) fn answer(&self, answers: &[(u16, &str)]) {
        let answers = answers.iter().map(|(status, header)| (*status, (*header).to_owned(), Duration::ZERO));
        self.state().answers.extend(answers);
    }

    /// The next one is, after so long.
    pub(crate) fn dawdle(&self, time: Duration) {
        self.state().answers.push_back((200, String::new(), time));
    }

    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.state().posted.clone()
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    while let Some(message) = http::read(&mut stream)? {
        let http::Message { method, path, headers, body } = message;
        assert_eq!(method, "POST");
        let (status, header, time) = {
            let mut state = state.lock().unwrap();
            state.posted.push(Posted { at: Instant::now(), path, headers, body });
            state.answers.pop_front().unwrap_or((200, String::new(), Duration::ZERO))
        };
        std::thread::sleep(time);
        let header = if header.is_empty() { header } else { format!("{header}\r\n") };
        // A long answer: of such a one the beginning is enough.
        let said = if status == 200 { "ok".to_owned() } else { format!("status {status} {}", "x".repeat(1 << 20)) };
        let head = format!("HTTP/1.1 {status} Hook\r\n{header}Content-Length: {}\r\n\r\n", said.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(said.as_bytes())?;
        stream.flush()?;
    }
    Ok(())
}
