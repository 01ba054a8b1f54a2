//! What stands before the IP header, by the link type of a file.

use super::{Error, Frame};

const ETHERNET_HEADER: usize = 14;
/// No header that is looked at begins behind so many bytes of a packet.
const KEPT: usize = 2048;

/// What stands before the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// So many bytes, then IP.
    Raw(usize),
}

impl Link {
    /// By its number in the file.
    pub(super) fn of(number: u32) -> Result<Link, Error> {
        Ok(match number {
            1 => Link::Ethernet,
            // BSD loopback: the family, in either byte order.
            0 | 108 => Link::Raw(4),
            12 | 14 | 101 | 228 | 229 => Link::Raw(0),
            113 => Link::Raw(16),
            276 => Link::Raw(20),
            other => return Err(Error::LinkType(other)),
        })
    }
}

impl Frame<'_> {
    /// The frame as Ethernet carries it, and its whole length then. What is neither IPv4 nor IPv6 has no ethertype.
    pub fn as_ethernet<'b>(&'b self, scratch: &'b mut Vec<u8>) -> (&'b [u8], u32) {
        let before = match self.link {
            Link::Ethernet => return (self.data, self.length),
            Link::Raw(before) => before,
        };
        let packet = self.data.get(before..).unwrap_or_default();
        let ethertype: [u8; 2] = match packet.first().map(|first| first >> 4) {
            Some(4) => [0x08, 0x00],
            Some(6) => [0x86, 0xdd],
            _ => [0, 0],
        };
        scratch.clear();
        scratch.resize(ETHERNET_HEADER - 2, 0);
        scratch.extend_from_slice(&ethertype);
        scratch.extend_from_slice(&packet[..packet.len().min(KEPT)]);
        (scratch, self.length.saturating_sub(before as u32).saturating_add(ETHERNET_HEADER as u32))
    }
}
