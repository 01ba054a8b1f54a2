//! pcapng: blocks of type, length, body, length again. Sections may differ in byte order; each has interfaces of its own.

use std::io::Read;

use super::{Error, Found, Input, Link, Next, Order, PACKET_MAX, Trouble, micros};

/// What a file begins with: the type of a section header, the same in either byte order.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// A section with more interfaces is damaged.
const INTERFACES_MAX: usize = 1 << 16;
/// Types of blocks.
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// A packet of no interface that there is, or without room for what it has to say.
const NOTHING: Found = Found { time_us: None, start: 0, end: 0, length: 0, link: Link::Ethernet };

/// An interface of a section.
#[derive(Clone, Copy)]
struct Interface {
    link: Link,
    a_second: u64,
    offset_s: i64,
}

/// The section that it is in.
#[derive(Default)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
}

impl Pcapng {
    /// The rest of the first section header.
    pub(super) fn begin<R: Read>(&mut self, input: &mut Input<R>) -> Result<Option<Trouble>, Error> {
        let have = input.take(8)?;
        if have < 8 {
            return Ok(Some(Trouble::Cut(input.read)));
        }
        let magic = input.buffer[4..8].to_vec();
        match self.section(input, 12)? {
            Some(Trouble::Damaged(_)) => Err(Error::Unknown([&MAGIC[..], &magic].concat())),
            cut => Ok(cut),
        }
    }

    /// A section header, of which the length and the byte-order magic are at the beginning of the buffer, and so many bytes are read.
    fn section<R: Read>(&mut self, input: &mut Input<R>, read: u64) -> Result<Option<Trouble>, Error> {
        let damaged = Trouble::Damaged(input.read - read);
        self.order = match input.buffer[4..8] {
            [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
            [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
            _ => return Ok(Some(damaged)),
        };
        self.interfaces.clear();
        let length = u64::from(self.order.u32(&input.buffer, 0).unwrap_or(0));
        let Some(rest) = length.checked_sub(read) else { return Ok(Some(damaged)) };
        Ok(if input.skip(rest)? { None } else { Some(Trouble::Cut(input.read)) })
    }

    pub(super) fn next<R: Read>(&mut self, input: &mut Input<R>) -> Result<Next, Error> {
        loop {
            let at = input.read;
            let cut = |input: &Input<R>| Ok(Next::Trouble(Trouble::Cut(input.read)));
            match input.take(8)? {
                0 => return Ok(Next::End),
                8 => {}
                _ => return cut(input),
            }
            if input.buffer[..4] == MAGIC {
                let length = [input.buffer[4], input.buffer[5], input.buffer[6], input.buffer[7]];
                if input.take(4)? < 4 {
                    return cut(input);
                }
                input.buffer.copy_within(0..4, 4);
                input.buffer[..4].copy_from_slice(&length);
                match self.section(input, 12)? {
                    Some(trouble) => return Ok(Next::Trouble(trouble)),
                    None => continue,
                }
            }
            let (kind, length) = (self.order.u32(&input.buffer, 0), self.order.u32(&input.buffer, 4));
            let length = length.unwrap_or(0) as usize;
            if length < 12 {
                return Ok(Next::Trouble(Trouble::Damaged(at)));
            }
            let is_read = matches!(kind, Some(INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET));
            if !is_read {
                if !input.skip(length as u64 - 8)? {
                    return cut(input);
                }
                continue;
            }
            if length > PACKET_MAX || self.interfaces.len() >= INTERFACES_MAX {
                return Ok(Next::Trouble(Trouble::Damaged(at)));
            }
            if input.take(length - 8)? < length - 8 {
                return cut(input);
            }
            let body = &input.buffer[..length - 12];
            let found = match kind {
                Some(INTERFACE) => {
                    self.interfaces.push(interface(body, self.order)?);
                    continue;
                }
                Some(SIMPLE_PACKET) => self.simple(body),
                Some(PACKET) => self.packet(body, self.order.u16(body, 0).map(u32::from)),
                _ => self.packet(body, self.order.u32(body, 0)),
            };
            return Ok(Next::Frame(found.unwrap_or(NOTHING)));
        }
    }

    /// An enhanced packet block, or the packet block that it replaced: the same but for how the interface is written.
    fn packet(&self, body: &[u8], index: Option<u32>) -> Option<Found> {
        let interface = self.interfaces.get(index? as usize)?;
        let word = |place| self.order.u32(body, place);
        let (high, low, kept, length) = (word(4)?, word(8)?, word(12)? as usize, word(16)?);
        let units = u64::from(high) << 32 | u64::from(low);
        let time_us = micros(units, interface.a_second).saturating_add(interface.offset_s.saturating_mul(1_000_000));
        let end = body.len().min(20_usize.saturating_add(kept));
        let length = length.max((end - 20) as u32);
        Some(Found { time_us: Some(time_us), start: 20, end, length, link: interface.link })
    }

    /// A packet of the first interface, without a time.
    fn simple(&self, body: &[u8]) -> Option<Found> {
        let interface = self.interfaces.first()?;
        let length = self.order.u32(body, 0)?;
        let end = body.len().min(4_usize.saturating_add(length as usize));
        Some(Found { time_us: None, start: 4, end, length, link: interface.link })
    }
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
