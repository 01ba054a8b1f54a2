//! What a host receives in peace is spared, though the attack shares its port.

use super::*;

/// Answers of the host's resolver, and what else it lives on.
fn with_resolver(host: IpAddr) -> Vec<Vec<u8>> {
    let mut frames = ordinary(host);
    for query in 0..16u16 {
        let client = SocketAddr::new(host, 30_000 + query * 997);
        frames.push(pcap::udp(at("203.0.113.53:53"), client, 80 + usize::from(query) * 9));
    }
    frames
}

#[test]
fn answers_of_the_resolver_are_spared_by_what_removes_a_flood_of_answers() {
    let site = Site::start("", DETECTION);
    let peace = site.play(&site.file("peace.pcap", &with_resolver(VICTIM.into())), 100, Amount::Seconds(60));
    // As long as it takes for a baseline that is left when the latest seconds are forgotten.
    std::thread::sleep(std::time::Duration::from_secs(9));
    let flood: Vec<Vec<u8>> = (0..500u16)
        .map(|index| {
            let source = at(&format!("198.51.100.{}:53", 1 + index % 250));
            pcap::udp(source, SocketAddr::new(VICTIM.into(), 1024 + index * 101), 1_400)
        })
        .collect();
    let attack = site.play(&site.file("flood.pcap", &flood), ATTACK_PPS, Amount::Packets(ATTACK_PPS as u64 * 4));
    let rule = site.wait_held();
    let mined = rule.mined.clone().expect("what the miner knows");
    assert!(mined.collateral <= 0.01 && mined.collateral_at_most < 0.1, "{rule:?}");
    assert!(rule.coverage > 0.8, "{rule:?}");
    let spec: serde_json::Value = serde_json::from_str(&rule.flow_spec_json).unwrap();
    assert!(spec.get("packet_lengths").is_some() || spec.get("source_prefix").is_some(), "more than the port: {spec}");
    attack.wait();
    assert_eq!(site.wait_held().mined.expect("the same").known_packets, 0);
    peace.stop();
}

/// Ports of clients, in no order.
fn any_port(index: u16) -> u16 {
    1_024 + index.wrapping_mul(19_937) % 60_000
}

#[test]
fn who_is_known_from_before_and_comes_into_a_rule_is_counted_with_it() {
    let loose = DETECTION.replace("[detection]", "[miner]\nmost_collateral_permille = 200\n[detection]");
    let site = Site::start("", &loose);
    // Some of what it receives are answers of its time server, and few enough to be taken along.
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for round in 0..30u16 {
        frames.extend(ordinary(VICTIM.into()));
        frames.push(pcap::udp(at("203.0.113.123:123"), SocketAddr::new(VICTIM.into(), any_port(round * 191)), 48));
    }
    let peace = site.play(&site.file("peace.pcap", &frames), 400, Amount::Seconds(60));
    std::thread::sleep(Duration::from_secs(11));
    let known = site.leveed.status().baseline.expect("a baseline");
    assert!(known.tapped > 500 && known.hosts >= 1 && known.packets >= 64 && known.packets_max > 100_000, "{known:?}");
    assert!(known.lost.len() >= 4 && known.lost.iter().all(|lost| lost.packets == 0), "{known:?}");
    // From hosts around the time server, and around the host's clients, to any of its ports.
    let answer = |index: u16| {
        let network = ["203.0.113", "198.51.100"][usize::from(index % 2)];
        pcap::udp(
            at(&format!("{network}.{}:123", 1 + index % 100)),
            SocketAddr::new(VICTIM.into(), any_port(index)),
            48,
        )
    };
    let file = site.file("flood.pcap", &(0..6_000).map(answer).collect::<Vec<_>>());
    let attack = site.play(&file, ATTACK_PPS, Amount::Seconds(60));
    let rule = site.wait_held();
    let mined = rule.mined.clone().expect("what the miner knows");
    // The rule is for port 123, whoever it is: else it would not take the time server along.
    let spec: serde_json::Value = serde_json::from_str(&rule.flow_spec_json).unwrap();
    assert!(spec.get("source_prefix").is_none() && spec["source_ports"] == serde_json::json!([123]), "{spec}");
    assert!(mined.collateral > 0.0 && mined.collateral <= 0.2, "{mined:?}");
    assert!(mined.collateral_at_most > mined.collateral && mined.collateral_at_most < 0.3, "{mined:?}");
    let known = || site.leveed.rules().into_iter().find_map(|rule| rule.mined).map_or(0, |mined| mined.known_packets);
    let known = wait_until(SOON, "the time server", || Some(known()).filter(|known| *known >= 4));
    assert!(known < 200, "{known} of some sixteen a second: nobody of the flood is known");
    attack.stop();
    peace.stop();
}

#[test]
fn what_cannot_be_told_from_the_hosts_own_is_as_the_group_says() {
    let site = Site::start("", &format!("[groups.default]\ninseparable = \"rate_limit\"\n{DETECTION}"));
    let says = |old: &str, new: &str| {
        let text = std::fs::read_to_string(site.leveed.config()).unwrap();
        let [old, new] = [old, new].map(|word| format!("inseparable = \"{word}\""));
        assert!(text.contains(&old));
        site.leveed.write_config(&text.replace(&old, &new));
        site.leveed.reload().expect("reloaded");
    };
    // A game: any client, any length. The flood is more of the same.
    let game = |count: u16, step: u16| -> Vec<Vec<u8>> {
        let client = |index: u16| {
            let network = ["198.51.100", "203.0.113"][usize::from(index % 2)];
            at(&format!(
                "{network}.{}:{}",
                1 + index.wrapping_mul(step) % 250,
                1_024 + index.wrapping_mul(9_973) % 60_000
            ))
        };
        let server = SocketAddr::new(VICTIM.into(), 27_015);
        (0..count)
            .map(|index| pcap::udp(client(index), server, 40 + usize::from(index.wrapping_mul(7_919) % 400)))
            .collect()
    };
    let peace = site.play(&site.file("peace.pcap", &game(5_000, 77)), 200, Amount::Seconds(100));
    let flood = site.file("flood.pcap", &game(7_001, 31));
    let over = |attack: Player| {
        attack.stop();
        site.wait_flow4(&[]);
        site.wait_attack("ended")
    };

    // Long enough for a baseline, which is kept from then on.
    std::thread::sleep(Duration::from_secs(11));
    let attack = site.play(&flood, ATTACK_PPS, Amount::Seconds(60));
    let rule = site.wait_held();
    let spec: serde_json::Value = serde_json::from_str(&rule.flow_spec_json).unwrap();
    assert_eq!(spec["action_type"], "rate-limit", "{spec}");
    // 200 packets a second of 268 bytes in the mean are some 430 kbit/s; half as much again, and what the busiest second had.
    let bps = spec["action"]["rate_bps"].as_u64().expect("a rate");
    assert!((400_000..1_300_000).contains(&bps), "{bps}");
    assert!(rule.reason.contains("cannot be told from it"), "{}", rule.reason);
    let record = over(attack);
    assert!(record.note.contains("it is limited to what the baseline had of it"), "{}", record.note);

    says("rate_limit", "nothing");
    let attack = site.play(&flood, ATTACK_PPS, Amount::Seconds(60));
    let told =
        || site.leveed.attacks().into_iter().next().filter(|attack| attack.note.contains("nothing is done about it"));
    let record = wait_until(SOON, "words", told);
    assert!(record.state == "detected" && record.rules.is_empty(), "{record:?}");
    never(A_WHILE, "a rule", || Some(site.bird.flow4()).filter(|routes| !routes.is_empty()));
    over(attack);

    says("nothing", "blackhole");
    let attack = site.play(&flood, ATTACK_PPS, Amount::Seconds(60));
    let routes = wait_until(SOON, "a blackhole", || Some(site.bird.routes()).filter(|routes| !routes.is_empty()));
    assert_eq!((routes.len(), routes[0].components.concat()), (1, "198.18.78.1/32".to_owned()));
    assert!(site.bird.flow4().is_empty());
    let rule = site.wait_held();
    assert!(rule.last_resort && rule.reason.contains("the host is taken off the net"), "{rule:?}");
    over(attack);
    wait_until(SOON, "no blackhole", || site.bird.routes().is_empty().then_some(()));
    peace.stop();
}
