//! IPv4, with options and fragments (RFC 791 section 3.1).

use super::{CLASSES_V4, Flow, Outline, Unparsed, class, flow_upper, fragment, fragment_bits};

/// The outline of an IPv4 packet; fails where [`super::parse`] fails.
///
/// # Errors
/// [`Unparsed`].
#[inline(always)]
pub fn outline_v4(packet: &[u8]) -> Result<Outline<u32>, Unparsed> {
    /// Version 4, and five words of header: no options.
    const PLAIN: u8 = 0x45;
    let Some(header) = packet.first_chunk::<20>() else { return Err(Unparsed::ShortIpv4) };
    if header[0] == PLAIN { outline_v4_of(packet, header, 20) } else { outline_v4_with_options(packet, header) }
}

#[inline(never)]
fn outline_v4_with_options(packet: &[u8], header: &[u8; 20]) -> Result<Outline<u32>, Unparsed> {
    let header_length = header_length(packet);
    if header[0] >> 4 != 4 || header_length < 20 {
        return Err(Unparsed::BadIpv4);
    }
    outline_v4_of(packet, header, header_length)
}

#[inline(always)]
fn outline_v4_of(packet: &[u8], header: &[u8; 20], header_length: usize) -> Result<Outline<u32>, Unparsed> {
    let total_length = u16::from_be_bytes([header[2], header[3]]);
    if usize::from(total_length) < header_length {
        return Err(Unparsed::Ipv4Length);
    }
    if packet.len() < header_length {
        return Err(Unparsed::ShortIpv4);
    }
    let offset_field = u16::from_be_bytes([header[6], header[7]]);
    let ip_length = u32::from(total_length);
    let payload = || payload_v4(packet, header_length, ip_length, fragment_v4(offset_field));
    // Both addresses by one load.
    let addresses = u64::from_be_bytes([
        header[12], header[13], header[14], header[15], header[16], header[17], header[18], header[19],
    ]);
    Ok(Outline {
        source: (addresses >> 32) as u32,
        destination: addresses as u32,
        class: class(&CLASSES_V4, header[9], payload),
        is_fragment: offset_field & 0x3fff != 0,
        ip_length,
    })
}

/// The flow of an IPv4 packet that has this outline.
#[inline(always)]
pub fn flow_v4(packet: &[u8], outline: &Outline<u32>) -> Flow<u32> {
    let &Outline { source, destination, ip_length, .. } = outline;
    let upper = packet.first_chunk::<20>().map_or(0, |header| {
        let fragment = fragment_v4(u16::from_be_bytes([header[6], header[7]]));
        let payload = payload_v4(packet, header_length(packet), ip_length, fragment);
        flow_upper(header[9], payload)
    });
    Flow { source, destination, upper }
}

/// In bytes, as the first byte says.
#[inline(always)]
pub(super) fn header_length(packet: &[u8]) -> usize {
    packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4)
}

/// What is behind the header, but for a later fragment. What is behind the total length is padding, not the packet.
#[inline(always)]
pub(super) fn payload_v4(packet: &[u8], header_length: usize, ip_length: u32, fragment: u8) -> &[u8] {
    if fragment & fragment::IS != 0 {
        return &[];
    }
    packet.get(header_length..packet.len().min(ip_length as usize)).unwrap_or(&[])
}

#[inline(always)]
pub(super) fn fragment_v4(offset_field: u16) -> u8 {
    let dont = u8::from(offset_field & 0x4000 != 0) * fragment::DONT;
    dont | fragment_bits(offset_field & 0x1fff != 0, offset_field & 0x2000 != 0)
}

#[cfg(test)]
mod tests;
