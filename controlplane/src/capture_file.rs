//! Capture files, pcap and pcapng, to packets with their time. Decodes bytes that others wrote: never panics, never reads past
//! the end, and takes no more memory than the file has. Pure but for [`read`], which reads the file.

use std::io;
use std::path::Path;

use dataplane::packet::{Headers, parse};

/// Larger files are refused: all of one is in memory at once.
const FILE_MAX: u64 = 4 << 30;
const ETHERNET_HEADER: usize = 14;

/// A packet of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it came, microseconds since 1970 UTC.
    pub time_us: i64,
    /// What it says.
    pub headers: Headers,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// In the order of the file.
    pub packets: Vec<Packet>,
    /// Frames that are no IP packets, or broken.
    pub unparsed: usize,
    /// Whether the file ends within a packet.
    pub cut: bool,
}

/// What is wrong with a file.
#[allow(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is neither pcap nor pcapng: it begins with {0:02x?}")]
    Unknown(Vec<u8>),
    #[error("link type {0} is not supported: Ethernet, raw IP, Linux cooked and loopback captures are")]
    LinkType(u32),
    #[error("it has {0} bytes, and files up to {FILE_MAX} are read")]
    TooLarge(u64),
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read, or is no capture file. One that is cut short gives what it has.
pub fn read(path: &Path) -> Result<Packets, Error> {
    let length = std::fs::metadata(path)?.len();
    if length > FILE_MAX {
        return Err(Error::TooLarge(length));
    }
    decode(&std::fs::read(path)?)
}

/// Decodes the bytes of a file.
///
/// # Errors
/// When it is no capture file, or of a link type that is not known.
pub fn decode(bytes: &[u8]) -> Result<Packets, Error> {
    let mut packets = Packets::default();
    match bytes.first_chunk() {
        // Nanoseconds have a magic number of their own.
        Some([0xd4, 0xc3, 0xb2, 0xa1]) => pcap(bytes, Order::Little, 1_000_000, &mut packets)?,
        Some([0xa1, 0xb2, 0xc3, 0xd4]) => pcap(bytes, Order::Big, 1_000_000, &mut packets)?,
        Some([0x4d, 0x3c, 0xb2, 0xa1]) => pcap(bytes, Order::Little, 1_000_000_000, &mut packets)?,
        Some([0xa1, 0xb2, 0x3c, 0x4d]) => pcap(bytes, Order::Big, 1_000_000_000, &mut packets)?,
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => pcapng(bytes, &mut packets)?,
        _ => return Err(Error::Unknown(bytes.iter().take(4).copied().collect())),
    }
    Ok(packets)
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Little => u32::from_le_bytes(word),
            Order::Big => u32::from_be_bytes(word),
        })
    }

    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Little => u16::from_le_bytes(word),
            Order::Big => u16::from_be_bytes(word),
        })
    }
}

/// Microseconds, of `units` of which so many are a second.
fn micros(units: u64, a_second: u64) -> i64 {
    i64::try_from(u128::from(units) * 1_000_000 / u128::from(a_second.max(1))).unwrap_or(i64::MAX)
}

/// The classic format: a header of 24 bytes, then for each packet seconds, fraction, length here, length then.
fn pcap(bytes: &[u8], order: Order, a_second: u64, packets: &mut Packets) -> Result<(), Error> {
    // The upper half says whether frames end with a checksum.
    let Some(link) = order.u32(bytes, 20).map(|link| link & 0xffff) else {
        packets.cut = true;
        return Ok(());
    };
    let link = Link::of(link)?;
    let mut rest = &bytes[24..];
    while !rest.is_empty() {
        let head = (order.u32(rest, 0), order.u32(rest, 4), order.u32(rest, 8), order.u32(rest, 12));
        let (Some(seconds), Some(fraction), Some(length), Some(_)) = head else {
            packets.cut = true;
            break;
        };
        let Some(frame) = rest.get(16..).and_then(|rest| rest.get(..length as usize)) else {
            packets.cut = true;
            break;
        };
        let time_us = i64::from(seconds) * 1_000_000 + micros(fraction.into(), a_second);
        packets.add(time_us, link, frame);
        rest = &rest[16 + frame.len()..];
    }
    Ok(())
}

/// An interface of a pcapng section.
#[derive(Clone, Copy)]
struct Interface {
    link: Link,
    a_second: u64,
    offset_s: i64,
}

/// Blocks: type, length, body, length again. Sections may differ in byte order; each has interfaces of its own.
fn pcapng(bytes: &[u8], packets: &mut Packets) -> Result<(), Error> {
    const SECTION: u32 = 0x0a0d_0d0a;
    let (mut order, mut interfaces) = (Order::Little, Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        if Order::Big.u32(rest, 0) == Some(SECTION) {
            order = match rest.get(8..12) {
                Some([0x1a, 0x2b, 0x3c, 0x4d]) => Order::Big,
                Some([0x4d, 0x3c, 0x2b, 0x1a]) => Order::Little,
                _ => return Err(Error::Unknown(rest.iter().take(12).copied().collect())),
            };
            interfaces.clear();
        }
        let block = order.u32(rest, 4).and_then(|length| rest.get(..length as usize)).filter(|block| block.len() >= 12);
        let Some(block) = block else {
            packets.cut = true;
            break;
        };
        let body = &block[8..block.len() - 4];
        match order.u32(block, 0) {
            Some(1) => interfaces.push(interface(body, order)?),
            Some(2) => packet_block(body, order, order.u16(body, 0).map(u32::from), &interfaces, packets),
            Some(3) => {
                let length = order.u32(body, 0).unwrap_or(0) as usize;
                let frame = body.get(4..).map(|frame| &frame[..frame.len().min(length)]);
                if let (Some(interface), Some(frame)) = (interfaces.first(), frame) {
                    packets.add(0, interface.link, frame);
                }
            }
            Some(6) => packet_block(body, order, order.u32(body, 0), &interfaces, packets),
            _ => {}
        }
        rest = &rest[block.len()..];
    }
    Ok(())
}

fn interface(body: &[u8], order: Order) -> Result<Interface, Error> {
    let link = Link::of(order.u16(body, 0).unwrap_or(0).into())?;
    let mut interface = Interface { link, a_second: 1_000_000, offset_s: 0 };
    let mut options = body.get(8..).unwrap_or_default();
    while let (Some(code), Some(length)) = (order.u16(options, 0), order.u16(options, 2)) {
        let length = usize::from(length);
        let Some(value) = options.get(4..).and_then(|value| value.get(..length)) else { break };
        match (code, value) {
            (0, _) => break,
            // if_tsresol: a power of 10, or with the top bit of 2.
            (9, &[power, ..]) => {
                let (base, power) = if power & 0x80 == 0 { (10u64, power) } else { (2, power & 0x7f) };
                interface.a_second = base.checked_pow(power.into()).unwrap_or(u64::MAX);
            }
            (14, value) if value.len() >= 8 => {
                let (high, low) = match order {
                    Order::Little => (4, 0),
                    Order::Big => (0, 4),
                };
                let half = |at| u64::from(order.u32(value, at).unwrap_or(0));
                interface.offset_s = (half(high) << 32 | half(low)) as i64;
            }
            _ => {}
        }
        options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(interface)
}

/// An enhanced packet block, or the packet block that it replaced: the same but for how the interface is written.
fn packet_block(body: &[u8], order: Order, index: Option<u32>, interfaces: &[Interface], packets: &mut Packets) {
    let interface = index.and_then(|index| interfaces.get(index as usize));
    let head = (order.u32(body, 4), order.u32(body, 8), order.u32(body, 12));
    let (Some(interface), (Some(high), Some(low), Some(length))) = (interface, head) else {
        packets.unparsed += 1;
        return;
    };
    let frame = body.get(20..).unwrap_or_default();
    let units = u64::from(high) << 32 | u64::from(low);
    let time_us = micros(units, interface.a_second).saturating_add(interface.offset_s.saturating_mul(1_000_000));
    packets.add(time_us, interface.link, &frame[..frame.len().min(length as usize)]);
}

/// What stands before the IP header.
#[derive(Clone, Copy)]
enum Link {
    Ethernet,
    /// So many bytes, then IP.
    Raw(usize),
}

impl Link {
    /// By its number in the file.
    fn of(number: u32) -> Result<Link, Error> {
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

impl Packets {
    fn add(&mut self, time_us: i64, link: Link, frame: &[u8]) {
        let headers = match link {
            Link::Ethernet => parse(frame).ok(),
            Link::Raw(before) => frame.get(before..).and_then(raw),
        };
        match headers {
            Some(headers) => self.packets.push(Packet { time_us, headers }),
            None => self.unparsed += 1,
        }
    }
}

/// What an IP packet without a link header says: as if Ethernet carried it. No header that is looked at begins behind `KEPT`.
fn raw(packet: &[u8]) -> Option<Headers> {
    const KEPT: usize = 2048;
    let ethertype: [u8; 2] = match packet.first()? >> 4 {
        4 => [0x08, 0x00],
        6 => [0x86, 0xdd],
        _ => return None,
    };
    let mut frame = [0; ETHERNET_HEADER + KEPT];
    let kept = packet.len().min(KEPT);
    frame[12..ETHERNET_HEADER].copy_from_slice(&ethertype);
    frame[ETHERNET_HEADER..ETHERNET_HEADER + kept].copy_from_slice(&packet[..kept]);
    parse(&frame[..ETHERNET_HEADER + kept]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 and UDP header; Ethernet before it where asked for.
    fn packet(ethernet: bool) -> Vec<u8> {
        let mut packet = if ethernet { [vec![0; 12], vec![8, 0]].concat() } else { Vec::new() };
        packet
            .extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 7, 192, 0, 2, 1, 0, 53, 4, 0, 0, 8, 0, 0]);
        packet
    }

    fn words(order: Order, words: &[u32]) -> Vec<u8> {
        let bytes = |&word: &u32| match order {
            Order::Little => word.to_le_bytes(),
            Order::Big => word.to_be_bytes(),
        };
        words.iter().flat_map(bytes).collect()
    }

    fn classic(order: Order, magic: u32, link: u32, fraction: u32, frame: &[u8]) -> Vec<u8> {
        let mut file = words(order, &[magic, 0, 0, 0, 65_535, link]);
        file.extend(words(order, &[7, fraction, frame.len() as u32, 1_500]));
        file.extend(frame);
        file
    }

    fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = body.len() as u32 + 12;
        [words(order, &[kind, length]), body, words(order, &[length])].concat()
    }

    #[test]
    fn classic_files_of_both_orders_and_resolutions() {
        let expected = parse(&packet(true)).unwrap();
        for order in [Order::Little, Order::Big] {
            for (magic, fraction) in [(0xa1b2_c3d4, 5), (0xa1b2_3c4d, 5_000)] {
                let read = decode(&classic(order, magic, 1, fraction, &packet(true))).unwrap();
                assert_eq!(read.packets, [Packet { time_us: 7_000_005, headers: expected }]);
                assert!(!read.cut && read.unparsed == 0);
            }
        }
    }

    #[test]
    fn link_types() {
        let expected = parse(&packet(true)).unwrap();
        for (link, before) in [(101, 0), (228, 0), (113, 16), (276, 20), (0, 4)] {
            let frame = [vec![0; before], packet(false)].concat();
            let read = decode(&classic(Order::Little, 0xa1b2_c3d4, link, 0, &frame)).unwrap();
            assert_eq!(read.packets[0].headers, expected, "link type {link}");
        }
        let error = decode(&classic(Order::Little, 0xa1b2_c3d4, 105, 0, &[])).unwrap_err();
        assert_eq!(error.to_string()[..20], *"link type 105 is not");
        assert!(decode(b"GIF89a").is_err());
        assert!(decode(&[]).is_err());
    }

    #[test]
    fn pcapng_with_its_own_resolution_and_sections_of_either_order() {
        let expected = parse(&packet(true)).unwrap();
        let mut file = Vec::new();
        for order in [Order::Big, Order::Little] {
            file.extend(block(order, 0x0a0d_0d0a, &words(order, &[0x1a2b_3c4d, 1, 0, 0])));
            // Ethernet, if_tsresol 9: nanoseconds.
            let (link, option) = match order {
                Order::Big => ([0, 1, 0, 0], [0, 9, 0, 1, 9, 0, 0, 0]),
                Order::Little => ([1, 0, 0, 0], [9, 0, 1, 0, 9, 0, 0, 0]),
            };
            file.extend(block(order, 1, &[&link[..], &[0; 4], &option].concat()));
            let frame = packet(true);
            let head = words(order, &[0, 1, 705_032_704, frame.len() as u32, 1_500]);
            file.extend(block(order, 6, &[head, frame].concat()));
            file.extend(block(order, 0x0bad, &[1, 2, 3]));
        }
        let read = decode(&file).unwrap();
        assert_eq!(read.packets, [Packet { time_us: 5_000_000, headers: expected }; 2]);
    }

    #[test]
    fn a_file_that_is_cut_short_gives_what_it_has() {
        let mut file = classic(Order::Little, 0xa1b2_c3d4, 1, 0, &packet(true));
        let whole = file.len();
        file.extend(file[24..].to_vec());
        for length in 24..file.len() {
            let read = decode(&file[..length]).unwrap();
            assert_eq!(read.packets.len(), usize::from(length >= whole));
            assert_eq!(read.cut, length != 24 && length != whole, "{length}");
        }
        let lies = classic(Order::Little, 0xa1b2_c3d4, 1, 0, &[1, 2, 3]);
        assert_eq!(decode(&lies).unwrap().unparsed, 1);
    }
}
