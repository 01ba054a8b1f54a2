//! Malformed frames among good ones: nothing crashes, no mbuf is lost, every good packet is counted, everything that came is
//! in one count, and what could not be parsed is shown with an example.

mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use controlplane::attack::Volumes;
use dataplane::packet::{Class, Unparsed};
use proto::v1;
use support::daemon::{Leveed, Setup, cores, now_ms};
use support::netns::{Netns, veth};
use support::pcap::{self, flags};
use support::traffic::{Amount, Player};
use support::{Dice, wait_until};

const NETWORKS: [&str; 2] = ["198.18.0.0/15", "2001:db8::/48"];
/// Machines may be busy with other things.
const SOON: Duration = Duration::from_secs(30);
const MTU: usize = 9_000;

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// Good packets: the frame, the host that receives it, its class and its IP length.
fn good() -> Vec<(Vec<u8>, IpAddr, Class, u64)> {
    let far = at("203.0.113.5:40000");
    let far6 = at("[2001:db8:ffff::5]:1024");
    let (one, two, three) = (at("198.18.77.10:443"), at("198.18.77.11:53"), at("[2001:db8::7:10]:443"));
    vec![
        (pcap::udp(far, one, 400), one.ip(), Class::Udp, 428),
        (pcap::tcp(far, one, flags::SYN, 0), one.ip(), Class::TcpSyn, 40),
        (pcap::tcp(far, one, flags::ACK, 1_000), one.ip(), Class::Tcp, 1_040),
        (pcap::vlan(&pcap::udp(far, two, 18), 7), two.ip(), Class::Udp, 46),
        (pcap::icmp(far.ip(), two.ip(), 56), two.ip(), Class::Icmp, 84),
        (pcap::ip(far.ip(), two.ip(), 132, &[0; 12]), two.ip(), Class::Other, 32),
        (pcap::udp(far6, three, 1_200), three.ip(), Class::Udp, 1_248),
        (pcap::tcp(far6, three, flags::ACK, 0), three.ip(), Class::Tcp, 60),
    ]
}

// Frames as an attacker, a broken device or a fuzzer sends them. Their addresses are far from those of good packets, so that
// no mutation makes one of the other.
impl Dice {
    fn whole(&mut self) -> Vec<u8> {
        let (near, far) = match self.next(3) {
            0 => (at("198.19.170.85:443"), at("192.0.2.1:9")),
            1 => (at("203.0.113.77:443"), at("192.0.2.1:9")),
            _ => (at("[2001:db8:0:a5a5:5a5a::1]:443"), at("[2001:db8:ffff::1]:9")),
        };
        let payload = self.next(300);
        match self.next(3) {
            0 => pcap::udp(far, near, payload),
            1 => pcap::tcp(far, near, self.next(256) as u8, payload),
            _ => pcap::icmp(far.ip(), near.ip(), payload),
        }
    }

    fn malformed(&mut self) -> Vec<u8> {
        let mut frame = self.whole();
        let link = [0x0800, 0x86dd];
        match self.next(14) {
            // Cut anywhere, most of all within headers.
            0 => frame.truncate(self.next(80)),
            1 => frame.truncate(self.next(frame.len())),
            // Wrong version, header length or length.
            2 => frame[14] = self.next(256) as u8,
            3 => frame[14] = 0x40 | self.next(16) as u8,
            4 => {
                let length = self.pick(&[0, 1, 19, 20, 21, 39, 41, 1_500, 0x7fff, 0xffff]);
                frame[16..18].copy_from_slice(&u16::to_be_bytes(length));
                frame[18..20].copy_from_slice(&u16::to_be_bytes(length));
            }
            // More tags than anyone has.
            5 => {
                for _ in 0..=self.next(12) {
                    frame = pcap::vlan(&frame, self.next(4_096) as u16);
                    frame[12..14].copy_from_slice(&u16::to_be_bytes(self.pick(&[0x8100, 0x88a8, 0x9100])));
                }
                frame.truncate(14 + self.next(frame.len()));
            }
            // Nothing behind Ethernet, or not even that.
            6 => frame.truncate(self.next(16)),
            7 => frame.extend(self.bytes(MTU - 500)),
            // Noise where headers should be.
            8 => {
                let noise = self.next(200);
                frame = pcap::ethernet(self.pick(&link), &[&self.bytes(noise)]);
            }
            9 => {
                let length = self.next(300);
                frame = self.bytes(length);
            }
            10 => frame = self.extensions(),
            // Length fields of LLC, and what carries other things than IP, with something else in it.
            11 => {
                let kind = self.pick(&[0, 3, 46, 1_500, 1_501, 0x0806, 0x8847, 0x8848, 0x8863, 0x8864, 0x88e7, 0xffff]);
                frame[12..14].copy_from_slice(&u16::to_be_bytes(kind));
            }
            12 => {
                for _ in 0..=self.next(8) {
                    let place = 12 + self.next(frame.len() - 12);
                    frame[place] = self.next(256) as u8;
                }
            }
            _ => frame = self.nested(),
        }
        frame.truncate(MTU + 14);
        frame
    }

    /// IPv6 with a chain of extension headers that is too long, lies about its lengths, or goes in circles.
    fn extensions(&mut self) -> Vec<u8> {
        let kinds = [0, 43, 44, 50, 51, 60, 135, 139, 140];
        let mut chain = Vec::new();
        for _ in 0..=self.next(200) {
            let length = self.pick(&[0, 0, 0, 1, 4, 255]);
            let mut header = vec![0; 8 + 8 * self.pick(&[0, 0, length])];
            (header[0], header[1]) = (self.pick(&kinds), length as u8);
            chain.extend(header);
        }
        chain.truncate(self.next(chain.len() + 1));
        let (far, near) = (at("[2001:db8:ffff::1]:9").ip(), at("[2001:db8:0:a5a5:5a5a::1]:9").ip());
        pcap::ip(far, near, self.pick(&kinds), &chain)
    }

    /// Packets within packets within packets, by GRE, IP-in-IP or 6in4, cut somewhere.
    fn nested(&mut self) -> Vec<u8> {
        let mut frame = self.whole();
        for _ in 0..=self.next(40) {
            let inner = &frame[14..];
            let protocol = if frame[12..14] == [0x08, 0x00] { 4 } else { 41 };
            let gre = [&[self.next(256) as u8, 0, frame[12], frame[13]], inner].concat();
            let (protocol, inner) = self.pick(&[(protocol, inner), (47, &gre)]);
            frame = pcap::ip(at("192.0.2.1:9").ip(), at("198.19.170.85:9").ip(), protocol, inner);
        }
        frame.truncate(14 + self.next(frame.len()));
        frame
    }
}

/// What is sent: good packets and others, about as many of each.
struct Mix {
    frames: Vec<Vec<u8>>,
    /// What is to be counted for the hosts that good packets go to.
    hosts: BTreeMap<IpAddr, Volumes>,
}

impl Mix {
    /// Malformed frames only as far as `is_wanted`.
    fn new(seed: u64, frames: usize, is_wanted: impl Fn(&[u8]) -> bool) -> Mix {
        let (mut dice, good) = (Dice(seed), good());
        let mut mix = Mix { frames: Vec::new(), hosts: BTreeMap::new() };
        while mix.frames.len() < frames {
            if dice.next(2) == 0 {
                let (frame, host, class, ip_length) = &good[dice.next(good.len())];
                let volumes = mix.hosts.entry(*host).or_default();
                volumes.packets[0][*class as usize] += 1;
                volumes.bytes[0][*class as usize] += ip_length;
                mix.frames.push(frame.clone());
            } else {
                mix.frames.extend(Some(dice.malformed()).filter(|frame| is_wanted(frame)));
            }
        }
        mix
    }

    fn count(&self) -> u64 {
        self.frames.len() as u64
    }
}

/// Whether a kernel hands the frame as it is to whoever listens on an interface. It drops a tag that is cut short, and it puts
/// IPv4 fragments together.
fn comes_through(frame: &[u8]) -> bool {
    let Some((_, mut rest)) = frame.split_at_checked(12) else { return false };
    while let [0x81, 0x00, ..] | [0x88, 0xa8, ..] = rest {
        let Some(behind) = rest.get(4..).filter(|behind| behind.len() >= 4) else { return false };
        rest = behind;
    }
    let is_fragment = |packet: &[u8]| packet.get(6..8).is_some_and(|bits| bits[0] & 0x3f != 0 || bits[1] != 0);
    rest.len() >= 2 && !(rest.starts_with(&[0x08, 0x00]) && is_fragment(&rest[2..]))
}

fn volumes(counted: Option<v1::Volumes>) -> Volumes {
    let v1::Volumes { whole, fragments } = counted.expect("counts");
    let mut volumes = Volumes::default();
    for (fragment, classes) in [whole, fragments].into_iter().enumerate() {
        let classes = classes.expect("classes");
        for (class, count) in [
            (Class::Tcp, classes.tcp),
            (Class::TcpSyn, classes.tcp_syn),
            (Class::Udp, classes.udp),
            (Class::Icmp, classes.icmp),
            (Class::Other, classes.other),
        ] {
            let count = count.expect("a count");
            volumes.packets[fragment][class as usize] = count.packets;
            volumes.bytes[fragment][class as usize] = count.bytes;
        }
    }
    volumes
}

/// Holds what is counted against what was sent into the last port, once all of it has come. `is_sent` finds a frame by its first bytes.
#[track_caller]
fn assert_counted(leveed: &Leveed, mix: &Mix, started_ms: i64, is_sent: impl Fn(&v1::Frame) -> bool) {
    wait_until(SOON, "all packets", || (leveed.status().workers[0].packets >= mix.count()).then_some(()));
    let (status, kinds) = (leveed.status(), leveed.totals().counted.unwrap());
    let port = status.ports.last().unwrap();
    assert_eq!((port.packets, port.missed, port.errors, port.no_mbuf), (mix.count(), 0, 0, 0));

    let all = [kinds.incoming, kinds.outgoing, kinds.internal, kinds.other, kinds.ignored, kinds.unparsed]
        .map(Option::unwrap);
    assert_eq!(all.iter().map(|count| count.packets).sum::<u64>(), port.packets);
    assert_eq!(all.iter().map(|count| count.bytes).sum::<u64>(), port.bytes);
    for (host, expected) in &mix.hosts {
        let listed = leveed.hosts(v1::ListHostsRequest { prefix: host.to_string(), ..v1::ListHostsRequest::default() });
        assert_eq!(volumes(listed[0].counted_incoming), *expected, "{host}");
    }

    assert_eq!(status.unparsed.iter().map(|unparsed| unparsed.packets).sum::<u64>(), all[5].packets);
    let met: Vec<_> = status.unparsed.iter().filter(|unparsed| unparsed.packets > 0).collect();
    assert!(met.len() >= 5, "hardly a reason was met: {:?}", status.unparsed);
    for unparsed in &met {
        assert_eq!(unparsed.worker_packets, [unparsed.packets]);
        let example = unparsed.example.as_ref().unwrap_or_else(|| panic!("no example: {unparsed:?}"));
        assert!(is_sent(example), "never sent: {unparsed:?}");
        assert!((started_ms - 1_000..=now_ms()).contains(&example.time_ms), "since {started_ms}: {example:?}");
        assert_eq!(Some(&example.queue), status.workers[0].queues.last());
    }
    assert!(status.unparsed.iter().all(|unparsed| unparsed.example.is_some() == (unparsed.packets > 0)));
}

/// Mbufs of the last port in use, and all.
fn mbufs(leveed: &Leveed) -> (u32, u32) {
    let port = leveed.status().ports.pop().unwrap();
    (port.mbufs_in_use, port.mbufs)
}

fn write(folder: &Path, mix: &Mix) -> std::path::PathBuf {
    let file = folder.join("mix.pcap");
    pcap::write(&file, &mix.frames);
    file
}

#[test]
fn every_reason_is_explained() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/unparsed.md");
    let text = std::fs::read_to_string(file).unwrap();
    let missing: Vec<_> =
        Unparsed::ALL.into_iter().map(Unparsed::name).filter(|name| !text.contains(&format!("| `{name}` |"))).collect();
    assert_eq!(missing, [""; 0], "reasons without a row in docs/unparsed.md");
}

#[test]
fn ten_seconds_on_an_interface() {
    const SECONDS: u32 = 10;
    const RATE_PPS: u32 = 1_000;
    let (inside, outside) = (Netns::silent(), Netns::silent());
    veth((&inside, "mirror"), (&outside, "play"));
    inside.run("ip link set mirror mtu 9100");
    outside.run("ip link set play mtu 9100");
    // A ring that holds eight seconds: other tests may have the core.
    let device = "net_af_packet0,iface=mirror,blocksz=65536,framesz=2048,framecnt=8192";
    let ports: [(&str, &[usize]); 1] = [(device, &cores()[..1])];
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports: &ports, ..Setup::default() });
    leveed.start_in(&inside);
    let before = mbufs(&leveed);
    assert_eq!(before, (0, 4_096), "this device fills an mbuf only when a frame is there");

    let mix = Mix::new(0x1e7e_e004, (SECONDS * RATE_PPS) as usize, comes_through);
    let folder = tempfile::tempdir().unwrap();
    let started_ms = now_ms();
    let player = Player::start(&outside, "play", &write(folder.path(), &mix), RATE_PPS, Amount::Packets(mix.count()));
    assert_eq!(player.wait(), mix.count());
    assert!(now_ms() - started_ms > i64::from(SECONDS - 1) * 1_000, "too fast");

    // The kernel takes the outermost tag out, and the driver puts it in again as an 802.1Q one.
    let is_sent = |example: &v1::Frame| {
        mix.frames.iter().any(|frame| {
            let mut frame = frame.clone();
            if frame[12..14] == [0x88, 0xa8] {
                frame[12..14].copy_from_slice(&[0x81, 0x00]);
            }
            frame.starts_with(&example.data)
        })
    };
    assert_counted(&leveed, &mix, started_ms, is_sent);
    // The kernel's counters are read five times a second, so its last packets may show later than ours.
    wait_until(SOON, "the kernel's count", || {
        (leveed.status().ports[0].kernel_packets == Some(mix.count())).then_some(())
    });
    wait_until(SOON, "all mbufs given back", || (mbufs(&leveed) == before).then_some(()));
    assert_eq!(leveed.alarms(), [""; 0]);
    assert!(leveed.terminate().success());
}

/// A file passes whatever a kernel would not: frames of no bytes, fragments, and jumbo frames in several mbufs.
#[test]
fn a_file_at_full_speed() {
    let folder = tempfile::tempdir().unwrap();
    let mix = Mix::new(0x1e7e_e005, 100_000, |_| true);
    let file = write(folder.path(), &mix);
    let port = format!(
        "[[ports]]\ndevice = \"net_pcap0,rx_pcap={}\"\ncores = [{}]\nmtu = {MTU}\n",
        file.display(),
        cores()[0]
    );
    // Beside a port without traffic, so that examples must name the right one.
    let silent: [(&str, &[usize]); 1] = [("net_ring1", &cores()[..1])];
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports: &silent, rest: &port, ..Setup::default() });
    let started_ms = now_ms();
    leveed.start();
    let is_sent = |example: &v1::Frame| {
        mix.frames.iter().any(|frame| frame.len() as u32 == example.length && frame.starts_with(&example.data))
    };
    assert_counted(&leveed, &mix, started_ms, is_sent);
    wait_until(SOON, "all mbufs given back", || (mbufs(&leveed) == (0, 4_096)).then_some(()));
    assert_eq!(leveed.alarms(), [""; 0]);
    assert!(leveed.terminate().success());
}
