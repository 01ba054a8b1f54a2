//! The fast path: what nearly every frame is, read with one comparison and loads at fixed places.

use super::ipv6::{addresses, is_extension};
use super::{CLASSES_V4, CLASSES_V6, Class, Flow, Outline, UPPERS_V4, UpperKind, class, flow_upper, fragment, syn_or};

/// What nearly every frame is: Ethernet without tags, IPv4 without options, no fragment. Each field is read where it is
/// asked for.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    frame: &'a [u8],
    head: &'a [u8; PLAIN_HEADERS],
    ip_length: u16,
}

/// Bytes of Ethernet and IPv4 headers of a plain frame.
const PLAIN_HEADERS: usize = 14 + 20;

impl<'a> Plain<'a> {
    /// The frame, if it is plain. `None` says nothing but that [`network`] and the rest must look.
    #[inline(always)]
    pub fn of(frame: &'a [u8]) -> Option<Plain<'a>> {
        Plain::of_any_length(frame).filter(|plain| plain.ip_length >= 20)
    }

    /// The same whatever its length says. One comparison for what others test one by one.
    #[inline(always)]
    fn of_any_length(frame: &'a [u8]) -> Option<Plain<'a>> {
        /// Ethertype, version and header length.
        const PLAIN: u64 = 0x08_0045;
        const FRAGMENT: u16 = 0x3fff_u16.to_be();
        let head = frame.first_chunk::<PLAIN_HEADERS>()?;
        let start = word(head, 12);
        let is_plain = start >> 40 == PLAIN && u16::from_ne_bytes([head[20], head[21]]) & FRAGMENT == 0;
        is_plain.then_some(Plain { frame, head, ip_length: (start >> 16) as u16 })
    }

    /// What counting asks of it.
    #[inline(always)]
    pub fn outline(&self) -> Outline<u32> {
        // Both addresses by one load.
        let addresses = word(self.head, 26);
        Outline {
            source: (addresses >> 32) as u32,
            destination: addresses as u32,
            class: self.class(),
            is_fragment: false,
            ip_length: self.ip_length.into(),
        }
    }

    /// From its IP header on.
    #[inline(always)]
    pub fn packet(&self) -> &'a [u8] {
        self.frame.get(14..).unwrap_or(&[])
    }

    /// Source address.
    #[inline(always)]
    pub fn source(&self) -> u32 {
        (word(self.head, 26) >> 32) as u32
    }

    /// Destination address.
    #[inline(always)]
    pub fn destination(&self) -> u32 {
        word(self.head, 26) as u32
    }

    /// IP total length in bytes.
    #[inline(always)]
    pub fn ip_length(&self) -> u16 {
        self.ip_length
    }

    /// IP protocol.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.head[23]
    }

    /// What it counts as.
    #[inline(always)]
    pub fn class(&self) -> Class {
        class(&CLASSES_V4, self.protocol(), || self.payload())
    }

    /// Bits of [`fragment`]: [`fragment::DONT`] or none.
    #[inline(always)]
    pub fn fragment(&self) -> u8 {
        (self.head[20] >> 6 & 1) * fragment::DONT
    }

    /// DSCP, 6 bits.
    #[inline(always)]
    pub fn dscp(&self) -> u8 {
        self.head[15] >> 2
    }

    /// The flow that it is of.
    #[inline(always)]
    pub fn flow(&self) -> Flow<u32> {
        Flow {
            source: self.source(),
            destination: self.destination(),
            upper: match self.frame.first_chunk() {
                Some(head) if self.ip_length >= 24 => flow_upper(self.protocol(), &ports(head)),
                _ => flow_upper(self.protocol(), &[]),
            },
        }
    }

    #[inline(always)]
    fn payload(&self) -> &'a [u8] {
        self.frame.get(PLAIN_HEADERS..self.frame.len().min(14 + usize::from(self.ip_length))).unwrap_or(&[])
    }
}

/// A plain frame where all that rules look at stands at a fixed place: nearly every one that is plain.
#[derive(Clone, Copy, Debug)]
pub struct PlainUpper<'a> {
    /// The frame, as far as its IP header.
    pub packet: Plain<'a>,
    head: &'a [u8; PLAIN_HEADERS + 14],
    kind: UpperKind,
}

impl<'a> PlainUpper<'a> {
    /// The frame, if it is one.
    #[inline(always)]
    pub fn of(frame: &'a [u8]) -> Option<PlainUpper<'a>> {
        let head = frame.first_chunk()?;
        let packet = Plain::of_any_length(frame)?;
        let (kind, least) = UPPERS_V4[usize::from(packet.protocol())];
        (packet.ip_length >= least.into()).then_some(PlainUpper { packet, head, kind })
    }

    /// Which of the words there are; the others are anything.
    #[inline(always)]
    pub fn kind(&self) -> UpperKind {
        self.kind
    }

    /// Source port, or ICMP type and code.
    #[inline(always)]
    pub fn first(&self) -> u16 {
        self.word(PLAIN_HEADERS)
    }

    /// Destination port.
    #[inline(always)]
    pub fn second(&self) -> u16 {
        self.word(PLAIN_HEADERS + 2)
    }

    /// TCP flags; above them the data offset.
    #[inline(always)]
    pub fn flags(&self) -> u16 {
        self.word(PLAIN_HEADERS + 12)
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.head[at], self.head[at + 1]])
    }
}

/// Where a plain frame with ports has them.
#[inline(always)]
fn ports(head: &[u8; PLAIN_HEADERS + 4]) -> [u8; 4] {
    [head[34], head[35], head[36], head[37]]
}

#[inline(always)]
fn word(head: &[u8; PLAIN_HEADERS], at: usize) -> u64 {
    let octets = [at, at + 1, at + 2, at + 3, at + 4, at + 5, at + 6, at + 7].map(|at| head[at]);
    u64::from_be_bytes(octets)
}

/// What nearly every IPv6 frame is: Ethernet without tags, no extension headers.
#[derive(Clone, Copy, Debug)]
pub struct PlainV6<'a> {
    head: &'a [u8; PLAIN_HEADERS_V6],
    payload: &'a [u8],
    /// By the next header alone.
    class: Class,
}

/// Bytes of Ethernet and IPv6 headers of a plain frame.
const PLAIN_HEADERS_V6: usize = 14 + 40;

impl<'a> PlainV6<'a> {
    /// The frame, if it is plain. `None` says nothing but that [`super::network`] and the rest must look.
    #[inline(always)]
    pub fn of(frame: &'a [u8]) -> Option<PlainV6<'a>> {
        /// Ethertype and version.
        const PLAIN: u32 = 0x86dd_6000_u32.to_be();
        const MASK: u32 = 0xffff_f000_u32.to_be();
        let (head, payload) = frame.split_first_chunk::<PLAIN_HEADERS_V6>()?;
        let start: &[u8; 4] = head.get(12..)?.first_chunk()?;
        if u32::from_ne_bytes(*start) & MASK != PLAIN {
            return None;
        }
        NEXT_HEADERS[usize::from(head[20])].map(|class| PlainV6 { head, payload, class })
    }

    /// What counting asks of it.
    #[inline(always)]
    pub fn outline(&self) -> Outline<&'a [u8; 16]> {
        let (source, destination) = self.head.last_chunk().map_or((&[0; 16], &[0; 16]), addresses);
        let payload_length = self.payload_length();
        let payload = || &self.payload[..self.payload.len().min(usize::from(payload_length))];
        Outline {
            source,
            destination,
            class: syn_or(self.class, payload),
            is_fragment: false,
            ip_length: self.ip_length(),
        }
    }

    /// IP length in bytes: payload + 40.
    #[inline(always)]
    pub fn ip_length(&self) -> u32 {
        u32::from(self.payload_length()) + 40
    }

    #[inline(always)]
    fn payload_length(&self) -> u16 {
        u16::from_be_bytes([self.head[18], self.head[19]])
    }
}

/// What a next header counts as; `None`: it is an extension header.
static NEXT_HEADERS: [Option<Class>; 256] = {
    let mut classes = [None; 256];
    let mut next = 0;
    while next < 256 {
        if !is_extension(next as u8) {
            classes[next] = Some(CLASSES_V6[next]);
        }
        next += 1;
    }
    classes
};
