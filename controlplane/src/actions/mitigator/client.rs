//! Calls to MITIGATOR's REST API: logs in, keeps the token, goes to the next node of the cluster, follows its leader. All that a
//! peer can send is bounded, and no secret is in any error.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, redirect};
use serde_json::{Value, json};
use thiserror::Error;

use super::settings::{PasswordSource, Settings};
use crate::crash::{self, Step, When};
use crate::tls::{self, LastSeen, Seen};

/// Longest answer that is read. A list of thousands of policies has less.
const ANSWER_MAX: usize = 4 << 20;
/// Most headers of an answer.
const HEADERS_MAX: usize = 100;
/// Longest token.
const TOKEN_MAX: usize = 8 << 10;
/// Longest password.
const PASSWORD_MAX: u64 = 1 << 10;
/// Of what a peer says, so many characters are shown.
const SHOWN_MAX: usize = 300;
/// So many passwords and tokens are kept from view, the newest.
const SECRETS_MAX: usize = 8;
/// A connection that nobody used for so long is closed: firewalls in between forget it.
const IDLE: Duration = Duration::from_secs(55);
/// Where systemd keeps the credentials of the daemon, for a doctor who is not the daemon.
const CREDENTIALS: &str = "/run/credentials/levee.service";

/// Why a call came to nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Error {
    /// What is configured cannot be used here: a certificate file, a header.
    #[error("{0}")]
    Setup(String),
    /// No node could be reached: each with its reason.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The log-in came to nothing.
    #[error("cannot log in: {0}")]
    LogIn(String),
    /// A node answered that it failed.
    #[error("{call}: it failed: {reason}")]
    Failed {
        /// Method and path.
        call: String,
        /// Status and what it said.
        reason: String,
    },
    /// A node refused this very call.
    #[error("{call}: refused: {reason}")]
    Refused {
        /// Method and path.
        call: String,
        /// The HTTP status; 200 for an error in an answer of success.
        status: u16,
        /// Status and what it said.
        reason: String,
    },
    /// The answer is not what it should be.
    #[error("{call}: not understood: {reason}")]
    Answer {
        /// Method and path.
        call: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether only this call is concerned: others may do better.
    pub(super) fn is_of_the_call(&self) -> bool {
        matches!(self, Error::Failed { .. } | Error::Refused { .. } | Error::Answer { .. })
    }
}

/// A status, the leader's address where it has one, and the body.
struct Reply {
    status: StatusCode,
    location: Option<String>,
    body: Vec<u8>,
}

impl Reply {
    fn is_unauthorized(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }
}

/// What is called, with what.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) step: Step,
    pub(super) method: Method,
    /// Below the base path, with its query.
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl Call {
    pub(super) fn get(step: Step, path: impl Into<String>) -> Call {
        Call { step, method: Method::GET, path: path.into(), body: None }
    }

    pub(super) fn put(step: Step, path: impl Into<String>, body: Value) -> Call {
        Call { step, method: Method::PUT, path: path.into(), body: Some(body) }
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A text that is never shown.
#[derive(Clone)]
struct Secret(String);

/// A connection to one cluster.
pub(super) struct Client {
    http: reqwest::Client,
    seen: LastSeen,
    settings: Arc<Settings>,
    token_header: HeaderName,
    /// The node that answered last, which a 421 may have named.
    node: String,
    token: Option<HeaderValue>,
    /// Passwords and tokens, as they were last used.
    secrets: Vec<Secret>,
}

impl Client {
    pub(super) fn new(settings: Arc<Settings>) -> Result<Client, Error> {
        let (tls, seen) = tls::config(settings.ca_file.as_deref(), settings.insecure).map_err(Error::Setup)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(!settings.insecure)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(IDLE)
            .http1_max_headers(HEADERS_MAX)
            .user_agent(concat!("levee/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Setup(tls::chain(&error)))?;
        let token_header = HeaderName::from_bytes(settings.token_header.as_bytes());
        let token_header = token_header.map_err(|_| Error::Setup("token_header is no name of a header".to_owned()))?;
        let node = settings.addresses.first().cloned().unwrap_or_default();
        Ok(Client { http, seen, settings, token_header, node, token: None, secrets: Vec::new() })
    }

    /// The node that answered last.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// The certificate that was last seen.
    pub(super) fn certificate(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The answer to a call: its JSON, or null where a call that changes something is answered with nothing.
    pub(super) async fn call(&mut self, call: Call) -> Result<Value, Error> {
        if self.token.is_none() {
            self.log_in().await?;
        }
        let mut reply = self.reach(&call).await?;
        if reply.is_unauthorized() {
            self.log_in().await?;
            reply = self.reach(&call).await?;
        }
        self.read(&call, reply)
    }

    /// Gets a token.
    pub(super) async fn log_in(&mut self) -> Result<(), Error> {
        self.token = None;
        let password = password(&self.settings.password).map_err(Error::LogIn)?;
        self.hide(&password);
        let body = json!({ "username": self.settings.user, "password": password });
        let path = self.settings.paths.login.clone();
        let call = Call { step: Step::MitigatorLogin, method: Method::POST, path, body: Some(body) };
        let reply = self.reach(&call).await.map_err(|error| match error {
            Error::Failed { reason, .. } => Error::Unreachable(reason),
            error => error,
        })?;
        if reply.is_unauthorized() {
            return Err(Error::LogIn(format!("user or password refused: {}", self.reason(&reply))));
        }
        let answer = match self.read(&call, reply) {
            Err(error) if error.is_of_the_call() => return Err(Error::LogIn(error.to_string())),
            answer => answer?,
        };
        let token = answer.pointer("/data/token").and_then(Value::as_str).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::LogIn("the answer has no data.token".to_owned()))?;
        if token.len() > TOKEN_MAX {
            return Err(Error::LogIn(format!("a token of {} characters", token.len())));
        }
        let mut header = HeaderValue::from_str(token)
            .map_err(|_| Error::LogIn("a token with characters that no header may have".to_owned()))?;
        header.set_sensitive(true);
        self.hide(token);
        self.token = Some(header);
        Ok(())
    }

    /// From now on this is never shown.
    fn hide(&mut self, secret: &str) {
        self.secrets.retain(|known| known.0 != secret);
        self.secrets.truncate(SECRETS_MAX - 1);
        self.secrets.insert(0, Secret(secret.to_owned()));
    }

    /// Asks the node that answered last, else all in order. What a node says counts as an answer, but for what says that
    /// another one may do better.
    async fn reach(&mut self, call: &Call) -> Result<Reply, Error> {
        let mut nodes = vec![self.node.clone()];
        nodes.extend(self.settings.addresses.iter().filter(|address| **address != self.node).cloned());
        let (mut failed, mut why) = (None, Vec::new());
        for node in nodes {
            match self.ask(&node, call).await {
                Ok((answered, reply)) if !reply.status.is_server_error() => {
                    self.node = answered;
                    return Ok(reply);
                }
                Ok((_, reply)) => {
                    why.push(format!("{node}: {}", self.reason(&reply)));
                    failed = Some(reply);
                }
                Err(reason) => why.push(format!("{node}: {reason}")),
            }
        }
        let reason = why.join("; ");
        match failed {
            Some(_) => Err(Error::Failed { call: call.name(), reason }),
            None => Err(Error::Unreachable(reason)),
        }
    }

    /// Asks one node; and, where that says who leads, the leader, once.
    async fn ask(&self, node: &str, call: &Call) -> Result<(String, Reply), String> {
        let reply = self.send(node, call).await?;
        if reply.status != StatusCode::MISDIRECTED_REQUEST {
            return Ok((node.to_owned(), reply));
        }
        let location = reply.location.as_deref().ok_or("421 without a Location")?;
        let leader = origin(location, node).ok_or_else(|| format!("421 to {}", self.shown(location)))?;
        let reply = self.send(&leader, call).await.map_err(|reason| format!("its leader {leader}: {reason}"))?;
        match reply.status {
            StatusCode::MISDIRECTED_REQUEST => Err(format!("421 to {leader}, and 421 from there")),
            _ => Ok((leader, reply)),
        }
    }

    async fn send(&self, node: &str, call: &Call) -> Result<Reply, String> {
        let url = format!("{node}{}/{}", self.settings.paths.base, call.path);
        let is_first = self.token.is_none();
        let timeout = if is_first { self.settings.connect_timeout } else { self.settings.timeout };
        let mut request = self.http.request(call.method.clone(), url).timeout(timeout);
        request = request.header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(self.token_header.clone(), token.clone());
        }
        if let Some(body) = &call.body {
            request = request.body(body.to_string());
        }
        crash::point(call.step, When::Before);
        let response = request.send().await.map_err(|error| self.shown(&tls::chain(&error.without_url())))?;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status();
        let body = body(response).await.map_err(|reason| self.shown(&reason))?;
        crash::point(call.step, When::After);
        Ok(Reply { status, location, body })
    }

    /// Success is 2xx with `data`.
    fn read(&self, call: &Call, reply: Reply) -> Result<Value, Error> {
        if !reply.status.is_success() {
            let status = reply.status.as_u16();
            return Err(Error::Refused { call: call.name(), status, reason: self.reason(&reply) });
        }
        if reply.body.is_empty() && call.method == Method::PUT {
            return Ok(Value::Null);
        }
        let wrong = |reason: String| Error::Answer { call: call.name(), reason };
        let value: Value = serde_json::from_slice(&reply.body).map_err(|error| {
            wrong(format!("no JSON: {error}: {}", self.shown(&String::from_utf8_lossy(&reply.body))))
        })?;
        match (value.get("error").filter(|error| !error.is_null()), value.get("data")) {
            (_, Some(_)) => Ok(value),
            (Some(_), None) => {
                let (status, reason) = (reply.status.as_u16(), self.reason(&reply));
                Err(Error::Refused { call: call.name(), status, reason })
            }
            (None, None) => Err(wrong(format!("neither data nor error: {}", self.shown(&value.to_string())))),
        }
    }

    /// The status, and what was said with it.
    fn reason(&self, reply: &Reply) -> String {
        let said = match serde_json::from_slice::<Value>(&reply.body) {
            Ok(value) => match value.get("error").unwrap_or(&value) {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            },
            Err(_) => String::from_utf8_lossy(&reply.body).into_owned(),
        };
        let said = self.shown(&said);
        if said.is_empty() { reply.status.to_string() } else { format!("{}: {said}", reply.status) }
    }

    /// What a peer said, as it can be shown: one line, not too long, and nothing that is secret.
    fn shown(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for Secret(secret) in &self.secrets {
            let escaped = Value::from(secret.as_str()).to_string();
            for form in [secret.as_str(), escaped.trim_matches('"')] {
                text = text.replace(form, "***");
            }
        }
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| tls::chain(&error.without_url()))? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(format!("an answer of more than {ANSWER_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Scheme and host of a Location. One that would give up TLS is none.
fn origin(location: &str, node: &str) -> Option<String> {
    let (scheme, rest) = location.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let host = rest.split(['/', '?', '#']).next()?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let is_allowed = scheme == "https" || (scheme == "http" && node.starts_with("http://"));
    (is_allowed && !host.is_empty() && host.len() <= 260 && host.chars().all(is_host))
        .then(|| format!("{scheme}://{host}"))
}

/// The password, without the line's end. Errors name the file alone.
fn password(source: &PasswordSource) -> Result<String, String> {
    let path = path_of(source);
    let fail = |error: std::io::Error| format!("the password: {}: {error}", path.display());
    let mut text = String::new();
    fs::File::open(&path).map_err(fail)?.take(PASSWORD_MAX + 1).read_to_string(&mut text).map_err(fail)?;
    let password = text.trim_end_matches(['\r', '\n']);
    match password.len() as u64 {
        0 => Err(format!("the password: {} is empty", path.display())),
        length if length > PASSWORD_MAX => Err(format!("the password: {} is too long", path.display())),
        _ => Ok(password.to_owned()),
    }
}

/// The file that has it.
pub(super) fn path_of(source: &PasswordSource) -> PathBuf {
    match source {
        PasswordSource::File(path) => path.clone(),
        PasswordSource::Credential(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            folder.unwrap_or_else(|| Path::new(CREDENTIALS).to_owned()).join(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_gives_scheme_and_host_and_never_less_than_tls() {
        let of = |location| origin(location, "https://192.0.2.1");
        assert_eq!(of("https://192.0.2.2/api/v4/x?y").as_deref(), Some("https://192.0.2.2"));
        assert_eq!(of("HTTPS://m2.example:8443").as_deref(), Some("https://m2.example:8443"));
        assert_eq!(of("https://[2001:db8::2]/").as_deref(), Some("https://[2001:db8::2]"));
        for bad in ["http://192.0.2.2/", "/api/v4", "https://", "https://a b/", "https://user@host/", "ftp://192.0.2.2"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert!(origin("http://192.0.2.2/", "http://192.0.2.1").is_some());
    }
}
