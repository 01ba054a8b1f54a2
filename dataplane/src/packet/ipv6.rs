//! IPv6, with its extension headers (RFC 8200 sections 3 and 4) and jumbograms (RFC 2675).

use super::{CLASSES_V6, Flow, Outline, Unparsed, class, flow_upper, fragment, fragment_bits, protocol};

/// Most IPv6 extension headers in a chain. A packet with more counts for its host, with the header that it stopped at.
pub const EXTENSIONS_MAX: usize = 8;
/// Most options of a hop-by-hop header among which a jumbogram's length is looked for. RFC 8504 section 5.3 lets hosts stop at 8.
pub const OPTIONS_MAX: usize = 16;

/// The outline of an IPv6 packet; fails where [`super::parse`] fails.
///
/// # Errors
/// [`Unparsed`].
#[inline]
pub fn outline_v6(packet: &[u8]) -> Result<Outline<&[u8; 16]>, Unparsed> {
    Ok(ipv6(packet)?.0)
}

/// The flow of an IPv6 packet; fails where [`super::parse`] fails.
///
/// # Errors
/// [`Unparsed`].
#[inline]
pub fn flow_v6(packet: &[u8]) -> Result<Flow<u128>, Unparsed> {
    let (Outline { source, destination, .. }, Chain { protocol, payload, .. }) = ipv6(packet)?;
    let [source, destination] = [source, destination].map(|address| u128::from_be_bytes(*address));
    Ok(Flow { source, destination, upper: flow_upper(protocol, payload) })
}

/// Where a chain of extension headers ends.
pub(super) struct Chain<'a> {
    pub(super) protocol: u8,
    pub(super) fragment: u8,
    /// The upper-layer header and what follows; empty in a later fragment.
    pub(super) payload: &'a [u8],
}

/// RFC 8200 section 3.
#[inline]
pub(super) fn ipv6(packet: &[u8]) -> Result<(Outline<&[u8; 16]>, Chain<'_>), Unparsed> {
    let Some((header, rest)) = packet.split_first_chunk::<40>() else { return Err(Unparsed::ShortIpv6) };
    if header[0] >> 4 != 6 {
        return Err(Unparsed::BadIpv6);
    }
    let next = header[6];
    let payload_length = match u16::from_be_bytes([header[4], header[5]]) {
        0 if next == protocol::HOP_BY_HOP => jumbo_length(rest)?,
        length => u32::from(length),
    };
    let payload = &rest[..rest.len().min(payload_length as usize)];

    let (protocol, fragment, payload) =
        if is_extension(next) { skip_extensions(next, payload) } else { (next, 0, payload) };
    let payload = if fragment & fragment::IS == 0 { payload } else { &[] };
    let (source, destination) = addresses(header);
    let outline = Outline {
        source,
        destination,
        class: class(&CLASSES_V6, protocol, || payload),
        is_fragment: fragment & (fragment::IS | fragment::FIRST) != 0,
        ip_length: payload_length.saturating_add(40),
    };
    Ok((outline, Chain { protocol, fragment, payload }))
}

/// Source and destination.
#[inline(always)]
pub(super) fn addresses(header: &[u8; 40]) -> (&[u8; 16], &[u8; 16]) {
    const NONE: &[u8; 16] = &[0; 16];
    let source = header.split_at(8).1.first_chunk();
    (source.unwrap_or(NONE), header.last_chunk().unwrap_or(NONE))
}

/// The payload length of a jumbogram, which has 0 in its header (RFC 2675 sections 2 and 3), from an option of the
/// hop-by-hop header. Without one, or with one that needs none, the length field lies.
///
/// ```text
///                                 |  Option Type  |  Opt Data Len |
///                                 |      c2       |       4       |
/// |                     Jumbo Payload Length                      |
/// ```
#[cold]
#[inline(never)]
fn jumbo_length(hop_by_hop: &[u8]) -> Result<u32, Unparsed> {
    const PAD1: u8 = 0;
    const JUMBO: u8 = 0xc2;
    let length = hop_by_hop.get(1).map_or(8, |length| (usize::from(*length) + 1) * 8);
    let header = &hop_by_hop[..hop_by_hop.len().min(length)];
    // What is not found in a header that is cut short may stand behind the cut.
    let missing = if header.len() < length { Unparsed::ShortIpv6 } else { Unparsed::JumboLength };
    let mut options = header.get(2..).unwrap_or(&[]);
    for _ in 0..OPTIONS_MAX {
        options = match *options {
            [] => return Err(missing),
            [PAD1, ref rest @ ..] => rest,
            [JUMBO, 4, a, b, c, d, ..] => {
                let length = u32::from_be_bytes([a, b, c, d]);
                return if length > u32::from(u16::MAX) { Ok(length) } else { Err(Unparsed::JumboLength) };
            }
            [_, length, ref rest @ ..] => rest.get(usize::from(length)..).ok_or(missing)?,
            [_] => return Err(missing),
        };
    }
    Err(Unparsed::JumboLength)
}

/// What the walk goes through. ESP (50) is where it ends: what follows is encrypted. Mobility, HIP and Shim6 have the common format
/// (RFC 6275 section 6.1.1, RFC 7401 section 5.1, RFC 5533 section 5.1).
#[inline]
pub(super) const fn is_extension(protocol: u8) -> bool {
    use protocol::*;
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AH | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6)
}

/// Walks the chain (RFC 8200 section 4): the protocol where it ends, the fragment bits met, and what is left. Where the
/// chain is too long or cut short, the protocol is the header it stopped at.
fn skip_extensions(mut next: u8, mut rest: &[u8]) -> (u8, u8, &[u8]) {
    let mut fragment = 0;
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(next) {
            return (next, fragment, rest);
        }
        // None of them is shorter than this.
        let Some(header) = rest.first_chunk::<8>() else { return (next, fragment, &[]) };
        let length = match next {
            protocol::FRAGMENT => {
                let offset_field = u16::from_be_bytes([header[2], header[3]]);
                fragment |= fragment_bits(offset_field & 0xfff8 != 0, offset_field & 1 != 0);
                8
            }
            // RFC 4302 section 2.2.
            protocol::AH => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        next = header[0];
        if fragment & fragment::IS != 0 {
            return (next, fragment, &[]);
        }
        rest = rest.get(length..).unwrap_or(&[]);
    }
    // An extension header here would be one too many.
    (next, fragment, if is_extension(next) { &[] } else { rest })
}

#[cfg(test)]
mod tests;
