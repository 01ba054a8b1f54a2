//! A packet of the generator, and the Ethernet frame that a capture would hold of it. Transport checksums are left 0.

use std::net::IpAddr;

use crate::random::mix;

/// Bytes that a capture keeps of each frame.
pub const SNAP: usize = 128;
/// Frames are padded to this.
const FRAME_MIN: usize = 60;

/// IP protocol numbers.
#[allow(missing_docs, reason = "the names say it")]
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const ICMPV6: u8 = 58;
}

/// TCP flags as in the header's octet.
#[allow(missing_docs, reason = "the names say it")]
pub mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
    pub const URG: u8 = 32;
}

/// What comes behind the IP header, before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// TCP: flags, and bytes of options (a multiple of 4).
    Tcp {
        /// As in [`flag`].
        flags: u8,
        /// Bytes of options.
        options: u8,
    },
    /// UDP.
    Udp,
    /// ICMP of either family: type and code.
    Icmp(u8, u8),
    /// Nothing that we write: all is payload.
    None(u8),
}

impl Header {
    fn length(self) -> u16 {
        match self {
            Header::Tcp { options, .. } => 20 + u16::from(options),
            Header::Udp | Header::Icmp(..) => 8,
            Header::None(_) => 0,
        }
    }
}

/// Which part of a datagram the packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes of the datagram before this one, a multiple of 8.
    pub offset: u16,
    /// More follow.
    pub more: bool,
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it passes, microseconds.
    pub time_us: u64,
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// Source and destination port, where the header has them.
    pub ports: (u16, u16),
    /// What comes behind the IP header. A later fragment has [`Header::None`].
    pub header: Header,
    /// Bytes behind the headers.
    pub payload: u16,
    /// A part of a datagram, if it is one.
    pub fragment: Option<Fragment>,
    /// Differentiated services code point.
    pub dscp: u8,
    /// IPv6 flow label.
    pub flow_label: u32,
    /// IPv4: may not be fragmented.
    pub dont_fragment: bool,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// What the fragments of a datagram share.
    pub id: u32,
}

/// A number that stays the same for an address: what its system does is a habit.
pub fn habit(address: IpAddr, of: u64) -> u64 {
    let bits = match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => mix(address.to_bits() as u64) ^ (address.to_bits() >> 64) as u64,
    };
    mix(bits ^ mix(of))
}

impl Packet {
    /// A packet as systems send it: the source decides about TTL, DSCP and whether it labels flows.
    pub fn new(source: IpAddr, destination: IpAddr, ports: (u16, u16), header: Header, payload: u16) -> Packet {
        let hops = 4 + habit(source, 1) % 20;
        let first: u64 = if habit(source, 2) % 10 < 6 { 64 } else { 128 };
        let dscp =
            if habit(source, 3).is_multiple_of(64) { [8, 10, 34, 46][(habit(source, 4) % 4) as usize] } else { 0 };
        let labels = source.is_ipv6() && !habit(source, 5).is_multiple_of(12);
        let flow = habit(source, u64::from(ports.0) << 16 | u64::from(ports.1));
        Packet {
            time_us: 0,
            source,
            destination,
            ports,
            header,
            payload,
            fragment: None,
            dscp,
            flow_label: if labels { (flow & 0xf_ffff) as u32 } else { 0 },
            dont_fragment: matches!(header, Header::Tcp { .. }) || habit(source, 6).is_multiple_of(2),
            ttl: (first - hops) as u8,
            id: 0,
        }
    }

    /// TCP with these flags and bytes of options.
    pub fn tcp(from: (IpAddr, u16), to: (IpAddr, u16), flags: u8, options: u8, payload: u16) -> Packet {
        Packet::new(from.0, to.0, (from.1, to.1), Header::Tcp { flags, options }, payload)
    }

    /// UDP.
    pub fn udp(from: (IpAddr, u16), to: (IpAddr, u16), payload: u16) -> Packet {
        Packet::new(from.0, to.0, (from.1, to.1), Header::Udp, payload)
    }

    /// ICMP of the address's family.
    pub fn icmp(source: IpAddr, destination: IpAddr, kind: (u8, u8), payload: u16) -> Packet {
        Packet::new(source, destination, (0, 0), Header::Icmp(kind.0, kind.1), payload)
    }

    /// Any other protocol.
    pub fn raw(source: IpAddr, destination: IpAddr, protocol: u8, payload: u16) -> Packet {
        Packet::new(source, destination, (0, 0), Header::None(protocol), payload)
    }

    /// The same at this time.
    pub fn at(self, time_us: u64) -> Packet {
        Packet { time_us, ..self }
    }

    /// The fragments that a link of this MTU makes of it.
    pub fn fragments(self, mtu: u16) -> Vec<Packet> {
        let whole = self.header.length() + self.payload;
        let overhead = if self.source.is_ipv6() { 48 } else { 20 };
        let step = (mtu - overhead) & !7;
        if self.length() <= mtu {
            return vec![self];
        }
        let part = |offset: u16| {
            let bytes = step.min(whole - offset);
            let fragment = Some(Fragment { offset, more: offset + bytes < whole });
            let id = habit(self.source, u64::from(self.ports.1) << 16 | u64::from(whole)) as u32;
            let behind = if offset == 0 { self.header.length() } else { 0 };
            let header = if offset == 0 { self.header } else { Header::None(self.protocol()) };
            Packet { fragment, header, payload: bytes - behind, dont_fragment: false, id, ..self }
        };
        (0..whole).step_by(step.into()).map(part).collect()
    }

    /// The protocol of the datagram.
    pub fn protocol(&self) -> u8 {
        match self.header {
            Header::Tcp { .. } => protocol::TCP,
            Header::Udp => protocol::UDP,
            Header::Icmp(..) if self.source.is_ipv6() => protocol::ICMPV6,
            Header::Icmp(..) => protocol::ICMP,
            Header::None(protocol) => protocol,
        }
    }

    /// IP total length (IPv6: payload + 40).
    pub fn length(&self) -> u16 {
        let ip = match (self.source, self.fragment) {
            (IpAddr::V4(_), _) => 20,
            (IpAddr::V6(_), None) => 40,
            (IpAddr::V6(_), Some(_)) => 48,
        };
        ip + self.header.length() + self.payload
    }

    /// What a capture keeps of the frame, and the length that it had.
    pub fn frame(&self) -> (Vec<u8>, usize) {
        let mut frame = Vec::with_capacity(SNAP);
        frame.extend([0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1]);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4(&mut frame, source.octets(), destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(&mut frame, source.octets(), destination.octets())
            }
            _ => unreachable!("both ends of a packet are of one family"),
        }
        self.transport(&mut frame);
        let length = (14 + usize::from(self.length())).max(FRAME_MIN);
        let filler = mix(u64::from(self.ports.0) << 32 ^ self.time_us);
        let padding_from = 14 + usize::from(self.length());
        while frame.len() < length.min(SNAP) {
            let at = frame.len();
            frame.push(if at < padding_from { (mix(filler ^ at as u64)) as u8 } else { 0 });
        }
        frame.truncate(SNAP);
        (frame, length)
    }

    fn id(&self) -> u32 {
        if self.id == 0 { mix(self.time_us) as u32 } else { self.id }
    }

    fn ipv4(&self, frame: &mut Vec<u8>, source: [u8; 4], destination: [u8; 4]) {
        frame.extend([0x08, 0]);
        let start = frame.len();
        let fragment = self.fragment.unwrap_or_default();
        let bits = u16::from(self.dont_fragment) << 14 | u16::from(fragment.more) << 13 | fragment.offset >> 3;
        frame.extend([0x45, self.dscp << 2]);
        frame.extend(self.length().to_be_bytes());
        frame.extend((self.id() as u16).to_be_bytes());
        frame.extend(bits.to_be_bytes());
        frame.extend([self.ttl, self.protocol(), 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        let sum: u32 = frame[start..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
    }

    fn ipv6(&self, frame: &mut Vec<u8>, source: [u8; 16], destination: [u8; 16]) {
        frame.extend([0x86, 0xdd]);
        frame.extend((6 << 28 | u32::from(self.dscp) << 22 | self.flow_label).to_be_bytes());
        frame.extend((self.length() - 40).to_be_bytes());
        frame.extend([if self.fragment.is_some() { 44 } else { self.protocol() }, self.ttl]);
        frame.extend(source);
        frame.extend(destination);
        if let Some(fragment) = self.fragment {
            frame.extend([self.protocol(), 0]);
            frame.extend((fragment.offset | u16::from(fragment.more)).to_be_bytes());
            frame.extend(self.id().to_be_bytes());
        }
    }

    fn transport(&self, frame: &mut Vec<u8>) {
        let ports = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        match self.header {
            Header::Tcp { flags, options } => {
                frame.extend(ports);
                frame.extend((mix(self.time_us ^ u64::from(self.ports.0))).to_be_bytes());
                frame.extend([(5 + options / 4) << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
                frame.extend(tcp_options(options, flags & flag::SYN != 0));
            }
            Header::Udp => {
                frame.extend(ports);
                frame.extend((8 + self.payload).to_be_bytes());
                frame.extend([0, 0]);
            }
            Header::Icmp(kind, code) => frame.extend([kind, code, 0, 0, 0, 1, 0, 1]),
            Header::None(_) => {}
        }
    }
}

/// Options of so many bytes: what a SYN negotiates, or a time stamp.
fn tcp_options(length: u8, is_syn: bool) -> Vec<u8> {
    let mut options: Vec<u8> = if is_syn {
        vec![2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]
    } else {
        vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
    };
    if length == 12 && is_syn {
        options = vec![2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
    }
    options.truncate(length.into());
    options.resize(length.into(), 1);
    options
}
