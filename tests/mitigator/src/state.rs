//! What the stub has, and how it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::http::{Answer, Message};
use crate::{PASSWORD, USER};

/// Switches of a policy that each generation knows, and the general protection's.
const OLD: [&str; 9] = [
    "toggle",
    "tcpFloodProt",
    "acl",
    "sourceLimiter",
    "httpFloodProt",
    "rateLimiter",
    "blacklist",
    "whitelist",
    "tlsFloodProt",
];
const NEW: [&str; 27] = [
    "toggle", "acl", "atls", "bl", "bpf", "crb", "dns", "frb", "game", "geo", "http", "itls", "lcon", "lim", "mcr",
    "mine", "retr", "rex", "serb", "sip", "slow", "sorb", "sour", "spli", "tcp", "tun", "wl",
];

/// A request, as it was asked and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Such as `PUT`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// As it came.
    pub content_type: String,
    /// The token, if there was one.
    pub token: String,
    /// As it came.
    pub body: String,
    /// What it was answered with.
    pub status: u16,
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status and body, and nothing is done.
    Status(u16, String),
    /// It is done, and answered with this body.
    Body(String),
    /// The leader is elsewhere.
    Misdirected(String),
    /// It is done at once, and answered late.
    Slow(Duration),
    /// It is done, and the connection is closed without an answer.
    Drop,
    /// The answer is no HTTP.
    Garbage,
}

/// All that a cluster has.
#[derive(Debug)]
pub struct State {
    /// Such as "v21.04".
    pub version: String,
    /// Who may log in, with what.
    pub user: (String, String),
    /// The header that carries the token.
    pub token_header: String,
    /// Policies: number and name.
    pub policies: BTreeMap<u64, String>,
    /// Policies in monitor mode.
    pub monitored: BTreeSet<u64>,
    /// Policies that take part in autodetection.
    pub automatic: BTreeSet<u64>,
    /// Whether autodetection is on.
    pub autodetection: bool,
    /// The policy of a packet by its destination; none: 404.
    pub by_address: BTreeMap<String, u64>,
    /// Switches that are on or off. One that is missing was never configured.
    pub switches: BTreeMap<(Option<u64>, String), bool>,
    /// Whether a switch is answered as a bool.
    pub as_bool: bool,
    /// All that was asked.
    pub requests: Vec<Request>,
    tokens: BTreeSet<String>,
    next_token: u64,
    faults: Vec<(String, usize, Fault)>,
}

impl State {
    pub(crate) fn new(version: &str) -> State {
        let policies = [(1, "default"), (2, "mail"), (42, "web")].map(|(id, name)| (id, name.to_owned()));
        let mut switches = BTreeMap::from([((None, "router".to_owned()), true)]);
        for (id, _) in &policies {
            switches.extend(known(version).iter().map(|name| ((Some(*id), (*name).to_owned()), false)));
        }
        State {
            version: version.to_owned(),
            user: (USER.to_owned(), PASSWORD.to_owned()),
            token_header: "X-Auth-Token".to_owned(),
            policies: policies.into(),
            monitored: BTreeSet::new(),
            automatic: BTreeSet::new(),
            autodetection: false,
            by_address: BTreeMap::new(),
            switches,
            as_bool: false,
            requests: Vec::new(),
            tokens: BTreeSet::new(),
            next_token: 1,
            faults: Vec::new(),
        }
    }

    /// Whether a policy's switch is on.
    pub fn is_on(&self, policy: u64, name: &str) -> bool {
        self.switches.get(&(Some(policy), name.to_owned())).copied().unwrap_or(false)
    }

    /// What is on, as "POLICY NAME".
    pub fn all_on(&self) -> Vec<String> {
        let on = self.switches.iter().filter(|(_, on)| **on);
        on.filter_map(|((policy, name), _)| Some(format!("{} {name}", (*policy)?))).collect()
    }

    /// Switches, as a person would.
    pub fn flip(&mut self, policy: u64, name: &str, on: bool) {
        self.switches.insert((Some(policy), name.to_owned()), on);
    }

    /// The next `times` requests whose "METHOD PATH" has this in it fare so.
    pub fn fault(&mut self, part: &str, times: usize, fault: Fault) {
        self.faults.push((part.to_owned(), times, fault));
    }

    /// What went wrong goes wrong no more.
    pub fn heal(&mut self) {
        self.faults.clear();
    }

    /// No token is good any more.
    pub fn expire(&mut self) {
        self.tokens.clear();
    }

    /// All requests so far are forgotten.
    pub fn forget(&mut self) {
        self.requests.clear();
    }

    pub(crate) fn answer(&mut self, message: &Message) -> (Answer, Option<Fault>) {
        let line = format!("{} {}", message.method, message.path);
        let fault = self.faults.iter_mut().find(|(part, times, _)| *times > 0 && line.contains(part.as_str()));
        let fault = fault.map(|(_, times, fault)| {
            *times -= 1;
            fault.clone()
        });
        let answer = match &fault {
            Some(Fault::Status(status, body)) => raw(*status, body),
            Some(Fault::Misdirected(to)) => Answer { location: Some(to.clone()), ..raw(421, "") },
            Some(Fault::Body(body)) => Answer { body: body.clone().into_bytes(), ..self.act(message) },
            _ => self.act(message),
        };
        let header = |name: &str| message.header(name).unwrap_or_default().to_owned();
        self.requests.push(Request {
            time_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            method: message.method.clone(),
            path: message.path.clone(),
            content_type: header("content-type"),
            token: header(&self.token_header.to_ascii_lowercase()),
            body: message.body.clone(),
            status: answer.status,
        });
        (answer, fault)
    }

    fn act(&mut self, message: &Message) -> Answer {
        let Some(path) = message.path.strip_prefix("/api/v4/") else { return error(404, json!("no such API")) };
        let body: Value = serde_json::from_str(&message.body).unwrap_or(Value::Null);
        if path == "users/session" && message.method == "POST" {
            return self.log_in(&body);
        }
        let token = message.header(&self.token_header.to_ascii_lowercase()).unwrap_or_default();
        if !self.tokens.contains(token) {
            return error(401, json!({ "code": "unauthorized", "message": "log in first" }));
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let of_query =
            |key: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key);
        let of_query = |key: &str| of_query(key).map(|(_, value)| value);
        match (message.method.as_str(), path) {
            ("GET", "backend/ping") => data(json!({ "pong": true })),
            ("GET", "backend/version") => data(json!({ "version": self.version })),
            ("GET", "policies/policies") => data(json!({ "policies": self.list() })),
            ("GET", "policies/by_inbound_packet") => {
                let all = ["src_address", "src_port", "dst_port", "protocol"].iter().all(|key| of_query(key).is_some());
                match of_query("dst_address").filter(|_| all).map(|to| self.by_address.get(to)) {
                    None => error(400, json!("all of the packet is needed")),
                    Some(None) => error(404, json!("no policy")),
                    Some(Some(policy)) => data(json!({ "policy_id": policy })),
                }
            }
            ("GET", "system/autodetect/switch" | "autodetect/switch") => {
                if (path == "autodetect/switch") == self.is_old() {
                    data(json!({ "switch": self.shown(self.autodetection) }))
                } else {
                    error(404, json!("not found"))
                }
            }
            ("GET", _) if path.starts_with("policies/monitor_mode/") => {
                let policy = path.rsplit('/').next().and_then(|policy| policy.parse().ok());
                match policy.filter(|policy: &u64| self.policies.contains_key(policy)) {
                    Some(policy) => data(json!({ "monitor_mode": self.monitored.contains(&policy) })),
                    None => error(404, json!("no such policy")),
                }
            }
            (method, _) => match path.strip_suffix("/switch") {
                Some(name) => self.switch(method, of_query("policy"), name, &body),
                None => error(404, json!("not found")),
            },
        }
    }

    fn is_old(&self) -> bool {
        known(&self.version).len() == OLD.len()
    }

    fn log_in(&mut self, body: &Value) -> Answer {
        let said = (body["username"].as_str().unwrap_or_default(), body["password"].as_str().unwrap_or_default());
        if said != (self.user.0.as_str(), self.user.1.as_str()) {
            // As unkind as it may be: it repeats what it was sent.
            return error(403, json!({ "message": "wrong user or password", "request": body }));
        }
        let token = format!("token-{}-of-the-stub", self.next_token);
        self.next_token += 1;
        self.tokens.insert(token.clone());
        data(json!({ "token": token }))
    }

    fn list(&self) -> Vec<Value> {
        let one = |(id, name): (&u64, &String)| {
            json!({ "id": id, "name": name, "description": "", "is_default": *id == 1,
                    "auto_mitigation": self.automatic.contains(id) })
        };
        self.policies.iter().map(one).collect()
    }

    fn shown(&self, on: bool) -> Value {
        if self.as_bool { json!(on) } else { json!(u8::from(on)) }
    }

    fn switch(&mut self, method: &str, policy: Option<&str>, name: &str, body: &Value) -> Answer {
        let policy = policy.map(|policy| policy.parse::<u64>().unwrap_or(u64::MAX));
        let is_known = match policy {
            Some(policy) => self.policies.contains_key(&policy) && known(&self.version).contains(&name),
            None => name == "router",
        };
        let key = (policy, name.to_owned());
        match (method, self.switches.get(&key).filter(|_| is_known), &body["switch"]) {
            ("GET", Some(on), _) => data(json!({ "switch": self.shown(*on) })),
            ("PUT", _, Value::Number(number)) if is_known && [Some(0), Some(1)].contains(&number.as_u64()) => {
                self.switches.insert(key, number.as_u64() == Some(1));
                data(Value::Null)
            }
            ("PUT", _, _) if is_known => error(400, json!({ "switch": "0 or 1" })),
            _ => error(404, json!("not found")),
        }
    }
}

/// Names of a policy's switches by version.
fn known(version: &str) -> &'static [&'static str] {
    if version < "v20.08" { &OLD } else { &NEW }
}

fn raw(status: u16, body: &str) -> Answer {
    Answer { status, location: None, body: body.as_bytes().to_vec() }
}

fn data(data: Value) -> Answer {
    raw(200, &json!({ "data": data }).to_string())
}

fn error(status: u16, error: Value) -> Answer {
    raw(status, &json!({ "error": error }).to_string())
}
