//! Capture files: any bytes decode to packets or to an error, to no more packets than they can hold, and the same whether all is there
//! at once or comes bit by bit.

#![no_main]

use std::io::{self, Read};

use controlplane::capture_file::{PACKET_MAX, Reader, decode};
use libfuzzer_sys::fuzz_target;

/// Gives a few bytes at a time.
struct BitByBit<'a>(&'a [u8]);

impl Read for BitByBit<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(7);
        self.0.read(&mut buffer[..most])
    }
}

fn frames(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(BitByBit(bytes)).ok()?;
    let mut frames = 0;
    while reader.advance().ok()? {
        let frame = reader.frame().expect("a frame");
        assert!(frame.data.len() <= PACKET_MAX.min(frame.length as usize));
        frames += 1;
    }
    assert!(reader.frame().is_none() && !reader.advance().is_ok_and(|more| more));
    assert!(reader.bytes() <= bytes.len() as u64);
    Some(frames)
}

fuzz_target!(|bytes: &[u8]| {
    let decoded = decode(bytes).ok();
    if let Some(file) = &decoded {
        assert!(file.packets.len() + file.unparsed <= bytes.len() / 8);
    }
    assert_eq!(decoded.map(|file| file.packets.len() + file.unparsed), frames(bytes));
});
