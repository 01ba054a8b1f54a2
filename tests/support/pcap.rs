//! Capture files for tests: frames built byte by byte, a writer, and tshark's word for what a file holds. Knows nothing of
//! Levee's own parser.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use controlplane::attack::{Direction, Volumes};
use dataplane::packet::Class;
use ipnet::IpNet;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ETHERNET_HEADER: usize = 14;

/// TCP flags as [`tcp`] takes them.
pub(crate) mod flags {
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const ACK: u8 = 0x10;
}

/// Writes frames as a capture file (microseconds, Ethernet), one microsecond apart.
pub(crate) fn write(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    // Magic, version 2.4, zone, accuracy, snap length, link type Ethernet.
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (index, frame) in frames.iter().enumerate() {
        let (seconds, micros, length) = (index / 1_000_000, index % 1_000_000, frame.len());
        for word in [seconds, micros, length, length] {
            file.extend((word as u32).to_le_bytes());
        }
        file.extend(frame);
    }
    std::fs::write(path, file).unwrap();
}

/// The frames of a capture file (microseconds, little-endian, as all of `tests/data` are).
pub(crate) fn read(path: &Path) -> Vec<Vec<u8>> {
    let file = std::fs::read(path).unwrap();
    assert!(file.starts_with(&0xa1b2_c3d4_u32.to_le_bytes()), "{} is not such a file", path.display());
    let mut frames = Vec::new();
    let mut rest = &file[24..];
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (frame, next) = after.split_at(length);
        frames.push(frame.to_vec());
        rest = next;
    }
    frames
}

/// An Ethernet frame with IPv4 or IPv6 and the bytes above it. Checksums stay 0.
pub(crate) fn ip(source: IpAddr, destination: IpAddr, protocol: u8, upper: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (20 + upper.len()) as u16;
            let mut header = [0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&total.to_be_bytes());
            header[8] = 64;
            header[9] = protocol;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            ethernet(0x0800, &[&header, upper])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = [0; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&(upper.len() as u16).to_be_bytes());
            header[6] = protocol;
            header[7] = 64;
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&destination.octets());
            ethernet(0x86dd, &[&header, upper])
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
}

/// UDP with `payload` bytes.
pub(crate) fn udp(source: SocketAddr, destination: SocketAddr, payload: usize) -> Vec<u8> {
    ip(source.ip(), destination.ip(), UDP, &udp_header(source, destination, payload))
}

/// TCP with these flags and `payload` bytes.
pub(crate) fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8, payload: usize) -> Vec<u8> {
    let mut upper = vec![0; 20 + payload];
    upper[0..2].copy_from_slice(&source.port().to_be_bytes());
    upper[2..4].copy_from_slice(&destination.port().to_be_bytes());
    upper[12] = 5 << 4;
    upper[13] = flags;
    ip(source.ip(), destination.ip(), TCP, &upper)
}

/// An ICMP or ICMPv6 echo request with `payload` bytes.
pub(crate) fn icmp(source: IpAddr, destination: IpAddr, payload: usize) -> Vec<u8> {
    let (protocol, echo_request) = if source.is_ipv4() { (1, 8) } else { (58, 128) };
    let mut upper = vec![0; 8 + payload];
    upper[0] = echo_request;
    ip(source, destination, protocol, &upper)
}

/// The first fragment of a larger UDP datagram; `payload` is rounded down to what a fragment may carry.
pub(crate) fn first_fragment(source: SocketAddr, destination: SocketAddr, payload: usize) -> Vec<u8> {
    let whole = udp_header(source, destination, payload / 8 * 8);
    fragment(source.ip(), destination.ip(), UDP, 0, true, &whole)
}

/// A later fragment of a datagram: `offset` in units of 8 bytes, `payload` bytes.
pub(crate) fn later_fragment(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    offset: u16,
    payload: usize,
) -> Vec<u8> {
    fragment(source, destination, protocol, offset, false, &vec![0; payload])
}

/// The frame with an 802.1Q tag.
pub(crate) fn vlan(frame: &[u8], id: u16) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend([0x81, 0x00]);
    tagged.extend(id.to_be_bytes());
    tagged.extend(&frame[12..]);
    tagged
}

/// The frame with two tags, the outer one of 802.1ad.
pub(crate) fn qinq(frame: &[u8], outer: u16, inner: u16) -> Vec<u8> {
    let mut tagged = vlan(&vlan(frame, inner), outer);
    tagged[12..14].copy_from_slice(&[0x88, 0xa8]);
    tagged
}

/// A frame with this EtherType and what follows.
pub(crate) fn ethernet(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01];
    frame.extend(kind.to_be_bytes());
    frame.extend(parts.concat());
    frame
}

fn udp_header(source: SocketAddr, destination: SocketAddr, payload: usize) -> Vec<u8> {
    let mut upper = vec![0; 8 + payload];
    upper[0..2].copy_from_slice(&source.port().to_be_bytes());
    upper[2..4].copy_from_slice(&destination.port().to_be_bytes());
    let length = upper.len() as u16;
    upper[4..6].copy_from_slice(&length.to_be_bytes());
    upper
}

fn fragment(source: IpAddr, destination: IpAddr, protocol: u8, offset: u16, more: bool, upper: &[u8]) -> Vec<u8> {
    if source.is_ipv4() {
        let mut frame = ip(source, destination, protocol, upper);
        let bits = offset | if more { 0x2000 } else { 0 };
        frame[ETHERNET_HEADER + 6..ETHERNET_HEADER + 8].copy_from_slice(&bits.to_be_bytes());
        frame
    } else {
        let bits = (offset << 3) | u16::from(more);
        let mut header = vec![protocol, 0];
        header.extend(bits.to_be_bytes());
        header.extend([0, 0, 0, 1]);
        header.extend(upper);
        ip(source, destination, 44, &header)
    }
}

/// What a file holds, by tshark. Every frame is in exactly one of incoming, outgoing, internal, other, unparsed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) frames: Count,
    pub(crate) incoming: Count,
    pub(crate) outgoing: Count,
    /// Both ends ours. In `hosts` it is incoming for the one and outgoing for the other.
    pub(crate) internal: Count,
    pub(crate) other: Count,
    /// Neither IPv4 nor IPv6.
    pub(crate) unparsed: Count,
    /// By protected host and direction; bytes are IP total lengths.
    pub(crate) hosts: BTreeMap<(IpAddr, Direction), Volumes>,
}

/// Bytes are frame lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// Fields that tshark is asked for, outermost occurrence of each.
const FIELDS: [&str; 21] = [
    "frame.len",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ip.len",
    "ip.proto",
    "ip.flags.mf",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.plen",
    "ipv6.nxt",
    "ipv6.hopopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.dstopts.nxt",
    "ipv6.fraghdr.nxt",
    "ipv6.fraghdr.offset",
    "ipv6.fraghdr.more",
    "ah.next_header",
    "tcp.flags.syn",
    "tcp.flags.ack",
];

/// Counts a file with tshark, as Levee should with these protected networks.
pub(crate) fn count(path: &Path, networks: &[IpNet]) -> Counted {
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-T", "fields", "-E", "occurrence=f", "-E", "separator=/t"]);
    // Fragments stay fragments.
    tshark.args(["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let output = tshark.arg("-r").arg(path).output().expect("tshark runs");
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let mut counted = Counted::default();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        counted.add(&Row(FIELDS.into_iter().zip(line.split('\t')).collect()), networks);
    }
    counted
}

impl Counted {
    fn add(&mut self, row: &Row<'_>, networks: &[IpNet]) {
        let frame_length = row.number("frame.len").expect("every frame has a length");
        self.frames.add(frame_length);
        let Some((source, destination)) = row.addresses() else {
            self.unparsed.add(frame_length);
            return;
        };
        let ours = |address: IpAddr| networks.iter().any(|network| network.contains(&address));
        let (from, to) = (ours(source), ours(destination));
        let kind = match (from, to) {
            (false, true) => &mut self.incoming,
            (true, false) => &mut self.outgoing,
            (true, true) => &mut self.internal,
            (false, false) => &mut self.other,
        };
        kind.add(frame_length);
        let receiver = to.then_some((destination, Direction::Incoming));
        for host in receiver.into_iter().chain(from.then_some((source, Direction::Outgoing))) {
            let volumes = self.hosts.entry(host).or_default();
            let (fragment, class) = (usize::from(row.is_fragment()), row.class() as usize);
            volumes.packets[fragment][class] += 1;
            volumes.bytes[fragment][class] += row.ip_length();
        }
    }
}

/// One line of tshark's answer.
struct Row<'a>(HashMap<&'a str, &'a str>);

impl Row<'_> {
    fn number(&self, field: &str) -> Option<u64> {
        self.0.get(field)?.parse().ok()
    }

    fn is_set(&self, field: &str) -> bool {
        matches!(self.0.get(field), Some(&("1" | "True")))
    }

    /// The outer header decides: an IPv6 frame may carry IPv4, and the other way round.
    fn is_ipv6(&self) -> bool {
        self.0["frame.protocols"].split(':').find(|name| matches!(*name, "ip" | "ipv6")) == Some("ipv6")
    }

    fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let [source, destination] = if self.is_ipv6() { ["ipv6.src", "ipv6.dst"] } else { ["ip.src", "ip.dst"] };
        Some((self.0.get(source)?.parse().ok()?, self.0.get(destination)?.parse().ok()?))
    }

    fn ip_length(&self) -> u64 {
        let length =
            if self.is_ipv6() { self.number("ipv6.plen").map(|payload| payload + 40) } else { self.number("ip.len") };
        length.expect("an IP header has a length")
    }

    fn is_fragment(&self) -> bool {
        let [more, offset] = if self.is_ipv6() {
            ["ipv6.fraghdr.more", "ipv6.fraghdr.offset"]
        } else {
            ["ip.flags.mf", "ip.frag_offset"]
        };
        self.is_set(more) || self.number(offset).unwrap_or(0) != 0
    }

    /// The upper-layer protocol; in IPv6 behind the extension headers.
    fn protocol(&self) -> u64 {
        if !self.is_ipv6() {
            return self.number("ip.proto").expect("an IPv4 header has a protocol");
        }
        let mut protocol = self.number("ipv6.nxt").expect("an IPv6 header has a next header");
        // Each extension header comes once in what tests write: the walk ends.
        for _ in 0..5 {
            let next = match protocol {
                0 => "ipv6.hopopts.nxt",
                43 => "ipv6.routing.nxt",
                44 => "ipv6.fraghdr.nxt",
                51 => "ah.next_header",
                60 => "ipv6.dstopts.nxt",
                _ => break,
            };
            let Some(number) = self.number(next) else { break };
            protocol = number;
        }
        protocol
    }

    fn class(&self) -> Class {
        match (self.protocol(), self.is_ipv6()) {
            (6, _) if self.is_set("tcp.flags.syn") && !self.is_set("tcp.flags.ack") => Class::TcpSyn,
            (6, _) => Class::Tcp,
            (17, _) => Class::Udp,
            (1, false) | (58, true) => Class::Icmp,
            _ => Class::Other,
        }
    }
}
