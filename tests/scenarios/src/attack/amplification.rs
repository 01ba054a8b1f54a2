//! Amplification: answers of many open services to questions that the attacker asked in the victim's name.

use serde_json::json;

use super::{Draw, Flood, Ideal, Kind, Sources};

/// A service that is abused: its port, and what its answers' lengths are.
pub struct Service {
    name: &'static str,
    port: u16,
    payload: Draw,
    reflectors: usize,
}

impl Service {
    /// What tables call it.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

const fn service(name: &'static str, port: u16, payload: &'static [(u16, u16, u16)], reflectors: usize) -> Service {
    Service { name, port, payload: Draw::Mix(payload), reflectors }
}

/// The services, with lengths as they were seen in attacks. What is above 1472 comes in fragments.
pub const SERVICES: [Service; 10] = [
    service("dns", 53, &[(250, 1_100, 1_470), (550, 2_900, 4_060), (200, 1_700, 2_600)], 900),
    service("ntp", 123, &[(960, 440, 440), (40, 80, 368)], 400),
    service("memcached", 11_211, &[(950, 1_400, 1_400), (50, 200, 1_399)], 60),
    service("cldap", 389, &[(300, 1_200, 1_470), (700, 2_600, 3_050)], 700),
    service("ssdp", 1_900, &[(1_000, 230, 440)], 1_500),
    service("snmp", 161, &[(400, 400, 1_400), (600, 1_500, 2_500)], 600),
    service("chargen", 19, &[(350, 74, 1_400), (650, 1_480, 2_048)], 250),
    service("wsd", 3_702, &[(600, 620, 1_300), (400, 1_480, 3_000)], 500),
    service("isakmp", 500, &[(700, 204, 204), (300, 300, 380)], 1_200),
    service("natt", 4_500, &[(1_000, 204, 204)], 1_200),
];

/// Amplification by the service of this name.
pub fn amplification(name: &str) -> Flood {
    let service = SERVICES.iter().find(|service| service.name == name).expect("a service of the table");
    Flood {
        name: format!("{name}-amp"),
        kind: Kind::Udp,
        from: Draw::One(service.port),
        to: Draw::Between(1_024, 65_535),
        payload: service.payload,
        sources: Sources::Some(service.reflectors),
        dscp: None,
        flow_label: None,
        ideal: match name {
            "dns" => Ideal::Rules("long answers from port 53, and later fragments", |_, _| {
                vec![
                    json!({"protocols": ["udp"], "source_ports": [53], "packet_lengths": ["1000-1500"]}),
                    json!({"protocols": ["udp"], "fragmentation_flags": ["is-fragment"]}),
                ]
            }),
            "ntp" | "memcached" | "ssdp" => Ideal::Rules("the service's source port", |ready, _| {
                vec![json!({"protocols": ["udp"], "source_ports": [ready.flood.from.only()]})]
            }),
            "isakmp" | "natt" => {
                Ideal::Rules("the service's source port, and the length of its answers", |ready, world| {
                    let header = world.ip_header() + 8;
                    let port = ready.flood.from.only();
                    let mut rules =
                        vec![json!({"protocols": ["udp"], "source_ports": [port], "packet_lengths": [header + 204]})];
                    if port == 500 {
                        let range = format!("{}-{}", header + 300, header + 380);
                        rules.push(json!({"protocols": ["udp"], "source_ports": [500], "packet_lengths": [range]}));
                    }
                    rules
                })
            }
            _ => Ideal::Rules("the service's source port, and later fragments", |ready, _| {
                vec![
                    json!({"protocols": ["udp"], "source_ports": [ready.flood.from.only()]}),
                    json!({"protocols": ["udp"], "fragmentation_flags": ["is-fragment"]}),
                ]
            }),
        },
    }
}

/// DNS answers that all fit into one packet.
pub fn dns_short() -> Flood {
    Flood {
        name: "dns-amp-short".into(),
        payload: Draw::Mix(&[(700, 1_020, 1_232), (300, 1_233, 1_460)]),
        ideal: Ideal::Rules("long answers from port 53", |_, _| {
            vec![json!({"protocols": ["udp"], "source_ports": [53], "packet_lengths": ["1000-1500"]})]
        }),
        ..amplification("dns")
    }
}

/// DNS answers as short as ordinary ones.
pub fn dns_like_answers() -> Flood {
    Flood {
        name: "dns-amp-like-answers".into(),
        payload: Draw::Mix(&[(500, 56, 90), (300, 91, 140), (200, 141, 300)]),
        ideal: Ideal::None("answers from port 53 of ordinary length, to a host that asks much"),
        ..amplification("dns")
    }
}
