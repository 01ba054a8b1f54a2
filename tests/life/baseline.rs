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
