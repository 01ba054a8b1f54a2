//! Network namespaces and the links between them. Needs root.

use std::fs::File;
use std::net::TcpListener;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

use super::{output, sh, unique};

/// A network namespace with its loopback up. Removed when dropped, and with it its devices.
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    #[track_caller]
    pub(crate) fn new() -> Netns {
        let netns = Netns { name: unique("levee") };
        sh("ip", ["netns", "add", &netns.name]);
        netns.run("ip link set lo up");
        netns
    }

    /// One whose kernel sends nothing by itself: no neighbour discovery. What is seen there is what is played.
    #[track_caller]
    pub(crate) fn silent() -> Netns {
        let netns = Netns::new();
        netns.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        netns
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside, as the very process that is started.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command line (split at spaces) inside to its end; its standard output.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> String {
        let mut words = line.split_ascii_whitespace();
        let program = words.next().expect("a program");
        output(self.command(program).args(words))
    }

    /// A listener inside, on a free port of its loopback: a socket stays in the namespace where it was made.
    #[track_caller]
    pub(crate) fn listener(&self) -> TcpListener {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("open a namespace");
        let bind = move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter a namespace");
            TcpListener::bind("127.0.0.1:0").expect("a free port")
        };
        // The thread that enters is nobody else's, and ends with that.
        std::thread::spawn(bind).join().expect("a listener")
    }

    /// Adds an address to a device; an IPv6 one can be used at once.
    #[track_caller]
    pub(crate) fn address(&self, device: &str, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.run(&format!("ip address add {address} dev {device} {nodad}"));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Nothing better can be done about a failure here than to leave the namespace.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Joins two namespaces by a veth pair, each end named as said and up.
#[track_caller]
pub(crate) fn veth((one, one_device): (&Netns, &str), (other, other_device): (&Netns, &str)) {
    let ends = ["link", "add", one_device, "netns", one.name(), "type", "veth", "peer", "name", other_device, "netns"];
    sh("ip", ends.into_iter().chain([other.name()]));
    one.run(&format!("ip link set {one_device} up"));
    other.run(&format!("ip link set {other_device} up"));
}
