//! `kill -9` before and after every write and every call that leaves the process, with a real gobgpd and paced traffic: the
//! attack goes on where it was, the engine holds the right thing, nothing is announced twice. Needs root, for namespaces.
//! Where to die is said by `LEVEE_CRASH_AT`, see `controlplane/src/crash.rs`.
//!
//! ```text
//!   player ──veth── leveed ──Unix socket── gobgpd
//!     out0          tap0
//! ```

mod support;

use std::time::Duration;

use controlplane::crash::Step;
use proto::v1;
use support::bgp::Gobgpd;
use support::daemon::{Leveed, Setup, cores};
use support::deaths::{live_all, orders};
use support::netns::{Netns, veth};
use support::traffic::{self, Amount, Player, VICTIM};
use support::{Process, wait_until};

const SOON: Duration = Duration::from_secs(30);
const ATTACK_PPS: u32 = 2_000;
/// Enough of one kind: a periodic call goes on for as long as the daemon runs.
const TIMES_MAX: usize = 12;
/// A whole life, as its record tells it. A capture that a kill cut short begins anew, so it may be there twice.
const LIFE: [&str; 7] = ["detected", "mitigating", "rule_wanted", "rule_held", "rule_withdrawn", "ending", "ended"];

/// Everything in the drawing, and what the engine was told.
struct Site {
    outside: Netns,
    inside: Netns,
    gobgpd: Gobgpd,
    monitor: Process,
    core: usize,
    heard: usize,
}

impl Site {
    fn start(core: usize) -> Site {
        let (outside, inside) = (Netns::silent(), Netns::silent());
        veth((&outside, "out0"), (&inside, "tap0"));
        let mut gobgpd = Gobgpd::prepare_alone();
        gobgpd.start(&inside);
        let monitor = gobgpd.monitor();
        Site { outside, inside, gobgpd, monitor, core, heard: 0 }
    }

    /// A daemon with a state of its own.
    fn leveed(&self) -> Leveed {
        let leveed = Leveed::prepare(&Setup::default());
        let (address, samples) = (self.gobgpd.address(), leveed.path("samples"));
        let rest = format!(
            "[groups.default.incoming]\nudp_pps = 500\n[detection]\nban_time_s = 1\ncapture_packets = 100\nprobation_s = 0\n\
             [history]\nsamples = {samples:?}\n\
             [bgp]\nmark = \"64512:7653:1\"\n[[bgp.engines]]\nname = \"edge\"\naddress = \"{address}\"\n"
        );
        let device = "net_af_packet0,iface=tap0,blocksz=65536,framesz=2048,framecnt=4096";
        let setup =
            Setup { networks: &["198.18.78.0/24"], ports: &[(device, &[self.core])], rest: &rest, ..Setup::default() };
        leveed.configure(&setup);
        leveed
    }

    fn attack(&self, leveed: &Leveed) -> Player {
        let file = leveed.path("isakmp.pcap");
        traffic::retarget(&traffic::capture("amp.UDP.isakmp.pcap"), VICTIM, &file);
        Player::start(&self.outside, "out0", &file, ATTACK_PPS, Amount::Seconds(100))
    }

    /// One attack from its begin to its end. Where `order` kills the daemon, another one takes over. Gives the
    /// record, whether it was killed, and the log.
    fn live(&mut self, order: Option<&str>) -> (v1::Attack, bool, String) {
        let mut leveed = self.leveed();
        leveed.start_mortal(&self.inside, order);
        let mut player = Some(self.attack(&leveed));
        let mut died = false;
        let inside = &self.inside;
        let mut take_over = |leveed: &mut Leveed| {
            if leveed.has_died() {
                assert!(!died && order.is_some(), "it died by itself");
                died = true;
                leveed.start_in(inside);
            }
        };
        let attack = wait_until(SOON, &format!("a whole life with {order:?}"), || {
            take_over(&mut leveed);
            let attack = leveed.try_attacks().and_then(|attacks| attacks.into_iter().next())?;
            if player.is_some() && attack.rules.iter().any(|rule| rule.state == "held") {
                player = None;
            }
            (attack.state == "ended").then_some(attack)
        });
        // The last writes may be those of the end itself: it may die while it is asked.
        let of_id = v1::ListAttacksRequest { id: attack.id, ..v1::ListAttacksRequest::default() };
        let (mut attacks, all) = wait_until(SOON, "the attack, whole", || {
            take_over(&mut leveed);
            let whole = leveed.ask(async |mut api| api.list_attacks(of_id.clone()).await).ok()?;
            Some((whole.attacks, leveed.try_attacks()?.len()))
        });
        assert_eq!(all, 1, "{order:?}: one attack, and no other");
        wait_until(SOON, "an empty table", || {
            (self.gobgpd.gobgp("global rib -j -a ipv4-flowspec").trim() == "{}").then_some(())
        });
        assert_eq!(self.hear(), ["announced", "withdrawn"], "{order:?}");
        let attack = attacks.remove(0);
        let killed = leveed.terminate().code().is_none();
        assert!(!killed || (order.is_some() && !died), "{order:?}: it died by itself");
        (attack, died || killed, leveed.log())
    }

    /// What the engine was told since this was last asked.
    fn hear(&mut self) -> Vec<&'static str> {
        let log = self.monitor.log();
        let lines = log.lines().skip(self.heard).filter(|line| line.contains("198.18.78.1/32"));
        let heard = lines.map(|line| if line.contains("[DELROUTE]") { "withdrawn" } else { "announced" }).collect();
        self.heard = log.lines().count();
        heard
    }
}

fn kinds(attack: &v1::Attack) -> Vec<&str> {
    attack.journal.iter().map(|entry| entry.kind.as_str()).filter(|kind| *kind != "captured").collect()
}

/// Lives one undisturbed life and one for each point that it passes, two at a time.
fn killed_at(steps: &[Step], times_max: usize) {
    let cores = cores();
    let mut sites: Vec<Site> = (0..2).map(|lane| Site::start(cores[lane % cores.len()])).collect();
    let (undisturbed, _, log) = sites[0].live(None);
    assert_eq!(kinds(&undisturbed), LIFE);
    let orders = orders(&log, steps, times_max);
    let count = orders.len();
    let deaths = live_all(&mut sites, orders, |site, order| {
        let (attack, died, _) = site.live(Some(order));
        assert_eq!(kinds(&attack), LIFE, "{order}: {:?}", attack.journal);
        assert_eq!((&attack.target, attack.rules.len()), (&undisturbed.target, 1), "{order}");
        assert_eq!(attack.rules[0].text, undisturbed.rules[0].text, "{order}");
        died
    });
    // How many records go into one transaction is a matter of luck, so the last ones may not come.
    assert!(deaths * 4 >= count * 3, "only {deaths} of {count} were passed");
}

#[test]
fn killed_at_every_write() {
    killed_at(&[Step::Write, Step::Commit, Step::Sample], TIMES_MAX);
}

#[test]
fn killed_at_every_call() {
    killed_at(&[Step::AddPath, Step::DeletePath, Step::ListPath, Step::GetBgp, Step::ListPeer, Step::WatchEvent], 1);
}
