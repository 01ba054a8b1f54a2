//! BGP daemons for tests: gobgpd as engine and BIRD 2 as router, each with a configuration of its own in a directory of
//! its own.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::netns::{Netns, veth};
use super::{Process, output, wait_until};

const START_MAX: Duration = Duration::from_secs(20);

/// What docs/bgp.md gives operators: the engine with one router, 192.0.2.2, and BIRD as that router.
pub(crate) const GOBGPD_CONFIG: &str = include_str!("../../docs/examples/gobgpd.toml");
pub(crate) const BIRD_CONFIG: &str = include_str!("../../docs/examples/bird.conf");

/// The engine's namespace (192.0.2.1, AS 65001) joined to the router's (192.0.2.2, AS 65002).
pub(crate) struct Link {
    pub(crate) engine: Netns,
    pub(crate) router: Netns,
}

impl Link {
    #[track_caller]
    pub(crate) fn new() -> Link {
        let link = Link { engine: Netns::new(), router: Netns::new() };
        veth((&link.engine, "bgp0"), (&link.router, "bgp0"));
        link.engine.address("bgp0", "192.0.2.1/24");
        link.router.address("bgp0", "192.0.2.2/24");
        link
    }
}

/// A gobgpd with its interface on a Unix socket, which is reached from any namespace.
pub(crate) struct Gobgpd {
    // Ends before the directory with its log goes.
    process: Option<Process>,
    dir: TempDir,
}

impl Gobgpd {
    /// A directory and a configuration, but no process yet.
    pub(crate) fn prepare() -> Gobgpd {
        Gobgpd::prepare_as(GOBGPD_CONFIG)
    }

    /// The same without any peer.
    pub(crate) fn prepare_alone() -> Gobgpd {
        let (alone, _peers) = GOBGPD_CONFIG.split_once("[[neighbors]]").expect("peers at the end");
        Gobgpd::prepare_as(alone)
    }

    /// The same with another configuration.
    pub(crate) fn prepare_as(config: &str) -> Gobgpd {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("gobgpd.toml"), config).expect("write a configuration");
        Gobgpd { dir, process: None }
    }

    #[track_caller]
    pub(crate) fn start(&mut self, netns: &Netns) {
        self.start_with(netns, &[]);
    }

    /// The same with further options, such as `--graceful-restart`.
    #[track_caller]
    pub(crate) fn start_with(&mut self, netns: &Netns, options: &[&str]) {
        self.start_as(netns.command("gobgpd"), options);
    }

    /// The same in no namespace: for peers on the loopback.
    #[track_caller]
    pub(crate) fn start_here(&mut self) {
        self.start_as(Command::new("gobgpd"), &[]);
    }

    #[track_caller]
    fn start_as(&mut self, mut command: Command, options: &[&str]) {
        // What a SIGKILL left there would make the start fail.
        let _ = fs::remove_file(self.dir.path().join("api.sock"));
        command
            .args(["--pprof-disable", "--api-hosts", &self.address(), "-f"])
            .arg(self.dir.path().join("gobgpd.toml"))
            .args(options);
        self.process = Some(Process::start("gobgpd", &mut command, self.dir.path().join("gobgpd.log")));
        wait_until(START_MAX, "start of gobgpd", || {
            let global = self.command(&["global"]).output().expect("run gobgp");
            String::from_utf8_lossy(&global.stdout).contains("65001").then_some(())
        });
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it where it is, with every connection open.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.process.as_ref().expect("started").signal("STOP");
    }

    /// Lets it go on.
    #[track_caller]
    pub(crate) fn thaw(&self) {
        self.process.as_ref().expect("started").signal("CONT");
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.dir.path().join("api.sock").display())
    }

    /// Runs its own client.
    #[track_caller]
    pub(crate) fn gobgp(&self, line: &str) -> String {
        output(&mut self.command(&line.split_ascii_whitespace().collect::<Vec<_>>()))
    }

    /// Logs every IPv4 rule that it is told to announce or to withdraw, from now on.
    #[track_caller]
    pub(crate) fn monitor(&self) -> Process {
        let mut command = self.command(&["monitor", "global", "rib", "-a", "ipv4-flowspec"]);
        Process::start("gobgp monitor", &mut command, self.dir.path().join("monitor.log"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("gobgp");
        command.args(["--target", &self.address()]).args(arguments);
        command
    }
}

/// A route in one of BIRD's flow tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlowRoute {
    /// As BIRD writes them, such as `dst 192.0.2.5/32` and `dport 53,1024..2048`.
    pub(crate) components: Vec<String>,
    /// Such as `BGP.ext_community` to `(generic, 0x80060000, 0x0)`.
    pub(crate) attributes: BTreeMap<String, String>,
}

impl FlowRoute {
    pub(crate) fn extended_communities(&self) -> &str {
        self.attributes.get("BGP.ext_community").map_or("", String::as_str)
    }
}

/// BIRD 2 as a router.
pub(crate) struct Bird {
    _process: Process,
    dir: TempDir,
}

impl Bird {
    #[track_caller]
    pub(crate) fn start(netns: &Netns) -> Bird {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("bird.conf"), BIRD_CONFIG).expect("write a configuration");
        let mut command = netns.command("bird");
        command
            .arg("-f")
            .arg("-c")
            .arg(path("bird.conf"))
            .arg("-s")
            .arg(path("bird.ctl"))
            .arg("-P")
            .arg(path("bird.pid"));
        let _process = Process::start("bird", &mut command, path("bird.log"));
        let bird = Bird { dir, _process };
        wait_until(START_MAX, "start of BIRD", || {
            bird.command("show status").output().is_ok_and(|output| output.status.success()).then_some(())
        });
        bird
    }

    /// Waits for the session with the engine.
    #[track_caller]
    pub(crate) fn wait_established(&self) {
        let established = || self.birdc("show protocols levee").contains("Established").then_some(());
        wait_until(Duration::from_secs(30), "BGP session", established);
    }

    /// The IPv4 rules that it holds.
    #[track_caller]
    pub(crate) fn flow4(&self) -> Vec<FlowRoute> {
        flow_routes(&self.birdc("show route all table flowtab4"), "flow4 {")
    }

    /// The IPv6 rules that it holds.
    #[track_caller]
    pub(crate) fn flow6(&self) -> Vec<FlowRoute> {
        flow_routes(&self.birdc("show route all table flowtab6"), "flow6 {")
    }

    /// The routes that it holds, with a prefix in place of components.
    #[track_caller]
    pub(crate) fn routes(&self) -> Vec<FlowRoute> {
        ["master4", "master6"]
            .iter()
            .flat_map(|table| routes(&self.birdc(&format!("show route all table {table}"))))
            .collect()
    }

    #[track_caller]
    pub(crate) fn birdc(&self, line: &str) -> String {
        output(&mut self.command(line))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("birdc");
        command.arg("-s").arg(self.dir.path().join("bird.ctl")).args(line.split_ascii_whitespace());
        command
    }
}

fn routes(listing: &str) -> Vec<FlowRoute> {
    let mut routes: Vec<FlowRoute> = Vec::new();
    for line in listing.lines() {
        let prefix = line.split_whitespace().next().filter(|word| word.contains('/') && line.starts_with(*word));
        if let Some(prefix) = prefix {
            routes.push(FlowRoute { components: vec![prefix.to_owned()], attributes: BTreeMap::new() });
        } else if let (Some(route), Some((name, value))) = (routes.last_mut(), line.trim().split_once(": ")) {
            route.attributes.insert(name.to_owned(), value.to_owned());
        }
    }
    routes
}

fn flow_routes(listing: &str, start: &str) -> Vec<FlowRoute> {
    let mut routes: Vec<FlowRoute> = Vec::new();
    for line in listing.lines() {
        if let Some((components, _)) = line.strip_prefix(start).and_then(|rest| rest.split_once('}')) {
            let components = components.split(';').map(str::trim).filter(|component| !component.is_empty());
            routes.push(FlowRoute { components: components.map(str::to_owned).collect(), attributes: BTreeMap::new() });
        } else if let (Some(route), Some((name, value))) = (routes.last_mut(), line.trim().split_once(": ")) {
            route.attributes.insert(name.to_owned(), value.to_owned());
        }
    }
    routes
}
