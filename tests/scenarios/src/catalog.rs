//! The scenarios: which attack on which host.

use serde_json::json;

use crate::attack::amplification::{SERVICES, amplification, dns_like_answers, dns_short};
use crate::attack::direct::*;
use crate::attack::{Draw, Flood, Sources};
use crate::legit::Legit;
use crate::scenario::{Pace, Scenario, Unit};

impl Scenario {
    fn new(name: &str, legit: Legit, floods: Vec<Flood>) -> Scenario {
        let count = floods.len();
        // With several vectors the first has most: 3 have shares like 5 : 4 : 3.
        let floods = floods.into_iter().enumerate().map(|(place, flood)| ((2 * count - 1 - place) as f64, flood));
        Scenario {
            name: name.into(),
            legit,
            floods: floods.collect(),
            is_v6: false,
            is_network: false,
            legit_share: 0.08,
            sample: 500,
            pace: Pace::Steady,
            crossing: ("total", Unit::Packets),
        }
    }

    fn v6(self) -> Scenario {
        Scenario { is_v6: true, ..self }
    }

    fn network(self) -> Scenario {
        Scenario { is_network: true, ..self }
    }

    fn pulses(self) -> Scenario {
        Scenario { pace: Pace::Pulses, ..self }
    }

    /// The same with this share of legitimate packets.
    pub fn share(self, legit_share: f64) -> Scenario {
        Scenario { legit_share, ..self }
    }

    /// The same with so many packets in the sample.
    pub fn sample(self, sample: usize) -> Scenario {
        Scenario { sample, ..self }
    }

    fn crossed(self, class: &'static str, unit: Unit) -> Scenario {
        Scenario { crossing: (class, unit), ..self }
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let mut all = amplifications();
    all.extend(tcp());
    all.extend(udp_and_others());
    all.extend(sources_and_marks());
    all.extend(several());
    all.extend(ipv6());
    all.extend(mean());
    all
}

/// Scenarios that are also run with other sizes of samples and other shares of legitimate traffic.
pub const VARIED: [&str; 6] = [
    "dns-amp-resolver",
    "udp443-one-length-web",
    "syn-bare-web",
    "botnet16-web",
    "udp443-like-quic-web",
    "natt-amp-vpn",
];

fn amplifications() -> Vec<Scenario> {
    let of = |name: &str, legit: Legit| {
        let scenario = Scenario::new(&format!("{name}-amp-{}", legit.name()), legit, vec![amplification(name)]);
        scenario.crossed("udp", Unit::Bytes)
    };
    let mut all: Vec<Scenario> = SERVICES.iter().map(|service| of(service.name(), Legit::Web)).collect();
    all.extend([
        of("dns", Legit::Resolver),
        of("dns", Legit::Mail),
        of("dns", Legit::Dns),
        of("dns", Legit::Home).share(0.2),
        of("ntp", Legit::Home),
        of("memcached", Legit::Game).share(0.02),
        of("cldap", Legit::Vpn),
        of("isakmp", Legit::Vpn),
        of("natt", Legit::Vpn).share(0.2),
        of("ssdp", Legit::Voip),
        Scenario::new("dns-amp-short-resolver", Legit::Resolver, vec![dns_short()]).share(0.15),
        Scenario::new("dns-amp-like-answers-resolver", Legit::Resolver, vec![dns_like_answers()]),
    ]);
    all
}

fn tcp() -> Vec<Scenario> {
    let of = |name: &str, legit, flood| Scenario::new(name, legit, vec![flood]).crossed("tcp", Unit::Packets);
    vec![
        of("syn-bare-web", Legit::Web, syn(443, 0)),
        of("syn-bare-mail", Legit::Mail, syn(25, 0)),
        of("syn-bare-game", Legit::Game, syn(25_565, 0)),
        of("syn-mss-web", Legit::Web, syn(443, 4)).share(0.2),
        of(
            "syn-options-web",
            Legit::Web,
            syn(443, 20).inseparable("SYNs like those of clients, to the service's port"),
        ),
        of("syn-options-dns", Legit::Dns, syn(80, 20)),
        of("syn-ack-web", Legit::Web, syn_ack()),
        of("syn-ack-home", Legit::Home, syn_ack()),
        of("syn-ack-resolver", Legit::Resolver, syn_ack()).share(0.2),
        of("rst-web", Legit::Web, rst()),
        of("rst-mail", Legit::Mail, rst()),
        of("ack-any-port-web", Legit::Web, ack_anywhere()),
        of("ack-port-web", Legit::Web, ack(443)),
        of("ack-port-vpn", Legit::Vpn, ack(443)).share(0.1),
        of("xmas-web", Legit::Web, xmas(80)),
        of("http-web", Legit::Web, http(443)),
    ]
    .into_iter()
    .map(|scenario| match scenario.name.as_str() {
        "ack-port-vpn" => with_ideal(scenario, |flood| {
            flood.ideally("TCP to a port without a service", |_, _| {
                vec![json!({"protocols": ["tcp"], "destination_ports": [443]})]
            })
        }),
        _ => scenario,
    })
    .collect()
}

/// The same with other words for what an ideal rule is.
fn with_ideal(scenario: Scenario, change: fn(Flood) -> Flood) -> Scenario {
    let floods = scenario.floods.into_iter().map(|(weight, flood)| (weight, change(flood))).collect();
    Scenario { floods, ..scenario }
}

fn udp_and_others() -> Vec<Scenario> {
    let of = |name: &str, legit, flood| Scenario::new(name, legit, vec![flood]);
    let like_quic = "random lengths from random ports and addresses, as QUIC has them";
    vec![
        of("udp-any-port-web", Legit::Web, udp_anywhere()),
        of(
            "udp-any-port-mail",
            Legit::Mail,
            udp_anywhere().ideally("UDP from and to high ports", |_, _| {
                vec![json!({"protocols": ["udp"], "source_ports": ["1024-65535"]})]
            }),
        ),
        of("udp-any-port-one-length-resolver", Legit::Resolver, udp_anywhere_of_length(Draw::Once(900, 1_400))),
        of("udp80-web", Legit::Web, udp(80)).share(0.25),
        of("udp80-one-length-dns", Legit::Dns, udp_of_length(80, Draw::Once(500, 1_400))),
        of("udp443-one-length-web", Legit::Web, udp_of_length(443, Draw::Once(500, 1_180))),
        of("udp443-like-quic-web", Legit::Web, udp(443).inseparable(like_quic)),
        of("udp443-low-sports-web", Legit::Web, udp_from_low_ports(443)),
        of("udp27015-one-length-game", Legit::Game, udp_of_length(27_015, Draw::Once(300, 1_300))),
        of(
            "udp27015-like-players-game",
            Legit::Game,
            udp(27_015).long(Draw::Between(30, 140)).inseparable("lengths of players' packets"),
        ),
        of("udp51820-one-length-vpn", Legit::Vpn, udp_of_length(51_820, Draw::Once(1_450, 1_470))),
        of("udp53-one-length-dns", Legit::Dns, udp_of_length(53, Draw::Once(400, 1_300))),
        of(
            "water-torture-dns",
            Legit::Dns,
            udp(53)
                .long(Draw::Between(40, 62))
                .sent_by(Sources::Some(600))
                .inseparable("questions for names that do not exist, from resolvers"),
        ),
        of("fragments-web", Legit::Web, later_fragments()),
        of("fragments-vpn", Legit::Vpn, later_fragments()),
        of("icmp-web", Legit::Web, ping(Draw::One(56))),
        of("icmp-large-game", Legit::Game, ping(Draw::Once(900, 1_400))).share(0.02),
        of("gre-web", Legit::Web, protocol("gre", 47, Draw::Between(60, 1_400))),
        of("gre-one-length-vpn", Legit::Vpn, protocol_of_length("gre", 47, Draw::Once(501, 503))),
        of("esp-dns", Legit::Dns, protocol("esp", 50, Draw::Between(60, 1_400))),
        of(
            "esp-like-tunnels-vpn",
            Legit::Vpn,
            protocol("esp", 50, Draw::Between(60, 1_400)).inseparable("ESP of all lengths, to a gateway"),
        ),
        of("random-protocols-home", Legit::Home, random_protocols()),
        of("random-protocols-web", Legit::Web, random_protocols()),
        of(
            "rtp-ports-voip",
            Legit::Voip,
            udp(10_000).long(Draw::Between(600, 1_300)).ideally(
                "UDP longer than calls are, to the calls' ports",
                |_, _| {
                    vec![json!({"protocols": ["udp"], "destination_ports": [10_000], "packet_lengths": ["628-1328"]})]
                },
            ),
        )
        .share(0.3),
        of("rtp-like-calls-voip", Legit::Voip, rtp()),
    ]
}

/// Like telephone calls: their length and their ports.
fn rtp() -> Flood {
    Flood { to: Draw::Between(10_000, 11_800), ..udp(10_000) }
        .long(Draw::One(172))
        .inseparable("one length, to the calls' ports, as calls are")
}

fn sources_and_marks() -> Vec<Scenario> {
    let of = |name: &str, legit, flood| Scenario::new(name, legit, vec![flood]);
    vec![
        of("botnet16-web", Legit::Web, http(443).sent_by(Sources::Botnet(900)).by_sources(16).named("http-botnet")),
        of(
            "botnet16-udp443-web",
            Legit::Web,
            udp(443).sent_by(Sources::Botnet(700)).by_sources(16).named("udp-botnet"),
        ),
        of(
            "botnet16-syn-mail",
            Legit::Mail,
            syn(25, 20).sent_by(Sources::Botnet(2_000)).named("syn-botnet").ideally("SYNs of its network", |_, _| {
                vec![json!({"source_prefix": "198.19.0.0/16", "protocols": ["tcp"], "tcp_flags": ["syn&!ack"]})]
            }),
        )
        .share(0.2),
        of("eight-sources-web", Legit::Web, http(443).sent_by(Sources::Some(8)).by_sources(32).named("http-eight")),
        of(
            "eight-sources-game",
            Legit::Game,
            udp(27_015).long(Draw::Between(30, 140)).sent_by(Sources::Some(8)).by_sources(32).named("udp-eight"),
        ),
        of(
            "neighbours-web",
            Legit::Web,
            udp(443).sent_by(Sources::Neighbours(30)).by_sources(24).named("udp-neighbours"),
        ),
        of("dscp-udp443-web", Legit::Web, udp(443).marked(18)),
        of("dscp-udp27015-game", Legit::Game, udp(27_015).long(Draw::Between(30, 140)).marked(40)).share(0.2),
        of("carpet-ntp-web", Legit::Web, amplification("ntp")).network(),
        of("carpet-udp-any-port-web", Legit::Web, udp_anywhere()).network().share(0.2),
        of("carpet-syn-web", Legit::Web, syn(443, 0)).network(),
        of("pulses-udp443-one-length-web", Legit::Web, udp_of_length(443, Draw::Once(500, 1_180))).pulses().share(0.2),
        of("pulses-syn-bare-web", Legit::Web, syn(443, 0)).pulses().share(0.3),
    ]
}

fn several() -> Vec<Scenario> {
    vec![
        Scenario::new("two-dns-syn-web", Legit::Web, vec![dns_short(), syn(443, 0)]),
        Scenario::new(
            "two-ntp-udp443-web",
            Legit::Web,
            vec![amplification("ntp"), udp_of_length(443, Draw::Once(500, 1_180))],
        ),
        Scenario::new(
            "three-amps-resolver",
            Legit::Resolver,
            vec![dns_short(), amplification("ntp"), amplification("ssdp")],
        ),
        Scenario::new("three-tcp-web", Legit::Web, vec![syn(443, 0), rst(), xmas(443)]),
        Scenario::new(
            "four-mail",
            Legit::Mail,
            vec![
                amplification("ntp"),
                syn(25, 0),
                ping(Draw::One(1_000)),
                protocol("gre", 47, Draw::Between(60, 1_400)),
            ],
        ),
        Scenario::new(
            "five-game",
            Legit::Game,
            vec![
                amplification("memcached"),
                amplification("ssdp"),
                syn(25_565, 0),
                ping(Draw::One(56)),
                udp_of_length(27_015, Draw::Once(300, 1_300)),
            ],
        ),
        Scenario::new(
            "five-web",
            Legit::Web,
            vec![amplification("ntp"), syn_ack(), later_fragments(), xmas(80), udp(80)],
        )
        .share(0.2),
        Scenario::new("two-one-inseparable-web", Legit::Web, vec![amplification("ntp"), http(443)]),
    ]
}

fn ipv6() -> Vec<Scenario> {
    let of = |name: &str, legit, flood| Scenario::new(name, legit, vec![flood]).v6();
    vec![
        of("v6-dns-amp-resolver", Legit::Resolver, amplification("dns")),
        of("v6-ntp-amp-web", Legit::Web, amplification("ntp")),
        of("v6-snmp-amp-home", Legit::Home, amplification("snmp")),
        of("v6-syn-bare-web", Legit::Web, syn(443, 0)),
        of("v6-syn-ack-resolver", Legit::Resolver, syn_ack()),
        of("v6-udp443-one-length-web", Legit::Web, udp_of_length(443, Draw::Once(500, 1_180))),
        of("v6-udp-any-port-web", Legit::Web, udp_anywhere()).share(0.2),
        of("v6-fragments-web", Legit::Web, later_fragments()),
        of("v6-icmp-game", Legit::Game, ping(Draw::One(56))),
        of("v6-label-udp443-web", Legit::Web, udp(443).labelled(0x5_1e7e)),
        of("v6-label-http-web", Legit::Web, http(443).labelled(0x0_0001)).share(0.2),
        of("v6-dscp-udp443-web", Legit::Web, udp(443).marked(18)),
        of("v6-botnet48-web", Legit::Web, http(443).sent_by(Sources::Botnet(900)).by_sources(16).named("http-botnet")),
        of(
            "v6-eight-sources-game",
            Legit::Game,
            udp(27_015).long(Draw::Between(30, 140)).sent_by(Sources::Some(8)).by_sources(32).named("udp-eight"),
        ),
        of("v6-gre-web", Legit::Web, protocol("gre", 47, Draw::Between(60, 1_400))),
        of("v6-carpet-udp80-web", Legit::Web, udp(80)).network(),
        of(
            "v6-like-quic-web",
            Legit::Web,
            udp(443).inseparable("random lengths from random ports and addresses, as QUIC has them"),
        ),
        Scenario::new("v6-three-web", Legit::Web, vec![amplification("ntp"), syn(443, 0), ping(Draw::One(1_000))]).v6(),
    ]
}

/// Attacks that were made to look like something else.
fn mean() -> Vec<Scenario> {
    let of = |name: &str, legit, flood| Scenario::new(name, legit, vec![flood]);
    vec![
        of("udp443-length-of-first-quic-web", Legit::Web, udp_of_length(443, Draw::One(1_250)).inseparable("the length of clients' first packets")),
        of("udp443-length-of-an-ack-web", Legit::Web, udp_of_length(443, Draw::Once(26, 45)).ideally("a length that few packets have", |ready, world| {
            vec![json!({"protocols": ["udp"], "destination_ports": [443], "packet_lengths": [world.ip_header() + 8 + ready.flood.payload.only()]})]
        })),
        of("clients-turn-bots-web", Legit::Web, http(443).sent_by(Sources::Clients(400, 403)).by_sources(32).named("http-clients")),
        of("busiest-clients-turn-bots-web", Legit::Web, http(443).sent_by(Sources::Clients(0, 12)).inseparable("the busiest clients themselves")),
        of("two-lengths-udp443-web", Legit::Web, Flood { payload: Draw::Mix(&[(500, 612, 612), (500, 987, 987)]), ..udp(443) }.ideally("both lengths", |_, world| {
            let header = world.ip_header() + 8;
            vec![json!({"protocols": ["udp"], "destination_ports": [443], "packet_lengths": [header + 612, header + 987]})]
        })),
        of("length-range-udp443-web", Legit::Web, udp(443).long(Draw::Between(700, 760)).ideally("its range of lengths", |_, world| {
            let header = world.ip_header() + 8;
            vec![json!({"protocols": ["udp"], "destination_ports": [443], "packet_lengths": [format!("{}-{}", header + 700, header + 760)]})]
        })),
        of("three-ports-udp-web", Legit::Web, Flood { to: Draw::Mix(&[(400, 80, 80), (300, 8_080, 8_080), (300, 53, 53)]), ..udp(80) }.ideally("its ports", |_, _| {
            vec![json!({"protocols": ["udp"], "destination_ports": [80, 8080, 53]})]
        })),
        of("one-sport-udp443-web", Legit::Web, Flood { from: Draw::Once(2_000, 60_000), ..udp(443) }.ideally("its source port", |ready, _| {
            vec![json!({"protocols": ["udp"], "source_ports": [ready.flood.from.only()]})]
        })),
        of("psh-ack-sport443-home", Legit::Home, Flood { from: Draw::One(443), ..ack_anywhere() }.inseparable("empty ACKs from port 443, as web servers send them")),
        of("data-long-web", Legit::Web, http(443).long(Draw::One(1_000)).ideally("its length", |_, world| {
            vec![json!({"protocols": ["tcp"], "packet_lengths": [world.ip_header() + 32 + 1_000]})]
        })),
        of("dns-amp-half-legit-resolver", Legit::Resolver, dns_short()).share(0.4),
        of("syn-bare-rare-web", Legit::Web, syn(443, 0)).share(0.4).sample(200),
        of("ntp-amp-small-sample-web", Legit::Web, amplification("ntp")).sample(50),
        of("syn-flood-high-web", Legit::Web, syn(443, 0)).share(0.01).sample(2_000),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::captures;
    use crate::evaluate::{Row, evaluate};
    use crate::judge::headers::Headers;
    use crate::miner::Miner;

    const SEEDS: std::ops::Range<u64> = 100..103;

    fn rows(miner: &Miner) -> Vec<Row> {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
        let drawn = all().into_iter().flat_map(|scenario| {
            SEEDS.map(move |seed| evaluate(&scenario, &scenario.case(seed), seed, miner, Path::new("unused")).unwrap())
        });
        let captured = captures::all().into_iter().flat_map(|capture| {
            let data = data.clone();
            SEEDS.map(move |seed| {
                let case = capture.case(&data, seed).unwrap();
                evaluate(&capture.scenario(), &case, seed, miner, Path::new("unused")).unwrap()
            })
        });
        drawn.chain(captured).collect()
    }

    #[test]
    fn whoever_knows_the_truth_meets_every_bar() {
        let short: Vec<String> =
            rows(&Miner::Ideal).iter().filter(|row| !row.short.is_empty()).map(|row| format!("{row:?}")).collect();
        assert!(short.is_empty(), "{short:#?}");
    }

    #[test]
    fn whoever_discards_all_meets_none() {
        for row in rows(&Miner::Destination) {
            assert!(row.score.collateral == 1.0 && !row.short.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn names_are_unique_and_varied_ones_exist() {
        let mut names: Vec<String> = all().into_iter().map(|scenario| scenario.name).collect();
        assert!(VARIED.iter().all(|varied| names.iter().any(|name| name == varied)));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_sample_holds_what_was_asked_for() {
        for scenario in all() {
            let case = scenario.case(9);
            let headers: Vec<Headers> =
                case.attack.iter().map(|frame| Headers::of_frame(&frame.bytes).unwrap()).collect();
            assert_eq!(headers.len(), scenario.sample, "{}", scenario.name);
            assert!(case.attack.is_sorted_by_key(|frame| frame.time_us), "{}", scenario.name);
            assert!(case.baseline.is_sorted_by_key(|frame| frame.time_us), "{}", scenario.name);
            assert!(case.baseline.last().unwrap().time_us < case.attack[0].time_us, "{}", scenario.name);
            assert!(case.legit_pps > 100.0, "{}: {}", scenario.name, case.legit_pps);
            let rate = case.legit_pps / (case.legit_pps + case.vectors.iter().map(|vector| vector.pps).sum::<f64>());
            assert!((rate - scenario.legit_share).abs() < 1e-6, "{}: {rate}", scenario.name);
        }
    }

    #[test]
    fn a_seed_makes_the_same_case_and_fresh_packets_to_judge_by() {
        let scenario = all().remove(0);
        let (one, again, other) = (scenario.case(5), scenario.case(5), scenario.case(6));
        assert_eq!((&one.attack, &one.judged), (&again.attack, &again.judged));
        assert_ne!(one.attack, other.attack);
        let judged: std::collections::HashSet<&[u8]> = one.judged.iter().map(|(frame, _)| &frame.bytes[..]).collect();
        assert!(one.attack.iter().all(|frame| !judged.contains(&frame.bytes[..])));
    }

    #[test]
    fn addresses_are_those_set_aside_for_tests() {
        let allowed = ["198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"];
        let allowed: Vec<ipnet::IpNet> = allowed.iter().map(|net| net.parse().unwrap()).collect();
        for scenario in all() {
            let case = scenario.case(2);
            let frames = case.attack.iter().chain(&case.baseline).chain(case.judged.iter().map(|(frame, _)| frame));
            for headers in frames.filter_map(|frame| Headers::of_frame(&frame.bytes)) {
                for address in [headers.source, headers.destination] {
                    assert!(allowed.iter().any(|net| net.contains(&address)), "{}: {address}", scenario.name);
                }
            }
        }
    }
}
