//! `leveed` on `net_af_packet` between paced traffic and a router: a real gobgpd as engine, a real BIRD as router.
//!
//! ```text
//!   players ──veth── leveed ──Unix socket── gobgpd, AS 65001 ──veth── BIRD, AS 65002
//!       out0         tap0                   192.0.2.1                 192.0.2.2
//! ```

use std::path::{Path, PathBuf};

use super::bgp::{Bird, Gobgpd, Link};
use super::daemon::{Leveed, Setup, core};
use super::netns::{Netns, veth};
use super::pcap;
use super::traffic::{Amount, Player};

const BGP: &str = "[bgp]\nmark = \"64512:7653:1\"\nblackhole_next_hops = [\"192.0.2.66\", \"100::1\"]\n";

/// Everything in the drawing.
pub(crate) struct Site {
    pub(crate) outside: Netns,
    pub(crate) link: Link,
    pub(crate) gobgpd: Gobgpd,
    pub(crate) bird: Bird,
    pub(crate) leveed: Leveed,
    networks: &'static [&'static str],
}

impl Site {
    /// All but `leveed` and the engine run.
    pub(crate) fn of(networks: &'static [&'static str]) -> Site {
        let (outside, link) = (Netns::silent(), Link::new());
        link.engine.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
        veth((&outside, "out0"), (&link.engine, "tap0"));
        let (gobgpd, bird) = (Gobgpd::prepare(), Bird::start(&link.router));
        let leveed = Leveed::prepare(&Setup { networks, ..Setup::default() });
        Site { outside, link, gobgpd, bird, leveed, networks }
    }

    /// These run, too.
    pub(crate) fn run(mut self, daemon: &str, detection: &str) -> Site {
        self.gobgpd.start(&self.link.engine);
        self.configure(daemon, detection);
        self.start_leveed();
        self.bird.wait_established();
        self
    }

    pub(crate) fn configure(&self, daemon: &str, detection: &str) {
        let device = "net_af_packet0,iface=tap0,blocksz=65536,framesz=2048,framecnt=8192";
        let (address, core) = (self.gobgpd.address(), [core()]);
        let rest = format!("{detection}{BGP}[[bgp.engines]]\nname = \"edge\"\naddress = \"{address}\"\n");
        self.leveed.configure(&Setup { networks: self.networks, ports: &[(device, &core)], daemon, rest: &rest });
    }

    pub(crate) fn start_leveed(&mut self) {
        self.leveed.start_in(&self.link.engine);
    }

    pub(crate) fn play(&self, file: &Path, rate_pps: u32, amount: Amount) -> Player {
        Player::start(&self.outside, "out0", file, rate_pps, amount)
    }

    /// A capture file of these frames.
    pub(crate) fn file(&self, name: &str, frames: &[Vec<u8>]) -> PathBuf {
        let file = self.leveed.path(name);
        pcap::write(&file, frames);
        file
    }
}
