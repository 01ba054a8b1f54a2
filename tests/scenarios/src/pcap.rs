//! Capture files: writes and reads the classic format, Ethernet, microseconds, either byte order.

use std::fs;
use std::io;
use std::path::Path;

/// A frame of a file: when, its kept bytes, and its whole length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Microseconds since 1970 UTC.
    pub time_us: u64,
    /// What was kept.
    pub bytes: Vec<u8>,
    /// What it had.
    pub length: usize,
}

impl Frame {
    /// The same, so much later.
    pub fn later(self, by_us: u64) -> Frame {
        Frame { time_us: self.time_us + by_us, ..self }
    }

    /// The same with a VLAN tag, and no more bytes kept than before where some were cut off.
    pub fn tagged(mut self, vlan: u16) -> Frame {
        let kept = self.bytes.len();
        let is_cut = kept < self.length;
        self.bytes.splice(12..12, [0x81, 0, (vlan >> 8) as u8, vlan as u8]);
        if is_cut {
            self.bytes.truncate(kept);
        }
        Frame { length: self.length + 4, ..self }
    }
}

/// Writes the frames.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, frames: &[Frame]) -> io::Result<()> {
    let mut file = Vec::with_capacity(24 + frames.len() * 144);
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let (seconds, micros) = (frame.time_us / 1_000_000, frame.time_us % 1_000_000);
        for word in [seconds as u32, micros as u32, frame.bytes.len() as u32, frame.length as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(&frame.bytes);
    }
    fs::write(path, file)
}

/// The frames of a file.
///
/// # Errors
/// When it cannot be read, or is no capture of Ethernet.
pub fn read(path: &Path) -> io::Result<Vec<Frame>> {
    parse(&fs::read(path)?).ok_or_else(|| io::Error::other(format!("{}: no capture of Ethernet", path.display())))
}

fn parse(file: &[u8]) -> Option<Vec<Frame>> {
    let word_at = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let is_swapped = match word_at(0)? {
        0xa1b2_c3d4 => false,
        0xd4c3_b2a1 => true,
        _ => return None,
    };
    let word_at = |at| word_at(at).map(|word| if is_swapped { word.swap_bytes() } else { word });
    if word_at(20)? != 1 {
        return None;
    }
    let mut frames = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let kept = word_at(at + 8)? as usize;
        frames.push(Frame {
            time_us: u64::from(word_at(at)?) * 1_000_000 + u64::from(word_at(at + 4)?),
            bytes: file.get(at + 16..at + 16 + kept)?.to_vec(),
            length: word_at(at + 12)? as usize,
        });
        at += 16 + kept;
    }
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_in_either_byte_order() {
        let frames = vec![
            Frame { time_us: 1_700_000_000_000_001, bytes: vec![1, 2, 3], length: 60 },
            Frame { time_us: 1_700_000_001_999_999, bytes: vec![4], length: 1 },
        ];
        let path = std::env::temp_dir().join(format!("scenarios-{}.pcap", std::process::id()));
        write(&path, &frames).unwrap();
        assert_eq!(read(&path).unwrap(), frames);
        let mut file = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(parse(&file[..file.len() - 1]), None, "a file that ends too early");
        let header = |at: usize| at < 40 || (43..59).contains(&at);
        let words: Vec<usize> = (0..24).step_by(4).chain((24..40).step_by(4)).chain((43..59).step_by(4)).collect();
        for at in words {
            assert!(header(at));
            file[at..at + 4].reverse();
        }
        assert_eq!(parse(&file).unwrap(), frames);
    }
}
