//! The fast path: what nearly every frame is, read with one comparison and loads at fixed places.

use super::ipv6::{address, is_extension};
use super::{CLASSES_V4, CLASSES_V6, Class, Flow, Outline, Upper, class, flow_upper, fragment, upper};

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
    /// The frame, if it is plain. `None` says nothing but that [`network`] and the rest must look. One comparison for what
    /// those test one by one.
    #[inline(always)]
    pub fn of(frame: &'a [u8]) -> Option<Plain<'a>> {
        /// Ethertype, version and header length.
        const PLAIN: u64 = 0x08_0045;
        const FRAGMENT: u16 = 0x3fff_u16.to_be();
        let head = frame.first_chunk::<PLAIN_HEADERS>()?;
        let start = word(head, 12);
        let ip_length = (start >> 16) as u16;
        let is_plain =
            start >> 40 == PLAIN && u16::from_ne_bytes([head[20], head[21]]) & FRAGMENT == 0 && ip_length >= 20;
        is_plain.then_some(Plain { frame, head, ip_length })
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

    /// The part of the upper-layer header that rules look at.
    #[inline(always)]
    pub fn upper(&self) -> Upper {
        upper(CLASSES_V4[usize::from(self.protocol())], self.protocol(), self.payload())
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

/// The outline of what nearly every IPv6 frame is: Ethernet without tags, no extension headers. `None` says nothing but that
/// [`super::network`] and the rest must look.
#[inline(always)]
pub fn outline_plain_v6(frame: &[u8]) -> Option<Outline<u128>> {
    /// Ethertype and version.
    const PLAIN: u32 = 0x8_6dd6;
    let (head, rest) = frame.split_first_chunk::<{ 14 + 40 }>()?;
    let start = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
    let next = head[20];
    if start >> 12 != PLAIN || is_extension(next) {
        return None;
    }
    let payload_length = u16::from_be_bytes([head[18], head[19]]);
    let header = head.last_chunk::<40>()?;
    Some(Outline {
        source: address(header, 8),
        destination: address(header, 24),
        class: class(&CLASSES_V6, next, || &rest[..rest.len().min(usize::from(payload_length))]),
        is_fragment: false,
        ip_length: u32::from(payload_length) + 40,
    })
}
