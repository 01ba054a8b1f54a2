//! Routers for tests: BIRD 2, FRR, ExaBGP and a second gobgpd, each in a namespace of its own, with the configuration that
//! docs/examples gives operators; and what each of them says that it holds, in one form for all.
//!
//! ```text
//!   gobgpd, the engine ──bridge──┬── BIRD    192.0.2.2, AS 65002
//!   192.0.2.1, AS 65001          ├── FRR     192.0.2.3, AS 65003
//!                                ├── ExaBGP  192.0.2.4, AS 65004
//!                                └── GoBGP   192.0.2.5, AS 65005
//! ```

pub(crate) mod bird;
mod exabgp;
mod frr;
mod gobgp;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::bgp::{GOBGPD_CONFIG, Gobgpd};
use super::netns::{Netns, veth};
use super::{Process, wait_until};

/// The kinds of router, in the order of their addresses.
pub(crate) const ALL: [&Kind; 4] = [&bird::BIRD, &frr::FRR, &exabgp::EXABGP, &gobgp::GOBGP];
/// gobgpd leaves a peer alone for 5 s after its session fell.
const SESSION_MAX: Duration = Duration::from_secs(30);

/// What is special about one implementation.
pub(crate) struct Kind {
    name: &'static str,
    /// As in docs/examples, with the addresses of the first router.
    config: &'static str,
    command: fn(&Router) -> Command,
    table: fn(&Router) -> Option<BTreeSet<String>>,
}

/// What the examples leave to the operator.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) md5: bool,
    pub(crate) graceful_restart: bool,
}

impl Options {
    /// Takes the comment signs from the lines that an operator would take them from.
    fn apply(self, config: &str) -> String {
        let md5 = ["auth-password", "password", "md5-password", "neighbor 192.0.2.1 password"];
        // In TOML also the line below, which is indented.
        let restart =
            ["graceful restart", "bgp graceful-restart", "capability", "[neighbors.", "  enabled", "  restart-time"];
        let wanted = |line: &&str| {
            let starts = |words: &[&str]| words.iter().any(|words| line.starts_with(words));
            self.md5 && starts(&md5) || self.graceful_restart && starts(&restart)
        };
        let mut applied = String::new();
        for line in config.lines() {
            let text = line.trim_start();
            let comment = text.strip_prefix("# ").or_else(|| text.strip_prefix("! "));
            match comment.filter(wanted) {
                Some(comment) => applied += &format!("{}{comment}\n", &line[..line.len() - text.len()]),
                None => applied += &format!("{line}\n"),
            }
        }
        applied
    }
}

/// A router: its namespace, its files, and while it runs its process.
pub(crate) struct Router {
    kind: &'static Kind,
    // Ends before the directory with its log goes.
    process: Option<Process>,
    netns: Netns,
    dir: TempDir,
}

impl Router {
    fn new(kind: &'static Kind, number: usize, options: Options) -> Router {
        let router =
            Router { kind, process: None, netns: Netns::new(), dir: tempfile::tempdir().expect("a directory") };
        let config = options.apply(kind.config).replace("/run/exabgp", &router.dir.path().display().to_string());
        router.write_config(&config.replace("192.0.2.2", &address(number)).replace("65002", &asn(number)));
        router
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name
    }

    /// Another configuration for its next start, made from the present one.
    pub(crate) fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        self.write_config(&edit(fs::read_to_string(self.path("config")).expect("a configuration")));
    }

    fn write_config(&self, config: &str) {
        fs::write(self.path("config"), config).expect("write a configuration");
    }

    #[track_caller]
    pub(crate) fn start(&mut self) {
        let log = self.path("log");
        self.process = Some(Process::start(self.kind.name, &mut (self.kind.command)(self), log));
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// All that it holds, such as `dst 192.0.2.5/32 proto 17 sport 53 -> discard`; what its own table says, parsed. None while
    /// it does not answer.
    pub(crate) fn table(&self) -> Option<BTreeSet<String>> {
        (self.kind.table)(self)
    }

    /// A path in its directory.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        self.netns.command(program)
    }
}

/// What a client program of a router prints; none while the router does not answer.
fn asked(command: &mut Command) -> Option<String> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn address(number: usize) -> String {
    format!("192.0.2.{number}")
}

fn asn(number: usize) -> String {
    format!("6500{number}")
}

/// The engine and routers around it.
pub(crate) struct Lab {
    pub(crate) gobgpd: Gobgpd,
    pub(crate) routers: Vec<Router>,
    pub(crate) engine: Netns,
}

impl Lab {
    /// All of them, started, with established sessions.
    #[track_caller]
    pub(crate) fn start(options: Options) -> Lab {
        let mut lab = Lab::prepare(&ALL, options);
        lab.gobgpd.start(&lab.engine);
        for router in &mut lab.routers {
            router.start();
        }
        lab.wait_established(&ALL.map(|kind| kind.name));
        lab
    }

    /// Namespaces and configurations; nothing is started.
    #[track_caller]
    pub(crate) fn prepare(kinds: &[&'static Kind], options: Options) -> Lab {
        let engine = Netns::new();
        engine.run("ip link add bgp0 type bridge");
        engine.run("ip link set bgp0 up");
        engine.address("bgp0", "192.0.2.1/24");
        let (head, neighbor) = GOBGPD_CONFIG.split_once("[[neighbors]]").expect("a neighbour");
        let mut config = head.to_owned();
        let mut routers = Vec::new();
        for &kind in kinds {
            let number = 2 + ALL.iter().position(|known| known.name == kind.name).expect("one of them");
            let router = Router::new(kind, number, options);
            veth((&engine, &format!("to{number}")), (&router.netns, "bgp0"));
            engine.run(&format!("ip link set to{number} master bgp0"));
            router.netns.address("bgp0", &format!("{}/24", address(number)));
            config += "[[neighbors]]";
            config += &options.apply(neighbor).replace("192.0.2.2", &address(number)).replace("65002", &asn(number));
            routers.push(router);
        }
        Lab { gobgpd: Gobgpd::prepare_as(&config), routers, engine }
    }

    #[track_caller]
    pub(crate) fn router(&mut self, name: &str) -> &mut Router {
        self.routers.iter_mut().find(|router| router.name() == name).expect("in the lab")
    }

    /// The routers with which the engine has a session.
    pub(crate) fn established(&self) -> Vec<&'static str> {
        let listed: serde_json::Value = serde_json::from_str(&self.gobgpd.gobgp("neighbor -j")).expect("JSON");
        let is_up = |peer: &&serde_json::Value| peer["state"]["session_state"] == 6;
        let up: Vec<String> = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter(is_up)
            .map(|peer| peer["conf"]["neighbor_address"].as_str().unwrap_or("").to_owned())
            .collect();
        let names = ALL.iter().zip(2..).filter(|(_, number)| up.contains(&address(*number)));
        names.map(|(kind, _)| kind.name).collect()
    }

    /// How often sessions fell since the engine was started.
    pub(crate) fn flaps(&self) -> u64 {
        let listed: serde_json::Value = serde_json::from_str(&self.gobgpd.gobgp("neighbor -j")).expect("JSON");
        listed.as_array().into_iter().flatten().map(|peer| peer["state"]["flops"].as_u64().unwrap_or(0)).sum()
    }

    /// Waits until the engine has sessions with exactly these.
    #[track_caller]
    pub(crate) fn wait_established(&self, names: &[&str]) {
        wait_until(SESSION_MAX, &format!("sessions with {names:?}"), || (self.established() == names).then_some(()));
    }

    /// Waits until each of these routers holds exactly this; says who has what else.
    #[track_caller]
    pub(crate) fn wait_tables(&self, names: &[&str], timeout: Duration, expected: &BTreeSet<String>) {
        for router in self.routers.iter().filter(|router| names.contains(&router.name())) {
            let mut found = None;
            let start = std::time::Instant::now();
            while found.as_ref() != Some(expected) {
                if start.elapsed() > timeout {
                    let found = found.unwrap_or_default();
                    let missing: Vec<_> = expected.difference(&found).collect();
                    let other: Vec<_> = found.difference(expected).collect();
                    panic!("{} within {timeout:?}: missing {missing:#?}, in excess {other:#?}", router.name());
                }
                std::thread::sleep(Duration::from_millis(20));
                found = router.table();
            }
        }
    }
}

/// One item of a component of numbers.
#[derive(Clone, Copy)]
struct Number<'a> {
    operator: &'a str,
    value: u64,
    and: bool,
}

/// `53,1024-2048`: an equality is a number, and "at least" with "at most" a range; what else there is stays as it is.
fn numbers(items: &[Number<'_>]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut rest = items;
    while let [first, others @ ..] = rest {
        rest = others;
        match (first.operator, others.first()) {
            ("=", _) if !first.and => words.push(first.value.to_string()),
            (">=", Some(last)) if !first.and && last.and && last.operator == "<=" => {
                words.push(format!("{}-{}", first.value, last.value));
                rest = &others[1..];
            }
            _ => words.push(format!("{}{}{}", if first.and { "&" } else { "" }, first.operator, first.value)),
        }
    }
    words.join(",")
}

/// One item of a bitmask: `0x12` all of these are set, `!0x12` all are clear, `any 0x12` one of them is set, `!all 0x12` one is clear.
fn bit(not: bool, all: bool, value: u64) -> String {
    match (not, all || value.is_power_of_two()) {
        (false, true) => format!("{value:#x}"),
        (false, false) => format!("any {value:#x}"),
        (true, _) if !all || value.is_power_of_two() => format!("!{value:#x}"),
        (true, _) => format!("!all {value:#x}"),
    }
}

/// Such as `0x2&!0x10,0x4`: by alternatives, the terms of each joined by and.
fn bits(items: impl IntoIterator<Item = (bool, String)>) -> String {
    let mut text = String::new();
    for (and, item) in items {
        let separator = if text.is_empty() {
            ""
        } else if and {
            "&"
        } else {
            ","
        };
        text += &format!("{separator}{item}");
    }
    text
}

/// What an extended community of Flow Spec says (RFC 8955 section 7).
fn action(octets: u64) -> String {
    let rate = f32::from_bits(octets as u32);
    let (upper, lower) = (octets >> 32 & 0xffff, octets as u32);
    match octets >> 48 {
        0x8006 if rate == 0.0 => "discard".to_owned(),
        0x8006 => format!("rate {rate}"),
        0x800c => format!("packet rate {rate}"),
        0x8007 => format!("traffic-action {lower:#x}"),
        0x8008 => format!("redirect {upper}:{lower}"),
        0x8009 => format!("mark {lower}"),
        _ => format!("{octets:#018x}"),
    }
}

/// A blackhole, or another route: its next hop and its communities.
fn route(next_hop: &str, communities: impl IntoIterator<Item = u64>) -> String {
    let mut communities: Vec<String> =
        communities.into_iter().map(|community| format!("{}:{}", community >> 16, community & 0xffff)).collect();
    communities.sort();
    format!("via {next_hop}, {}", communities.join(" "))
}
