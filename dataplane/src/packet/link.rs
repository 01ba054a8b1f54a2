//! From the Ethernet header to the IP header: Ethernet II and IEEE 802.3, VLAN tags, MPLS and pseudowires, PPPoE sessions.
//!
//! Length fields of these layers (802.3, PPPoE) are not asked: the IP header has its own, and what it says is what counts.

use super::{Network, Unparsed};

/// Most VLAN tags on a frame.
pub const TAGS_MAX: usize = 4;
/// Most labels in an MPLS stack.
pub const LABELS_MAX: usize = 16;

pub(super) mod ethertype {
    pub(in super::super) const IPV4: u16 = 0x0800;
    pub(in super::super) const IPV6: u16 = 0x86dd;
    /// Less is the length of an IEEE 802.3 frame (IEEE 802.3 section 3.2.6).
    pub(super) const FIRST: u16 = 0x0600;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const RARP: u16 = 0x8035;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(super) const PPPOE_DISCOVERY: u16 = 0x8863;
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    /// Transparent Ethernet bridging: an Ethernet frame (in GRE).
    pub(super) const BRIDGED: u16 = 0x6558;

    pub(super) const fn is_tag(ethertype: u16) -> bool {
        matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
    }

    /// Pause, slow protocols (LACP), 802.1X, LLDP, PTP, CFM, loopback.
    pub(super) const fn is_link_control(ethertype: u16) -> bool {
        matches!(ethertype, 0x8808 | 0x8809 | 0x888e | 0x88cc | 0x88f7 | 0x8902 | 0x9000)
    }
}

/// The link layer, to the IP header.
///
/// # Errors
/// [`Unparsed`], if it is not IP.
#[inline(always)]
pub fn network(frame: &[u8]) -> Result<Network<'_>, Unparsed> {
    let Some((ethernet, packet)) = frame.split_first_chunk::<14>() else { return Err(Unparsed::ShortEthernet) };
    match u16::from_be_bytes([ethernet[12], ethernet[13]]) {
        ethertype::IPV4 => Ok(Network::V4(packet)),
        ethertype::IPV6 => Ok(Network::V6(packet)),
        ethertype if ethertype::is_tag(ethertype) => {
            let (ethertype, packet) = untag(packet)?;
            match ethertype {
                ethertype::IPV4 => Ok(Network::V4(packet)),
                ethertype::IPV6 => Ok(Network::V6(packet)),
                ethertype => untagged(ethertype, packet, true),
            }
        }
        ethertype => untagged(ethertype, packet, true),
    }
}

/// From behind the first tag's ethertype to the ethertype behind the last tag, and what follows it.
fn untag(mut rest: &[u8]) -> Result<(u16, &[u8]), Unparsed> {
    for _ in 0..TAGS_MAX {
        let Some((tag, behind)) = rest.split_first_chunk::<4>() else { return Err(Unparsed::ShortEthernet) };
        let ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        if !ethertype::is_tag(ethertype) {
            return Ok((ethertype, behind));
        }
        rest = behind;
    }
    Err(Unparsed::TooManyTags)
}

/// What follows an ethertype in the payload of a tunnel (GRE): all that may follow one in a frame, and frames.
pub(super) fn of_ethertype(ethertype: u16, rest: &[u8]) -> Result<Network<'_>, Unparsed> {
    if ethertype == ethertype::BRIDGED { network(rest) } else { untagged(ethertype, rest, true) }
}

/// What follows the last tag's ethertype, which is none of a tag. `pseudowire` says whether it may be one.
#[cold]
#[inline(never)]
fn untagged(mut ethertype: u16, mut rest: &[u8], pseudowire: bool) -> Result<Network<'_>, Unparsed> {
    if ethertype < ethertype::FIRST {
        (ethertype, rest) = llc(rest)?;
    }
    match ethertype {
        ethertype::IPV4 => Ok(Network::V4(rest)),
        ethertype::IPV6 => Ok(Network::V6(rest)),
        ethertype::MPLS | ethertype::MPLS_UPSTREAM => mpls(rest, pseudowire),
        ethertype::PPPOE_SESSION => pppoe(rest),
        ethertype::PPPOE_DISCOVERY => Err(Unparsed::PppoeDiscovery),
        ethertype::ARP | ethertype::RARP => Err(Unparsed::Arp),
        ethertype if ethertype::is_link_control(ethertype) => Err(Unparsed::LinkControl),
        _ => Err(Unparsed::NotIp),
    }
}

/// LLC (IEEE 802.2) with SNAP: to the ethertype and what follows it. A SNAP header has one where its OUI is 0 (RFC 1042)
/// or 00-00-f8 (IEEE 802.1H). Tags behind it are taken off too.
///
/// ```text
/// +------+------+------+-----------------+-----------+
/// | DSAP | SSAP | ctrl |       OUI       | ethertype |
/// |  aa  |  aa  |  03  | 00 00 00/00 00 f8 |         |
/// +------+------+------+-----------------+-----------+
/// ```
fn llc(rest: &[u8]) -> Result<(u16, &[u8]), Unparsed> {
    let Some(llc) = rest.first_chunk::<3>() else { return Err(Unparsed::ShortEthernet) };
    if *llc != [0xaa, 0xaa, 0x03] {
        return Err(Unparsed::Llc);
    }
    let Some((snap, rest)) = rest.split_first_chunk::<8>() else { return Err(Unparsed::ShortEthernet) };
    if !matches!(snap[3..6], [0, 0, 0 | 0xf8]) {
        return Err(Unparsed::Llc);
    }
    match u16::from_be_bytes([snap[6], snap[7]]) {
        ethertype if ethertype::is_tag(ethertype) => untag(rest),
        ethertype => Ok((ethertype, rest)),
    }
}

/// An MPLS label stack (RFC 3032 section 2.1), its last entry with S set:
///
/// ```text
/// |          Label (20)           | TC (3)  |S|    TTL (8)    |
/// ```
///
/// Nothing in it says what follows; the first nibble does (RFC 4928): 4 and 6 are IP, 0 is a pseudowire's control word
/// (RFC 4385 section 3), behind which there is an Ethernet frame (RFC 4448). A pseudowire without a control word cannot be
/// told: the first nibble is then that of a MAC address, and the frame is taken for what that nibble says.
fn mpls(mut rest: &[u8], pseudowire: bool) -> Result<Network<'_>, Unparsed> {
    for _ in 0..LABELS_MAX {
        let Some((entry, behind)) = rest.split_first_chunk::<4>() else { return Err(Unparsed::ShortMpls) };
        rest = behind;
        if entry[2] & 1 == 0 {
            continue;
        }
        return match rest.first().map(|first| first >> 4) {
            None => Err(Unparsed::ShortMpls),
            Some(4) => Ok(Network::V4(rest)),
            Some(6) => Ok(Network::V6(rest)),
            Some(0) if pseudowire => pseudowire_frame(rest),
            Some(0) => Err(Unparsed::NestedPseudowire),
            Some(_) => Err(Unparsed::MplsPayload),
        };
    }
    Err(Unparsed::TooManyLabels)
}

/// An Ethernet frame behind a control word (RFC 4385 section 3):
///
/// ```text
/// |0 0 0 0| Flags |FRG|  Length   | Sequence Number               |
/// ```
fn pseudowire_frame(rest: &[u8]) -> Result<Network<'_>, Unparsed> {
    /// FRG of a middle or last fragment (RFC 4623 section 4.1), which has no Ethernet header.
    const LATER_FRAGMENT: u8 = 0x80;
    let Some((control, frame)) = rest.split_first_chunk::<4>() else { return Err(Unparsed::ShortMpls) };
    if control[1] & LATER_FRAGMENT != 0 {
        return Err(Unparsed::MplsPayload);
    }
    let Some((ethernet, rest)) = frame.split_first_chunk::<14>() else { return Err(Unparsed::ShortEthernet) };
    match u16::from_be_bytes([ethernet[12], ethernet[13]]) {
        ethertype if ethertype::is_tag(ethertype) => {
            let (ethertype, rest) = untag(rest)?;
            untagged(ethertype, rest, false)
        }
        ethertype => untagged(ethertype, rest, false),
    }
}

/// A PPPoE session (RFC 2516 section 4), and the PPP protocol behind it:
///
/// ```text
/// |  VER  | TYPE  |      CODE     |          SESSION_ID           |
/// |            LENGTH             |          PPP protocol         |
/// ```
///
/// RFC 2516 section 7 advises against compressing the protocol field to one byte, but does not forbid it: the byte is then
/// odd (RFC 1661 section 2), and no packet hides behind that.
fn pppoe(rest: &[u8]) -> Result<Network<'_>, Unparsed> {
    const IPV4: u16 = 0x0021;
    const IPV6: u16 = 0x0057;
    let Some((header, ppp)) = rest.split_first_chunk::<6>() else { return Err(Unparsed::ShortPppoe) };
    if header[..2] != [0x11, 0] {
        return Err(Unparsed::BadPppoe);
    }
    let (protocol, packet) = match *ppp {
        [compressed, ref packet @ ..] if compressed & 1 == 1 => (u16::from(compressed), packet),
        [high, low, ref packet @ ..] => (u16::from_be_bytes([high, low]), packet),
        _ => return Err(Unparsed::ShortPppoe),
    };
    match protocol {
        IPV4 => Ok(Network::V4(packet)),
        IPV6 => Ok(Network::V6(packet)),
        _ => Err(Unparsed::PppControl),
    }
}

#[cfg(test)]
mod tests;
