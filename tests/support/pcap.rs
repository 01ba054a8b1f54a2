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
    write_timed(path, (0..).zip(frames));
}

/// The same, each with its time in microseconds since 1970 UTC.
pub(crate) fn write_timed<'a>(path: &Path, frames: impl IntoIterator<Item = (u64, &'a Vec<u8>)>) {
    let mut file = Vec::new();
    // Magic, version 2.4, zone, accuracy, snap length, link type Ethernet.
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (time_us, frame) in frames {
        let length = frame.len() as u32;
        for word in [(time_us / 1_000_000) as u32, (time_us % 1_000_000) as u32, length, length] {
            file.extend(word.to_le_bytes());
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

/// tshark's word for each frame of a capture file: wall-clock milliseconds, length, and how much of it is there.
pub(crate) fn times_and_lengths(path: &Path) -> Vec<(i64, usize, usize)> {
    let fields = ["-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len"];
    let output =
        Command::new("tshark").arg("-r").arg(path).args(["-T", "fields"]).args(fields).output().expect("tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [time, length, captured] = fields[..] else { panic!("{line}") };
        let seconds: f64 = time.parse().expect("a time");
        ((seconds * 1000.0) as i64, length.parse().expect("a length"), captured.parse().expect("a length"))
    };
    String::from_utf8_lossy(&output.stdout).lines().map(read).collect()
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

/// The label on whose stack [`pseudowire`] stands; tshark is told.
const PSEUDOWIRE_LABEL: u32 = 1000;

/// The frame with these tags.
pub(crate) fn tags(frame: &[u8], kinds: &[u16]) -> Vec<u8> {
    let tags = kinds.iter().flat_map(|kind| [(kind >> 8) as u8, *kind as u8, 0, 7]);
    frame[..12].iter().copied().chain(tags).chain(frame[12..].iter().copied()).collect()
}

/// The frame in IEEE 802.3 with LLC and SNAP.
pub(crate) fn snap(frame: &[u8], oui: [u8; 3]) -> Vec<u8> {
    let length = frame.len() - ETHERNET_HEADER + 8;
    [&frame[..12], &(length as u16).to_be_bytes(), &[0xaa, 0xaa, 3], &oui, &frame[12..]].concat()
}

fn label_stack(labels: &[u32]) -> Vec<u8> {
    let entry = |label: u32, bottom: bool| (label << 12 | u32::from(bottom) << 8 | 64).to_be_bytes();
    labels.iter().enumerate().flat_map(|(index, label)| entry(*label, index + 1 == labels.len())).collect()
}

/// The IP packet of the frame behind MPLS labels.
pub(crate) fn mpls(frame: &[u8], labels: &[u32]) -> Vec<u8> {
    ethernet(0x8847, &[&label_stack(labels), &frame[ETHERNET_HEADER..]])
}

/// The frame behind MPLS labels and a pseudowire's control word.
pub(crate) fn pseudowire(frame: &[u8], labels: &[u32]) -> Vec<u8> {
    ethernet(0x8847, &[&label_stack(&[labels, &[PSEUDOWIRE_LABEL]].concat()), &[0; 4], frame])
}

/// The IP packet of the frame in a PPPoE session, with the protocol field compressed or not.
pub(crate) fn pppoe(frame: &[u8], compressed: bool) -> Vec<u8> {
    let protocol = if frame[12..14] == [0x08, 0x00] { [0, 0x21] } else { [0, 0x57] };
    let ppp = [&protocol[usize::from(compressed)..], &frame[ETHERNET_HEADER..]].concat();
    ethernet(0x8864, &[&[0x11, 0, 0, 1], &(ppp.len() as u16).to_be_bytes(), &ppp])
}

/// The IP packet of the frame in a tunnel: the bytes of the tunnel's own header (GRE, UDP and VXLAN, …), none for IP in IP.
pub(crate) fn tunnel(source: IpAddr, destination: IpAddr, kind: Tunnel, frame: &[u8]) -> Vec<u8> {
    let (ethertype, packet) = frame[12..].split_at(2);
    let over_udp = |port: u16, payload: &[u8]| {
        let length = (8 + payload.len()) as u16;
        let header = [30_000, port, length, 0].map(u16::to_be_bytes).concat();
        ip(source, destination, UDP, &[&header, payload].concat())
    };
    match kind {
        Tunnel::Gre => {
            ip(source, destination, 47, &[&[0x30, 0], ethertype, &[0, 0, 0, 1, 0, 0, 0, 2], packet].concat())
        }
        Tunnel::GreFrame => ip(source, destination, 47, &[&[0x20, 0, 0x65, 0x58, 0, 0, 1, 0], frame].concat()),
        Tunnel::Ip => ip(source, destination, if ethertype == [0x08, 0x00] { 4 } else { 41 }, packet),
        Tunnel::Vxlan => over_udp(4789, &[&[8, 0, 0, 0, 0, 0, 9, 0], frame].concat()),
        Tunnel::GtpU => {
            let length = (packet.len() + 4) as u16;
            over_udp(2152, &[&[0x32, 255], &length.to_be_bytes()[..], &[0, 0, 0, 5, 0, 1, 0, 0], packet].concat())
        }
    }
}

/// What [`tunnel`] builds: NVGRE is GRE with a frame in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tunnel {
    Gre,
    GreFrame,
    Ip,
    Vxlan,
    GtpU,
}

/// The IPv6 packet with a hop-by-hop option before its payload: as a jumbogram of this length, its end cut off.
pub(crate) fn jumbogram(frame: &[u8], length: u32) -> Vec<u8> {
    let mut jumbogram = frame.to_vec();
    let upper = std::mem::replace(&mut jumbogram[ETHERNET_HEADER + 6], 0);
    jumbogram[ETHERNET_HEADER + 4..ETHERNET_HEADER + 6].fill(0);
    let option = [&[upper, 0, 0xc2, 4][..], &length.to_be_bytes()].concat();
    jumbogram.splice(ETHERNET_HEADER + 40..ETHERNET_HEADER + 40, option);
    jumbogram
}

/// The IPv6 packet with these extension headers (protocol and bytes behind the next header) before its payload.
pub(crate) fn extensions(frame: &[u8], headers: &[(u8, &[u8])]) -> Vec<u8> {
    let mut next = frame[ETHERNET_HEADER + 6];
    let mut payload = frame[ETHERNET_HEADER + 40..].to_vec();
    for (protocol, header) in headers.iter().rev() {
        payload = [&[next][..], header, &payload].concat();
        next = *protocol;
    }
    let mut extended = [&frame[..ETHERNET_HEADER + 40], &payload].concat();
    extended[ETHERNET_HEADER + 4..ETHERNET_HEADER + 6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    extended[ETHERNET_HEADER + 6] = next;
    extended
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
    /// Neither IPv4 nor IPv6, or with a length that lies.
    pub(crate) unparsed: Count,
    /// Of these, how many for each reason.
    pub(crate) reasons: BTreeMap<String, u64>,
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

/// Of several IP packets within each other, the one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Outermost,
    Innermost,
}

/// Fields that tshark is asked for; of several occurrences that of the layer.
const FIELDS: [&str; 23] = [
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
    "ipv6.opt.jumbo",
    "ipv6.nxt",
    "ipv6.hopopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.dstopts.nxt",
    "ipv6.fraghdr.nxt",
    "ipv6.fraghdr.offset",
    "ipv6.fraghdr.more",
    "ah.next_header",
    "mip6.proto",
    "tcp.flags.syn",
    "tcp.flags.ack",
];

/// Counts a file with tshark, as Levee should with these protected networks.
pub(crate) fn count(path: &Path, networks: &[IpNet]) -> Counted {
    count_layer(path, networks, Layer::Outermost)
}

/// The same where of several IP packets within each other not the outermost one counts.
pub(crate) fn count_layer(path: &Path, networks: &[IpNet], layer: Layer) -> Counted {
    let mut tshark = Command::new("tshark");
    let occurrence = if layer == Layer::Outermost { "occurrence=f" } else { "occurrence=l" };
    tshark.args(["-n", "-T", "fields", "-E", occurrence, "-E", "separator=/t"]);
    // It would guess by MAC addresses whether there is a control word.
    tshark.args(["-d", &format!("mpls.label=={PSEUDOWIRE_LABEL},pwethcw")]);
    // Fragments stay fragments.
    tshark.args(["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let output = tshark.arg("-r").arg(path).output().expect("tshark runs");
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let mut counted = Counted::default();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let fields = FIELDS.into_iter().zip(line.split('\t')).collect();
        counted.add(&Row { fields, layer }, networks);
    }
    counted
}

impl Counted {
    fn add(&mut self, row: &Row<'_>, networks: &[IpNet]) {
        let frame_length = row.number("frame.len").expect("every frame has a length");
        self.frames.add(frame_length);
        let (source, destination) = match (row.reason(frame_length), row.addresses()) {
            (None, Some(addresses)) => addresses,
            (reason, _) => {
                self.unparsed.add(frame_length);
                *self.reasons.entry(reason.unwrap_or("not_ip").to_owned()).or_default() += 1;
                return;
            }
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
struct Row<'a> {
    fields: HashMap<&'a str, &'a str>,
    layer: Layer,
}

impl Row<'_> {
    fn number(&self, field: &str) -> Option<u64> {
        self.fields.get(field)?.parse().ok()
    }

    fn is_set(&self, field: &str) -> bool {
        matches!(self.fields.get(field), Some(&("1" | "True")))
    }

    /// The protocols that tshark sees, outermost first.
    fn protocols(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.fields["frame.protocols"].split(':')
    }

    /// The layer's header decides: an IPv6 frame may carry IPv4, and the other way round.
    fn is_ipv6(&self) -> bool {
        let mut ip = self.protocols().filter(|name| matches!(*name, "ip" | "ipv6"));
        let counts = if self.layer == Layer::Outermost { ip.next() } else { ip.next_back() };
        counts == Some("ipv6")
    }

    /// Why a frame does not count, where that is not for want of an IP header alone.
    fn reason(&self, frame_length: u64) -> Option<&'static str> {
        const REASONS: [(&str, &str); 6] = [
            ("arp", "arp"),
            ("stp", "llc"),
            ("lldp", "link_control"),
            ("pppoed", "pppoe_discovery"),
            ("lcp", "ppp_control"),
            ("pwach", "mpls_payload"),
        ];
        let of = |name: &str| REASONS.iter().find(|(protocol, _)| *protocol == name).map(|(_, reason)| *reason);
        if self.addresses().is_none() {
            return self.protocols().find_map(of);
        }
        // In such short frames there is nothing between Ethernet and IP.
        let lies = frame_length < 64 && self.ip_length() + ETHERNET_HEADER as u64 > frame_length;
        lies.then_some("length_beyond_frame")
    }

    fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let [source, destination] = if self.is_ipv6() { ["ipv6.src", "ipv6.dst"] } else { ["ip.src", "ip.dst"] };
        Some((self.fields.get(source)?.parse().ok()?, self.fields.get(destination)?.parse().ok()?))
    }

    fn ip_length(&self) -> u64 {
        let length = match (self.is_ipv6(), self.number("ipv6.opt.jumbo")) {
            (false, _) => self.number("ip.len"),
            (true, Some(jumbo)) => Some(jumbo + 40),
            (true, None) => self.number("ipv6.plen").map(|payload| payload + 40),
        };
        length.expect("an IP header has a length")
    }

    fn is_fragment(&self) -> bool {
        let [more, offset] = match self.chain().contains(&44) {
            _ if !self.is_ipv6() => ["ip.flags.mf", "ip.frag_offset"],
            true => ["ipv6.fraghdr.more", "ipv6.fraghdr.offset"],
            // Those of an inner header are not this one's.
            false => return false,
        };
        self.is_set(more) || self.number(offset).unwrap_or(0) != 0
    }

    /// The upper-layer protocol; in IPv6 behind the extension headers.
    fn protocol(&self) -> u64 {
        *self.chain().last().expect("an IP header has a protocol")
    }

    /// The protocols of the IP header and, in IPv6, its extension headers.
    fn chain(&self) -> Vec<u64> {
        let first = if self.is_ipv6() { "ipv6.nxt" } else { "ip.proto" };
        let mut chain = vec![self.number(first).expect("an IP header has a protocol")];
        if !self.is_ipv6() {
            return chain;
        }
        // Each extension header comes once in what tests write: the walk ends.
        for _ in 0..6 {
            let next = match chain[chain.len() - 1] {
                0 => "ipv6.hopopts.nxt",
                43 => "ipv6.routing.nxt",
                44 => "ipv6.fraghdr.nxt",
                51 => "ah.next_header",
                60 => "ipv6.dstopts.nxt",
                135 => "mip6.proto",
                _ => break,
            };
            let Some(number) = self.number(next) else { break };
            chain.push(number);
        }
        chain
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
