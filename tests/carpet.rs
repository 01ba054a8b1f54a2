//! Carpet bombing: attacks that are spread over a network, over paced live traffic. `leveed` on `net_af_packet`, a real gobgpd
//! as engine, a real BIRD as router, wired as `support/site.rs` draws it. Needs root, for namespaces.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use proto::v1;
use support::bgp::FlowRoute;
use support::pcap;
use support::site::Site;
use support::traffic::{Amount, Player};
use support::{never, wait_until};

const SOON: Duration = Duration::from_secs(30);
const A_WHILE: Duration = Duration::from_secs(2);
const NETWORKS: [&str; 2] = ["198.18.64.0/18", "2001:db8::/48"];
const DETECTION: &str = "[groups.default.incoming]\nudp_pps = 1000\n[groups.default.network_incoming]\nudp_pps = 2000\n\
                         [detection]\nban_time_s = 3\ncapture_packets = 200\nprobation_s = 1\n";
const CARPET_PPS: u32 = 3_000;

impl Site {
    fn start(detection: &str) -> Site {
        Site::of(&NETWORKS).run("", detection)
    }

    /// Plays these frames for long.
    fn play_frames(&self, name: &str, rate_pps: u32, frames: &[Vec<u8>]) -> Player {
        self.play(&self.file(name, frames), rate_pps, Amount::Seconds(100))
    }

    fn attack(&self, target: &str) -> Option<v1::Attack> {
        self.leveed.attacks().into_iter().find(|attack| attack.target == target)
    }

    /// Targets of the attacks that are alive.
    fn attacked(&self) -> Vec<String> {
        let alive = self.leveed.attacks().into_iter().filter(|attack| attack.ended_ms == 0);
        let mut targets: Vec<String> = alive.map(|attack| attack.target).collect();
        targets.sort();
        targets
    }

    #[track_caller]
    fn wait_routes(&self, flow4: &[&str], flow6: &[&str]) {
        let shown = |routes: Vec<FlowRoute>| -> Vec<String> {
            routes.iter().map(|route| route.components.join("; ")).collect()
        };
        let deadline = Instant::now() + SOON;
        loop {
            let routes = (shown(self.bird.flow4()), shown(self.bird.flow6()));
            if routes.0 == flow4 && routes.1 == flow6 {
                return;
            }
            assert!(Instant::now() < deadline, "{routes:?}, expected {flow4:?} {flow6:?}: {:?}", self.leveed.attacks());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What no rule takes, of what comes to a target: once its rules are told apart, next to nothing.
    #[track_caller]
    fn wait_filtered(&self, target: &str) -> v1::Attack {
        wait_until(SOON, &format!("filtered attack on {target}"), || {
            let attack = self.attack(target)?;
            let (rest, all) = (attack.rest.as_ref()?.udp_pps, attack.current.as_ref()?.udp_pps);
            let matched: f64 = attack.rules.iter().map(|rule| rule.matched_pps).sum();
            (matched > f64::from(CARPET_PPS) / 2.0 && rest < all / 10.0).then_some(attack)
        })
    }
}

fn udp(from: &str, to: IpAddr) -> Vec<u8> {
    pcap::udp(from.parse().unwrap(), SocketAddr::new(to, 4444), 100)
}

/// From reflectors to each host of 198.18.77.0/24.
fn carpet4() -> Vec<Vec<u8>> {
    let to = |host: u8| IpAddr::V4(Ipv4Addr::new(198, 18, 77, host));
    (0..=255).map(|host: u8| udp(&format!("203.0.113.{}:53", host / 2 + 1), to(host.wrapping_mul(77)))).collect()
}

/// The same to 2001:db8:0:77::/120.
fn carpet6() -> Vec<Vec<u8>> {
    let to = |host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x77, 0, 0, 0, host));
    (0..=255).map(|host| udp(&format!("[2001:db8:ffff:{host:x}::1]:53"), to(host * 77 % 256))).collect()
}

#[test]
fn an_attack_on_a_whole_network_lives_as_any() {
    let site = Site::start(DETECTION);
    // Some hosts are known before.
    let peace: Vec<Vec<u8>> = carpet4().into_iter().chain(carpet6()).step_by(8).collect();
    let peace = site.play_frames("peace.pcap", 50, &peace);
    never(A_WHILE, "an attack in peace", || site.leveed.attacks().pop());

    let (four, six) =
        (site.play_frames("four.pcap", CARPET_PPS, &carpet4()), site.play_frames("six.pcap", CARPET_PPS, &carpet6()));
    let (flow4, flow6) =
        (["dst 198.18.77.0/24; proto 17; sport 53"], ["dst 2001:db8:0:77::/120; next header 17; sport 53"]);
    site.wait_routes(&flow4, &flow6);
    assert_eq!(site.attacked(), NETWORKS, "networks, and no host");
    let attack = site.wait_filtered(NETWORKS[0]);
    site.wait_filtered(NETWORKS[1]);
    assert_eq!((attack.metric.as_str(), attack.threshold, attack.group.as_str()), ("udp_pps", 2000.0, "default"));
    assert!(
        attack.rules[0].matched_packets > 0 && attack.rules[0].reason.contains("within 198.18.77.0/24"),
        "{attack:?}"
    );

    // One host within has an attack of its own. It is no second vector of its network.
    let host = "198.18.77.5/32";
    let own = site.play_frames("own.pcap", CARPET_PPS, &[udp("203.0.113.9:123", "198.18.77.5".parse().unwrap())]);
    let mut both = ["dst 198.18.77.5/32; proto 17; sport 123", flow4[0]];
    both.sort();
    let sorted = || {
        let mut routes: Vec<String> = site.bird.flow4().iter().map(|route| route.components.join("; ")).collect();
        routes.sort();
        routes
    };
    wait_until(SOON, "a rule for the host", || Some(()).filter(|()| sorted() == both));
    let of_host = site.wait_filtered(host);
    assert_eq!(of_host.rules.len(), 1, "{of_host:?}");
    never(A_WHILE, "another rule", || Some(sorted()).filter(|routes| *routes != both));
    assert_eq!(site.attacked(), [NETWORKS[0], host, NETWORKS[1]]);
    let attack = site.wait_filtered(NETWORKS[0]);
    assert!(
        attack.current.as_ref().unwrap().udp_pps < f64::from(CARPET_PPS) * 1.3,
        "the host counts apart: {attack:?}"
    );

    [four, six, own, peace].into_iter().for_each(Player::stop);
    site.wait_routes(&[], &[]);
    wait_until(SOON, "the end", || site.attacked().is_empty().then_some(()));
    assert_eq!(site.leveed.attacks().len(), 3);
    assert_eq!(site.leveed.alarms(), [""; 0]);
}

#[test]
fn one_host_is_no_carpet_and_a_whitelisted_part_stays_free() {
    let site = Site::start(&format!("{DETECTION}[whitelist]\nnetworks = [\"198.18.77.128/25\"]\n"));
    let own = site.play_frames("own.pcap", 3 * CARPET_PPS, &[udp("203.0.113.9:123", "198.18.70.1".parse().unwrap())]);
    site.wait_routes(&["dst 198.18.70.1/32; proto 17; sport 123"], &[]);
    never(A_WHILE, "an attack on the network", || {
        Some(site.attacked()).filter(|targets| *targets != ["198.18.70.1/32"])
    });
    own.stop();
    site.wait_routes(&[], &[]);

    let carpet = site.play_frames("four.pcap", CARPET_PPS, &carpet4());
    site.wait_routes(&["dst 198.18.77.0/25; proto 17; sport 53"], &[]);
    let attack = site.attack(NETWORKS[0]).expect("an attack on the network");
    // A person ends it.
    assert_eq!(site.leveed.unban(NETWORKS[0]).expect("unbanned"), [attack.id]);
    carpet.stop();
    site.wait_routes(&[], &[]);
}

#[test]
fn a_network_is_spared_what_its_hosts_receive_in_peace() {
    let site = Site::start(DETECTION);
    // Its hosts ask resolvers; the attack is answers of others. All of one resolver would be one conversation, and that may be half of
    // a sample that takes long since the player stands still.
    let to = |host: u8| IpAddr::V4(Ipv4Addr::new(198, 18, 77, host));
    let own: Vec<Vec<u8>> = (0..=255).map(|host| udp(&format!("192.0.2.{}:53", 1 + host / 16), to(host))).collect();
    let peace = site.play_frames("peace.pcap", 200, &own);
    // What is left when the latest seconds are forgotten is enough for a baseline.
    std::thread::sleep(Duration::from_secs(9));
    let carpet: Vec<Vec<u8>> = carpet4().into_iter().chain(own.into_iter().step_by(16)).collect();
    let carpet = site.play_frames("four.pcap", CARPET_PPS, &carpet);
    let attack = site.wait_filtered(NETWORKS[0]);
    let rule = &attack.rules[0];
    let mined = rule.mined.as_ref().expect("what the miner knows");
    assert!(mined.collateral <= 0.01 && mined.collateral_at_most < 0.1, "{rule:?}");
    assert!(rule.reason.contains(" of the baseline ("), "its own, not that of its group: {}", rule.reason);
    let spec: serde_json::Value = serde_json::from_str(&rule.flow_spec_json).unwrap();
    assert_eq!(spec["destination_prefix"], "198.18.77.0/24");
    assert!(spec["source_prefix"].as_str().is_some_and(|prefix| prefix.starts_with("203.0.113.")), "{spec}");
    [carpet, peace].into_iter().for_each(Player::stop);
}
