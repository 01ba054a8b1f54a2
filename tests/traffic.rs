//! The tests' own instruments: frames and tshark's count of them, captures and the paced player.

mod support;

use std::net::{IpAddr, SocketAddr};

use controlplane::attack::{Direction, Volumes};
use dataplane::packet::Class;
use ipnet::IpNet;

use support::netns::{Netns, veth};
use support::pcap::{self, flags};
use support::traffic::{self, Amount, Player};

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn networks() -> Vec<IpNet> {
    vec!["198.18.0.0/16".parse().unwrap(), "2001:db8::/48".parse().unwrap()]
}

/// Volumes of `(fragment, class, packets, bytes)`.
fn volumes(parts: &[(usize, Class, u64, u64)]) -> Volumes {
    let mut volumes = Volumes::default();
    for &(fragment, class, packets, bytes) in parts {
        volumes.packets[fragment][class as usize] = packets;
        volumes.bytes[fragment][class as usize] = bytes;
    }
    volumes
}

#[test]
fn tshark_counts_what_we_build() {
    let (near, far) = (at("198.18.0.10:443"), at("203.0.113.5:40000"));
    let (near6, far6) = (at("[2001:db8::10]:53"), at("[2001:db8:ffff::5]:1024"));
    let frames = [
        pcap::tcp(far, near, flags::SYN, 0),
        pcap::tcp(near, far, flags::SYN | flags::ACK, 0),
        pcap::vlan(&pcap::tcp(far, near, flags::ACK, 100), 7),
        pcap::udp(far, near, 50),
        pcap::icmp(far.ip(), near.ip(), 56),
        pcap::first_fragment(far, near, 1000),
        pcap::later_fragment(far.ip(), near.ip(), 17, 126, 300),
        pcap::ip(far.ip(), near.ip(), 132, &[0; 12]),
        pcap::udp(far6, near6, 20),
        pcap::icmp(near6.ip(), far6.ip(), 8),
        pcap::first_fragment(far6, near6, 800),
        pcap::later_fragment(far6.ip(), near6.ip(), 6, 101, 64),
        pcap::udp(near, at("198.18.0.20:9"), 0),
        pcap::udp(far, at("192.0.2.1:9"), 0),
        vec![0xff; 60],
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("built.pcap");
    pcap::write(&file, &frames);

    let counted = pcap::count(&file, &networks());
    let kinds = [counted.incoming, counted.outgoing, counted.internal, counted.other, counted.unparsed];
    assert_eq!(kinds.map(|kind| kind.packets), [10, 2, 1, 1, 1]);
    assert_eq!(
        kinds.map(|kind| kind.bytes).iter().sum::<u64>(),
        frames.iter().map(|frame| frame.len() as u64).sum::<u64>()
    );
    let expected = [
        (
            (near.ip(), Direction::Incoming),
            volumes(&[
                (0, Class::TcpSyn, 1, 40),
                (0, Class::Tcp, 1, 140),
                (0, Class::Udp, 1, 78),
                (0, Class::Icmp, 1, 84),
                (0, Class::Other, 1, 32),
                (1, Class::Udp, 2, 1028 + 320),
            ]),
        ),
        ((near.ip(), Direction::Outgoing), volumes(&[(0, Class::Tcp, 1, 40), (0, Class::Udp, 1, 28)])),
        ((at("198.18.0.20:9").ip(), Direction::Incoming), volumes(&[(0, Class::Udp, 1, 28)])),
        (
            (near6.ip(), Direction::Incoming),
            volumes(&[(0, Class::Udp, 1, 68), (1, Class::Udp, 1, 856), (1, Class::Tcp, 1, 112)]),
        ),
        ((near6.ip(), Direction::Outgoing), volumes(&[(0, Class::Icmp, 1, 56)])),
    ];
    assert_eq!(counted.hosts, expected.into());
}

#[test]
fn captures_are_what_their_readme_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("retargeted.pcap");
    let victim = IpAddr::from(traffic::VICTIM);
    let count = |name: &str| {
        traffic::retarget(&traffic::capture(name), traffic::VICTIM, &file);
        let counted = pcap::count(&file, &networks());
        (counted.frames.packets, counted.unparsed.packets, counted.hosts[&(victim, Direction::Incoming)])
    };

    let isakmp = volumes(&[(0, Class::Udp, 3984, 3984 * 232)]);
    assert_eq!(count("amp.UDP.isakmp.pcap"), (3984, 0, isakmp));
    let syn_flood = volumes(&[(0, Class::TcpSyn, 8000, 8000 * 40)]);
    assert_eq!(count("pkt.TCP.synflood.spoofed.pcap"), (8000, 0, syn_flood));
    let (frames, unparsed, reflection) = count("amp.TCP.reflection.SYNACK.pcap");
    // ARP is unparsed; ICMP errors come with the reflection, and one SYN to SSH.
    let by_class = [Class::TcpSyn, Class::Icmp].map(|class| reflection.packets[0][class as usize]);
    assert_eq!((frames, unparsed, by_class), (8000, 4, [1, 153]));
    let (frames, _, dns) = count("amp.dns.RRSIG.fragmented.pcap");
    assert!(frames == 4412 && dns.packets[1][Class::Udp as usize] > 800, "{dns:?}");
}

#[test]
fn a_player_sends_its_amount_and_stops() {
    let (outside, inside) = (Netns::silent(), Netns::silent());
    veth((&outside, "out0"), (&inside, "tap0"));
    let received = || -> u64 { inside.run("cat /sys/class/net/tap0/statistics/rx_packets").trim().parse().unwrap() };
    let file = traffic::capture("amp.UDP.isakmp.pcap");
    let play = |amount| Player::start(&outside, "out0", &file, 10_000, amount);

    // More than the file holds: it loops.
    assert_eq!(play(Amount::Packets(5000)).wait(), 5000);
    assert_eq!(received(), 5000);

    let mut endless = play(Amount::Seconds(60));
    while received() < 6000 {
        assert!(endless.is_playing());
    }
    endless.stop();
    let stopped_at = received();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(received(), stopped_at);
}
