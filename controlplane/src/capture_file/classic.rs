//! The classic format: a header of 24 bytes, then for each packet seconds, fraction, length here, length then.

use std::io::Read;

use super::{Error, Found, Input, Link, Next, Order, PACKET_MAX, Trouble, micros};

/// What the header says.
pub(super) struct Classic {
    order: Order,
    a_second: u64,
    link: Link,
}

impl Classic {
    /// By the first four bytes. Nanoseconds have a magic number of their own.
    pub(super) fn of(magic: &[u8]) -> Option<Classic> {
        let (order, a_second) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (Order::Little, 1_000_000),
            [0xa1, 0xb2, 0xc3, 0xd4] => (Order::Big, 1_000_000),
            [0x4d, 0x3c, 0xb2, 0xa1] => (Order::Little, 1_000_000_000),
            [0xa1, 0xb2, 0x3c, 0x4d] => (Order::Big, 1_000_000_000),
            _ => return None,
        };
        Some(Classic { order, a_second, link: Link::Ethernet })
    }

    /// The rest of the header.
    pub(super) fn begin<R: Read>(&mut self, input: &mut Input<R>) -> Result<Option<Trouble>, Error> {
        if input.take(20)? < 20 {
            return Ok(Some(Trouble::Cut(input.read)));
        }
        // The upper half says whether frames end with a checksum.
        let link = self.order.u32(&input.buffer, 16).unwrap_or(0) & 0xffff;
        self.link = Link::of(link)?;
        Ok(None)
    }

    pub(super) fn next<R: Read>(&self, input: &mut Input<R>) -> Result<Next, Error> {
        let at = input.read;
        match input.take(16)? {
            0 => return Ok(Next::End),
            16 => {}
            _ => return Ok(Next::Trouble(Trouble::Cut(input.read))),
        }
        let word = |place| self.order.u32(&input.buffer, place).unwrap_or(0);
        let (seconds, fraction, kept, length) = (word(0), word(4), word(8) as usize, word(12));
        if kept > PACKET_MAX {
            return Ok(Next::Trouble(Trouble::Damaged(at)));
        }
        if input.take(kept)? < kept {
            return Ok(Next::Trouble(Trouble::Cut(input.read)));
        }
        let time_us = i64::from(seconds) * 1_000_000 + micros(fraction.into(), self.a_second);
        let length = length.max(kept as u32);
        Ok(Next::Frame(Found { time_us: Some(time_us), start: 0, end: kept, length, link: self.link }))
    }
}
