//! Exact counts: what `leveed` counts of a file, delivered once by `net_pcap`, is what tshark counts in the same file; by
//! host, direction and class, and in all. Nothing is lost, and nothing is counted twice.

mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use controlplane::attack::{Direction, Volumes};
use dataplane::packet::Class;
use ipnet::IpNet;
use proto::v1;
use support::daemon::{Leveed, Setup, cores};
use support::pcap::{self, Counted, Layer, Tunnel, flags};
use support::traffic::{self, VICTIM};
use support::{Dice, wait_until};

const NETWORKS: [&str; 4] = ["198.18.0.0/16", "198.18.78.0/24", "192.0.2.64/26", "2001:db8::/48"];
const SOON: Duration = Duration::from_secs(30);

fn networks() -> Vec<IpNet> {
    NETWORKS.map(|network| network.parse().unwrap()).to_vec()
}

/// What `leveed` says, in the shape of tshark's count.
fn counted(leveed: &Leveed, hosts: impl Iterator<Item = (IpAddr, Direction)>) -> Counted {
    let kinds = leveed.totals().counted.expect("counts");
    let count = |kind: Option<v1::Count>| {
        let v1::Count { packets, bytes } = kind.expect("a kind");
        pcap::Count { packets, bytes }
    };
    let (mut frames, ports) = (pcap::Count::default(), leveed.status().ports);
    for port in &ports {
        assert_eq!((port.missed, port.errors, port.no_mbuf), (0, 0, 0));
        frames.packets += port.packets;
        frames.bytes += port.bytes;
    }
    Counted {
        frames,
        incoming: count(kinds.incoming),
        outgoing: count(kinds.outgoing),
        internal: count(kinds.internal),
        other: count(kinds.other),
        unparsed: count(kinds.unparsed),
        reasons: kinds.unparsed_reasons.into_iter().map(|reason| (reason.name, reason.packets)).collect(),
        hosts: hosts.map(|(host, direction)| ((host, direction), of_host(leveed, host, direction))).collect(),
    }
}

fn of_host(leveed: &Leveed, host: IpAddr, direction: Direction) -> Volumes {
    let listed = leveed.hosts(v1::ListHostsRequest { prefix: host.to_string(), ..v1::ListHostsRequest::default() });
    assert_eq!(listed.len(), 1, "{host}");
    let counted = match direction {
        Direction::Incoming => listed[0].counted_incoming,
        Direction::Outgoing => listed[0].counted_outgoing,
    };
    let v1::Volumes { whole, fragments } = counted.expect("counts");
    let mut volumes = Volumes::default();
    for (fragment, classes) in [whole, fragments].into_iter().enumerate() {
        let classes = classes.expect("classes");
        let by_class = [
            (Class::Tcp, classes.tcp),
            (Class::TcpSyn, classes.tcp_syn),
            (Class::Udp, classes.udp),
            (Class::Icmp, classes.icmp),
            (Class::Other, classes.other),
        ];
        for (class, count) in by_class {
            let count = count.expect("a count");
            volumes.packets[fragment][class as usize] = count.packets;
            volumes.bytes[fragment][class as usize] = count.bytes;
        }
    }
    volumes
}

/// The counts of several files in one.
fn sum(files: &[PathBuf], layer: Layer) -> Counted {
    let mut sum = Counted::default();
    for file in files {
        let one = pcap::count_layer(file, &networks(), layer);
        let add = |to: &mut pcap::Count, of: pcap::Count| {
            to.packets += of.packets;
            to.bytes += of.bytes;
        };
        add(&mut sum.frames, one.frames);
        add(&mut sum.incoming, one.incoming);
        add(&mut sum.outgoing, one.outgoing);
        add(&mut sum.internal, one.internal);
        add(&mut sum.other, one.other);
        add(&mut sum.unparsed, one.unparsed);
        for (reason, packets) in one.reasons {
            *sum.reasons.entry(reason).or_default() += packets;
        }
        for (host, volumes) in one.hosts {
            sum.hosts.entry(host).or_default().add(&volumes);
        }
    }
    sum
}

/// Runs `leveed` over these ports; says how many workers there were.
#[track_caller]
fn assert_counts(ports: &[(&str, &[usize])], files: &[PathBuf]) -> usize {
    assert_counted(ports, "", &sum(files, Layer::Outermost))
}

/// The same with more keys for the last port.
#[track_caller]
fn assert_counted(ports: &[(&str, &[usize])], keys: &str, expected: &Counted) -> usize {
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports, rest: keys, ..Setup::default() });
    leveed.start();
    let delivered = || leveed.status().workers.iter().map(|worker| worker.packets).sum::<u64>();
    wait_until(SOON, "all frames", || (delivered() >= expected.frames.packets).then_some(()));

    let found = counted(&leveed, expected.hosts.keys().copied());
    assert_eq!(found, *expected);
    let kinds = [found.incoming, found.outgoing, found.internal, found.other, found.unparsed];
    assert_eq!(kinds.iter().map(|kind| kind.packets).sum::<u64>(), found.frames.packets);
    assert_eq!(kinds.iter().map(|kind| kind.bytes).sum::<u64>(), found.frames.bytes);
    // Every packet of a direction is some host's: there is no host that tshark does not know of.
    for (direction, kind) in [(Direction::Incoming, found.incoming), (Direction::Outgoing, found.outgoing)] {
        let of_hosts = found.hosts.iter().filter(|((_, of), _)| *of == direction);
        let packets = of_hosts.map(|(_, volumes)| volumes.total().0).sum::<u64>();
        assert_eq!(packets, kind.packets + found.internal.packets, "{direction}");
    }
    let status = leveed.status();
    assert_eq!(status.workers.iter().map(|worker| worker.bytes).sum::<u64>(), found.frames.bytes);
    assert!(status.workers.iter().all(|worker| worker.lost.is_empty()), "{:?}", status.workers);
    assert!(leveed.attacks().is_empty(), "there are no thresholds");
    status.workers.len()
}

fn device(number: usize, files: &[&Path]) -> String {
    let files: String = files.iter().map(|file| format!(",rx_pcap={}", file.display())).collect();
    format!("net_pcap{number}{files}")
}

impl Dice {
    /// An address of the family: protected or not, in networks that lie within each other, and next to their edges.
    fn address(&mut self, ipv4: bool) -> IpAddr {
        let host = self.next(6);
        let text = match (ipv4, self.next(7)) {
            (true, 0) => format!("198.18.0.{host}"),
            (true, 1) => format!("198.18.78.{}", 250 + host),
            (true, 2) => format!("198.18.255.{}", 250 + host),
            (true, 3) => format!("192.0.2.{}", 61 + host),
            (true, 4) => format!("192.0.2.{}", 125 + host),
            (true, 5) => format!("198.19.0.{host}"),
            (true, _) => format!("203.0.113.{host}"),
            (false, 0..=2) => format!("2001:db8::{host:x}:1"),
            (false, 3) => format!("2001:db8:0:ffff:ffff:ffff:ffff:fff{host:x}"),
            (false, _) => format!("2001:db8:{}::{host:x}", host % 3 + 1),
        };
        text.parse().unwrap()
    }

    fn frame(&mut self) -> Vec<u8> {
        let ipv4 = self.next(2) == 0;
        let (source, destination) = (self.address(ipv4), self.address(ipv4));
        // No port that tshark would take for a tunnel.
        let from = SocketAddr::new(source, 30_000 + self.next(2_000) as u16);
        let to = SocketAddr::new(destination, self.pick(&[80, 123, 443, 31_000]));
        let payload = self.next(1_400);
        let syn_ack = flags::SYN | flags::ACK;
        match self.next(11) {
            0 => pcap::tcp(from, to, flags::SYN, self.pick(&[0, 0, payload])),
            1 => pcap::tcp(from, to, self.pick(&[syn_ack, flags::ACK, flags::RST, 0]), payload),
            2 | 3 => pcap::udp(from, to, payload),
            4 => pcap::icmp(source, destination, payload),
            5 => pcap::first_fragment(from, to, payload.max(8)),
            6 => pcap::later_fragment(
                source,
                destination,
                self.pick(&[6, 17, 1, 58, 132]),
                1 + self.next(180) as u16,
                payload,
            ),
            // GRE without a known payload, ESP, SCTP, ICMP of the other family, and one that nobody uses.
            7 => pcap::ip(
                source,
                destination,
                self.pick(&[50, 132, if ipv4 { 58 } else { 1 }, 253]),
                &vec![0; payload.max(8)],
            ),
            8 => {
                let inner = self.untagged();
                pcap::vlan(&inner, self.next(4095) as u16)
            }
            9 => {
                let inner = self.untagged();
                pcap::qinq(&inner, self.next(4095) as u16, self.next(4095) as u16)
            }
            _ => self.unparsed(),
        }
    }

    fn untagged(&mut self) -> Vec<u8> {
        let ipv4 = self.next(2) == 0;
        let (source, destination) = (self.address(ipv4), self.address(ipv4));
        pcap::udp(SocketAddr::new(source, 30_001), SocketAddr::new(destination, 443), self.next(1_000))
    }

    /// ARP, and an EtherType for experiments.
    fn unparsed(&mut self) -> Vec<u8> {
        let payload = vec![0; 28 + self.next(100)];
        pcap::ethernet(self.pick(&[0x0806, 0x88b5]), &[&payload])
    }
}

// Everything that may stand around a packet.
impl Dice {
    /// A short packet with any class, as [`Dice::untagged`].
    fn packet(&mut self) -> Vec<u8> {
        let ipv4 = self.next(2) == 0;
        let (source, destination) = (self.address(ipv4), self.address(ipv4));
        let (from, to) = (SocketAddr::new(source, 30_002), SocketAddr::new(destination, 443));
        let payload = 30 + self.next(300);
        match self.next(4) {
            0 => pcap::udp(from, to, payload),
            1 => pcap::tcp(from, to, self.pick(&[flags::SYN, flags::ACK]), payload),
            2 => pcap::icmp(source, destination, payload),
            _ => pcap::first_fragment(from, to, payload),
        }
    }

    /// A packet over every link layer.
    fn linked(&mut self) -> Vec<u8> {
        let packet = self.packet();
        let labels = &[16, 2_000, 77_777][..self.next(4)];
        // tshark takes what is behind a tag of 0x88a8 for an ethertype, though it be a length.
        let any_tag = [0x8100, 0x9100, 0x88a8];
        let (kinds, kind) = match self.next(5) {
            0 => (&any_tag[..2], 0),
            kind => (&any_tag[..], kind),
        };
        let frame = match kind {
            0 => pcap::snap(&packet, self.pick(&[[0, 0, 0], [0, 0, 0xf8]])),
            1 => pcap::mpls(&packet, &[labels, &[500]].concat()),
            2 => pcap::pseudowire(&pcap::tags(&packet, &[0x8100][..self.next(2)]), labels),
            3 => pcap::pppoe(&packet, self.next(2) == 0),
            _ => packet,
        };
        let tags = [0; 4].map(|_| self.pick(kinds));
        pcap::tags(&frame, &tags[..self.next(5)])
    }

    /// IPv6 with extension headers, atomic fragments, jumbograms; and frames whose end was cut off.
    fn unusual(&mut self) -> Vec<u8> {
        let (from, to) = (self.address(false), self.address(false));
        let (from, to) = (SocketAddr::new(from, 30_003), SocketAddr::new(to, 443));
        let frame = match self.next(2) {
            0 => pcap::udp(from, to, self.next(300)),
            _ => pcap::tcp(from, to, flags::SYN, self.next(300)),
        };
        let short: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
        // Of type 2 (RFC 6275 section 6.4), with nothing left to visit.
        let routing: &[u8] = &[2, 2, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        match self.next(6) {
            0 => pcap::jumbogram(&frame, 65_536 + self.next(100_000) as u32),
            1 => pcap::extensions(&frame, &[(0, short), (60, short), (43, routing)]),
            2 => pcap::extensions(
                &frame,
                &[(51, &[4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])],
            ),
            // An atomic fragment, behind options.
            3 => pcap::extensions(&frame, &[(60, short), (44, &[0, 0, 0, 0, 0, 0, 9])]),
            4 => {
                let mut cut = frame;
                cut.truncate(78 + self.next(30));
                cut
            }
            _ => pcap::first_fragment(from, to, 64),
        }
    }

    /// A packet in each kind of tunnel.
    fn tunnelled(&mut self) -> Vec<u8> {
        let packet = self.packet();
        let ipv4 = self.next(2) == 0;
        let (source, destination) = (self.address(ipv4), self.address(ipv4));
        let kind = self.pick(&[Tunnel::Gre, Tunnel::GreFrame, Tunnel::Ip, Tunnel::Vxlan, Tunnel::GtpU]);
        pcap::tunnel(source, destination, kind, &packet)
    }

    /// A frame for each of several reasons.
    fn refused(&mut self) -> Vec<u8> {
        let mut lies =
            pcap::udp(SocketAddr::new(self.address(true), 30_004), SocketAddr::new(self.address(true), 443), 0);
        lies[16] = 1;
        match self.next(8) {
            0 => lies,
            1 => pcap::ethernet(38, &[&[0x42, 0x42, 3], &[0; 35]]),
            2 => pcap::ethernet(0x88cc, &[&[2, 7, 4, 2, 0, 0, 0, 0, 1, 4, 2, 7, 1, 6, 2, 0, 120, 0, 0], &[0; 27]]),
            3 => pcap::ethernet(0x8863, &[&[0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0], &[0; 36]]),
            4 => pcap::ethernet(0x8864, &[&[0x11, 0, 0, 1, 0, 6, 0xc0, 0x21, 9, 1, 0, 4], &[0; 34]]),
            5 => pcap::ethernet(0x8847, &[&[0, 0x1f, 0x41, 64, 0x10, 0, 0, 7], &[0; 38]]),
            _ => self.unparsed(),
        }
    }
}

/// So many random frames of every kind.
fn generate(file: &Path, seed: u64, frames: usize) -> Counted {
    let mut dice = Dice(seed);
    let frames: Vec<_> = (0..frames).map(|_| dice.frame()).collect();
    pcap::write(file, &frames);
    let counted = pcap::count(file, &networks());
    let kinds = [counted.incoming, counted.outgoing, counted.internal, counted.other, counted.unparsed];
    assert!(kinds.iter().all(|kind| kind.packets > 50), "every kind is there: {counted:?}");
    counted
}

#[test]
fn captured_attacks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("attack.pcap");
    let captures: Vec<PathBuf> = (std::fs::read_dir(traffic::capture("")).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .collect();
    assert!(captures.len() >= 4, "{captures:?}");
    for capture in captures {
        traffic::retarget(&capture, VICTIM, &file);
        assert_counts(&[(&device(0, &[&file]), &cores()[..1])], std::slice::from_ref(&file));
    }
}

#[test]
fn frames_of_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("generated.pcap");
    let counted = generate(&file, 0x1e7e_e001, 20_000);
    // By family, direction, fragment or whole, and class: everything that can be there is.
    let mut seen = BTreeMap::new();
    for ((host, direction), volumes) in &counted.hosts {
        for (fragment, class) in [0, 1].into_iter().flat_map(|fragment| Class::ALL.map(|class| (fragment, class))) {
            let key = (host.is_ipv4(), *direction, fragment, class as usize);
            *seen.entry(key).or_insert(0) += volumes.packets[fragment][class as usize];
        }
    }
    // A later fragment shows no flags: none is a SYN.
    let missing: Vec<_> = seen
        .iter()
        .filter(|((.., fragment, class), count)| **count == 0 && (*fragment, *class) != (1, Class::TcpSyn as usize))
        .collect();
    assert!(seen.len() == 40 && missing.is_empty(), "{missing:?}");
    assert_counts(&[(&device(0, &[&file]), &cores()[..1])], &[file]);
}

/// Writes so many frames that `frame` makes, of which some are of each kind that counts.
fn generate_of(file: &Path, seed: u64, frames: usize, mut frame: impl FnMut(&mut Dice) -> Vec<u8>) {
    let mut dice = Dice(seed);
    let frames: Vec<_> = (0..frames).map(|_| frame(&mut dice)).collect();
    pcap::write(file, &frames);
}

#[test]
fn every_layer_below_ip_and_every_header_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("layers.pcap");
    generate_of(&file, 0x1e7e_e010, 10_000, |dice| match dice.next(4) {
        0 => dice.unusual(),
        1 => dice.refused(),
        _ => dice.linked(),
    });
    let expected = sum(std::slice::from_ref(&file), Layer::Outermost);
    let reasons: Vec<_> = expected.reasons.keys().map(String::as_str).collect();
    let all = [
        "arp",
        "length_beyond_frame",
        "link_control",
        "llc",
        "mpls_payload",
        "not_ip",
        "ppp_control",
        "pppoe_discovery",
    ];
    assert_eq!(reasons, all);
    // Nothing of what was written around packets keeps tshark from finding them.
    assert!(expected.unparsed.packets < 2_700, "{:?}", expected.reasons);
    assert_counted(&[(&device(0, &[&file]), &cores()[..1])], "", &expected);
}

#[test]
fn tunnels_count_for_the_outer_packet_or_the_inner_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tunnels.pcap");
    generate_of(&file, 0x1e7e_e020, 10_000, |dice| match dice.next(4) {
        0 => dice.linked(),
        1 => dice.refused(),
        _ => dice.tunnelled(),
    });
    let [outer, inner] = [Layer::Outermost, Layer::Innermost].map(|layer| sum(std::slice::from_ref(&file), layer));
    assert_ne!(outer.hosts, inner.hosts);
    let port = device(0, &[&file]);
    let ports: [(&str, &[usize]); 1] = [(&port, &cores()[..1])];
    assert_counted(&ports, "", &outer);
    assert_counted(&ports, "decapsulate = [\"gre\", \"ipip\", \"6in4\", \"vxlan\", \"gtpu\"]\n", &inner);
}

#[test]
fn several_queues_and_ports() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a.pcap", "b.pcap", "c.pcap"].map(|name| folder.path().join(name));
    for (seed, file) in files.iter().enumerate() {
        generate(file, 0x1e7e_e002 + seed as u64, 5_000 + 1_000 * seed);
    }
    let [a, b, c] = files.each_ref().map(PathBuf::as_path);
    let cores = cores();
    // Two ports, one worker.
    let workers = assert_counts(&[(&device(0, &[a]), &cores[..1]), (&device(1, &[b]), &cores[..1])], &files[..2]);
    assert_eq!(workers, 1);
    assert!(cores.len() >= 2, "these tests need two cores");
    // Two queues, a worker each: hosts are counted by both.
    let workers = assert_counts(&[(&device(0, &[a, b]), &cores[..2])], &files[..2]);
    assert_eq!(workers, 2);
    // A port with two queues, and one that shares a worker with it.
    let workers = assert_counts(&[(&device(0, &[a, b]), &cores[..2]), (&device(1, &[c]), &cores[1..2])], &files);
    assert_eq!(workers, 2);
}
