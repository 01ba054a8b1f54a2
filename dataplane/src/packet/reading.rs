//! How a port's frames are to be read: which tunnels are taken off, and whether lengths are believed.
//!
//! What counts is the length that the IP header says. It differs from the frame's for three reasons:
//!
//! - The frame is **padded**, to Ethernet's minimum or by a switch: the header is right, what follows is not the packet.
//! - The frame was **cut short** on its way, by a mirror with a snap length or a device with small buffers: the header is right.
//! - The field **lies**. A total length of less than the header, or a jumbogram without its length, shows by itself
//!   ([`Unparsed::Ipv4Length`](super::Unparsed::Ipv4Length), [`Unparsed::JumboLength`](super::Unparsed::JumboLength)). One that says more
//!   than the frame has looks as if the frame was cut; but mirrors leave so many bytes at least. In a shorter frame it
//!   lies ([`Unparsed::LengthBeyondFrame`](super::Unparsed::LengthBeyondFrame)): a sender cannot make 60 bytes count for 65,535.

use super::{Network, Plain, PlainV6, Tunnels, Unparsed};

/// No mirror cuts frames shorter than this.
pub const SNAP_MIN: u32 = 64;

/// How a port's frames are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Tunnels whose inner packets count, in place of the outer ones.
    pub tunnels: Tunnels,
    /// A frame of so many bytes or more may have been cut short; a shorter one is whole.
    pub snap_length: u32,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading { tunnels: Tunnels::NONE, snap_length: SNAP_MIN }
    }
}

impl Reading {
    /// The frame, if it is plain and its length is believed.
    #[inline(always)]
    pub fn plain(self, frame: &[u8], frame_len: u32) -> Option<Plain<'_>> {
        Plain::of(frame).filter(|plain| self.believes(plain.ip_length().into(), frame_len))
    }

    /// The same for IPv6.
    #[inline(always)]
    pub fn plain_v6(self, frame: &[u8], frame_len: u32) -> Option<PlainV6<'_>> {
        PlainV6::of(frame).filter(|plain| self.believes(plain.ip_length(), frame_len))
    }

    /// Whether a frame without tags has what its IP header says, or may have been cut short. `frame_len` is that of all
    /// segments, of which the first has an Ethernet header.
    #[inline(always)]
    fn believes(self, ip_length: u32, frame_len: u32) -> bool {
        ip_length <= frame_len.wrapping_sub(14) || frame_len >= self.snap_length
    }

    /// Whether a packet of `ip_length` is in this frame, or may have been before it was cut short. `frame` is the first segment.
    ///
    /// # Errors
    /// [`Unparsed::LengthBeyondFrame`].
    #[inline]
    pub fn check(self, frame: &[u8], frame_len: u32, network: Network<'_>, ip_length: u32) -> Result<(), Unparsed> {
        let (Network::V4(packet) | Network::V6(packet)) = network;
        let headers = frame.len().saturating_sub(packet.len()) as u32;
        let is_whole = ip_length.saturating_add(headers) <= frame_len;
        if is_whole || frame_len >= self.snap_length { Ok(()) } else { Err(Unparsed::LengthBeyondFrame) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_believed_where_the_frame_has_it_or_may_have_been_cut() {
        let frame = [0; 54];
        let network = Network::V4(&frame[14..]);
        let check = |snap_length, frame_len, ip_length| {
            let reading = Reading { snap_length, ..Reading::default() };
            let plain = reading.believes(ip_length, frame_len);
            let checked = reading.check(&frame, frame_len, network, ip_length);
            assert_eq!(checked.is_ok(), plain, "{snap_length} {frame_len} {ip_length}");
            checked
        };
        let lies = Err(Unparsed::LengthBeyondFrame);
        assert_eq!(check(64, 60, 28), Ok(()), "padded");
        assert_eq!(check(64, 60, 46), Ok(()), "to the last byte");
        assert_eq!(check(64, 60, 47), lies);
        assert_eq!(check(64, 63, 65_535), lies);
        assert_eq!(check(64, 64, 65_535), Ok(()), "perhaps cut");
        assert_eq!(check(65_535, 1514, 1501), lies, "never cut");
        assert_eq!(check(65_535, 1514, 1500), Ok(()));
        assert_eq!(check(0, 42, 1500), Ok(()), "cut anywhere");
    }

    #[test]
    fn tags_are_not_the_packet_and_a_jumbogram_does_not_overflow() {
        let frame = [0; 62];
        let reading = Reading { snap_length: 128, ..Reading::default() };
        let check = |start: usize, ip_length| reading.check(&frame, 62, Network::V6(&frame[start..]), ip_length);
        assert_eq!(check(14, 48), Ok(()));
        assert_eq!(check(18, 44), Ok(()));
        assert_eq!(check(18, 45), Err(Unparsed::LengthBeyondFrame));
        assert_eq!(check(14, u32::MAX), Err(Unparsed::LengthBeyondFrame));
    }
}
