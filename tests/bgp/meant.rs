//! What a router holds of each component and each action is what was meant.

use super::*;

#[test]
fn every_component_arrives_as_meant() {
    let (_link, gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let udp = FlowRule {
        source: Some("198.51.100.0/24".parse().unwrap()),
        protocols: Ranges::from(17),
        ports: ranges(&[(53, 53), (1_024, 2_048)]),
        packet_lengths: ranges(&[(468, 500)]),
        dscps: Ranges::from(46),
        fragments: vec![Bits { set: u16::from(fragment::IS), clear: 0 }],
        ..rule("192.0.2.5/32")
    };
    let tcp = FlowRule {
        protocols: Ranges::from(6),
        destination_ports: ranges(&[(443, 443)]),
        source_ports: ranges(&[(0, 1_023)]),
        tcp_flags: vec![Bits { set: 0x02, clear: 0x10 }],
        ..rule("192.0.2.6/32")
    };
    let icmp6 = FlowRule {
        protocols: Ranges::from(58),
        icmp_types: ranges(&[(128, 129)]),
        icmp_codes: Ranges::from(0),
        flow_labels: Ranges::from(0xabcde),
        ..rule("2001:db8:0:5::/64")
    };
    let wanted = [udp, tcp, icmp6].map(|rule| Wanted { id: Uuid::now_v7(), rule, action: Action::Discard });
    levee.want(&wanted);
    levee.wait_held(&wanted);
    // A doubled "!" is how BIRD writes "any of these bits".
    let udp = "dst 192.0.2.5/32; src 198.51.100.0/24; proto 17; port 53,1024..2048; length 468..500; dscp 46; \
               fragment !!is_fragment";
    let tcp = "dst 192.0.2.6/32; proto 6; dport 443; sport 0..1023; tcp flags 0x2/0x2 && 0x0/0x10";
    wait_flow4(&bird, &[(udp, DISCARD), (tcp, DISCARD)]);
    let icmp6 = "dst 2001:db8:0:5::/64; next header 58; icmp type 128..129; icmp code 0; label 703710";
    wait_flow6(&bird, &[(icmp6, DISCARD)]);
    for route in bird.flow4().into_iter().chain(bird.flow6()) {
        assert_eq!(route.attributes["BGP.large_community"], "(64512, 7653, 1)");
        assert_eq!(route.attributes["BGP.community"], "(65000,1)");
    }
    // A full comparison with what the engine lists finds nothing to do: the ages stay, which have whole seconds.
    levee.stop(AtStop::Keep);
    let ages = || ["ipv4", "ipv6"].map(|family| gobgpd.gobgp(&format!("global rib -j -a {family}-flowspec")));
    let before = ages();
    assert!(before.iter().all(|listing| listing.contains("\"age\"")));
    std::thread::sleep(Duration::from_millis(1_100));
    let levee = Levee::start(gobgpd.address());
    levee.want(&wanted);
    levee.wait_held(&wanted);
    assert_eq!(ages(), before);
}

/// Each action that a rule may have, in the octets that BIRD shows for what it has no name for.
#[test]
fn every_action_arrives_as_meant_and_is_compared_right() {
    let (_link, gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let pass = |destination: &str, pass| Wanted { action: Action::Pass(pass), ..discard(destination) };
    let to = |text: &str| Pass { redirect: Some(text.parse().unwrap()), ..Pass::default() };
    let wanted = [
        Wanted { action: Action::RatePps(1_000), ..discard("192.0.2.10/32") },
        pass("192.0.2.11/32", to("64512:100")),
        pass("192.0.2.12/32", to("192.0.2.1:100")),
        pass("192.0.2.13/32", to("198.51.100.9")),
        pass("192.0.2.14/32", Pass { dscp: Some(46), ..Pass::default() }),
        pass("192.0.2.15/32", Pass { sample: true, terminal: true, ..Pass::default() }),
        pass("192.0.2.16/32", Pass::default()),
        pass("2001:db8::17/128", to("2001:db8::9")),
    ];
    levee.want(&wanted);
    levee.wait_held(&wanted);
    wait_until(SOON, "seven IPv4 rules", || (bird.flow4().len() == 7).then_some(()));
    assert_eq!(
        shown(bird.flow4()),
        owned(&[
            ("dst 192.0.2.10/32", "(generic, 0x800c0000, 0x447a0000)"),
            ("dst 192.0.2.11/32", "(generic, 0x8008fc00, 0x64)"),
            ("dst 192.0.2.12/32", "(generic, 0x8108c000, 0x2010064)"),
            ("dst 192.0.2.13/32", "(unknown 0x10c, 198.51.100.9, 0)"),
            ("dst 192.0.2.14/32", "(generic, 0x80090000, 0x2e)"),
            ("dst 192.0.2.15/32", "(generic, 0x80070000, 0x3)"),
            ("dst 192.0.2.16/32", ""),
        ])
    );
    wait_flow6(&bird, &[("dst 2001:db8::17/128", "")]);
    // A comparison with what the engine lists finds nothing to do: the ages stay.
    let ages = || ["ipv4", "ipv6"].map(|family| gobgpd.gobgp(&format!("global rib -j -a {family}-flowspec")));
    let before = ages();
    std::thread::sleep(levee.engine.reconcile_period + Duration::from_millis(1_100));
    assert_eq!(ages(), before);
    let report = levee.wait_report("the session", |report| report.peers.iter().any(|peer| peer.advertised == 8));
    let families = ["ipv4-flowspec", "ipv6-flowspec", "ipv4-unicast", "ipv6-unicast"];
    assert_eq!((report.peers[0].asn, report.peers[0].families.as_slice()), (65_002, &families[..]));
    assert_eq!((report.speaker, report.routes["ipv4-flowspec"]), ((65_001, "192.0.2.1".to_owned()), 7));
    levee.stop(AtStop::Withdraw);
    wait_flow4(&bird, &[]);
}
