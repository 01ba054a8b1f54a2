//! Capture files, pcap and pcapng, to frames with their time, one after the other. Decodes bytes that others wrote: never panics,
//! never reads past the end, and holds no more than one packet of at most [`PACKET_MAX`] bytes.

mod classic;
mod link;
mod pcapng;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use dataplane::packet::{Headers, parse};

use classic::Classic;
pub use link::Link;
use pcapng::Pcapng;

/// A packet that says to have more bytes is none: the file is damaged there.
pub const PACKET_MAX: usize = 1 << 20;
/// So much of a file is read at once.
const READ_AT_ONCE: usize = 1 << 18;
/// Where all packets of a file are kept at once, larger ones are refused.
const FILE_MAX: u64 = 4 << 30;
/// What gzip, xz and zstd files begin with.
const COMPRESSED: [&[u8]; 3] = [&[0x1f, 0x8b], &[0xfd, b'7', b'z', b'X'], &[0x28, 0xb5, 0x2f, 0xfd]];

/// What is wrong with a file.
#[allow(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is neither pcap nor pcapng: it begins with {0:02x?}")]
    Unknown(Vec<u8>),
    #[error("it is compressed: unpack it first, such as by `zcat FILE | leveed … /dev/stdin`")]
    Compressed,
    #[error("link type {0} is not supported: Ethernet, raw IP, Linux cooked and loopback captures are")]
    LinkType(u32),
    #[error("it has {0} bytes, and files up to {FILE_MAX} are read")]
    TooLarge(u64),
}

/// Why a file has no more packets, where that is not its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It ends within a packet, or a block, after so many bytes.
    Cut(u64),
    /// What stands at this byte makes no sense.
    Damaged(u64),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Cut(bytes) => write!(f, "it is cut short: it ends within a packet, after {bytes} bytes"),
            Trouble::Damaged(at) => write!(f, "it is damaged at byte {at}, and nothing behind that is read"),
        }
    }
}

/// A frame of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When it came, microseconds since 1970 UTC; pcapng has packets without a time.
    pub time_us: Option<i64>,
    /// Its bytes, as far as they were kept.
    pub data: &'a [u8],
    /// How many it had.
    pub length: u32,
    /// What stands before its IP header.
    pub link: Link,
}

/// Where the frame that was read last lies in the buffer, and what else is known of it.
#[derive(Clone, Copy, Debug)]
struct Found {
    time_us: Option<i64>,
    start: usize,
    end: usize,
    length: u32,
    link: Link,
}

/// Bytes, as they are asked for; and how far.
struct Input<R> {
    from: R,
    buffer: Vec<u8>,
    read: u64,
}

impl<R: Read> Input<R> {
    /// Puts the next `length` bytes into the buffer; at the end of the file fewer. Gives how many.
    fn take(&mut self, length: usize) -> io::Result<usize> {
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let mut have = 0;
        while have < length {
            match self.from.read(&mut self.buffer[have..length]) {
                Ok(0) => break,
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.read += have as u64;
        Ok(have)
    }

    /// Leaves out bytes. False: there are not so many.
    fn skip(&mut self, mut length: u64) -> io::Result<bool> {
        while length > 0 {
            let step = length.min(READ_AT_ONCE as u64);
            if self.take(step as usize)? < step as usize {
                return Ok(false);
            }
            length -= step;
        }
        Ok(true)
    }
}

/// What comes next of a file.
enum Next {
    Frame(Found),
    End,
    Trouble(Trouble),
}

enum Format {
    Classic(Classic),
    Pcapng(Pcapng),
}

/// A file that is being read.
pub struct Reader<R> {
    input: Input<R>,
    format: Format,
    found: Option<Found>,
    trouble: Option<Trouble>,
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no capture file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Reader::new(BufReader::with_capacity(READ_AT_ONCE, File::open(path)?))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// When it is no capture file.
    pub fn new(from: R) -> Result<Reader<R>, Error> {
        let mut input = Input { from, buffer: Vec::new(), read: 0 };
        let have = input.take(4)?;
        let magic: Vec<u8> = input.buffer[..have].to_vec();
        let (trouble, format) = match Classic::of(&magic) {
            Some(mut classic) => (classic.begin(&mut input)?, Format::Classic(classic)),
            None if magic == pcapng::MAGIC => {
                let mut pcapng = Pcapng::default();
                (pcapng.begin(&mut input)?, Format::Pcapng(pcapng))
            }
            None if COMPRESSED.iter().any(|known| magic.starts_with(known)) => return Err(Error::Compressed),
            None => return Err(Error::Unknown(magic)),
        };
        Ok(Reader { input, format, found: None, trouble })
    }

    /// Goes on to the next frame. False: there is none.
    ///
    /// # Errors
    /// When the file cannot be read, or its link type is not known.
    pub fn advance(&mut self) -> Result<bool, Error> {
        self.found = None;
        if self.trouble.is_some() {
            return Ok(false);
        }
        let next = match &mut self.format {
            Format::Classic(classic) => classic.next(&mut self.input)?,
            Format::Pcapng(pcapng) => pcapng.next(&mut self.input)?,
        };
        match next {
            Next::Frame(found) => self.found = Some(found),
            Next::End => {}
            Next::Trouble(trouble) => self.trouble = Some(trouble),
        }
        Ok(self.found.is_some())
    }

    /// The frame that it is at.
    pub fn frame(&self) -> Option<Frame<'_>> {
        let Found { time_us, start, end, length, link } = self.found?;
        Some(Frame { time_us, data: self.input.buffer.get(start..end)?, length, link })
    }

    /// Why there is no more, where that is not the end of the file.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.input.read
    }
}

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

/// Reads a whole file.
///
/// # Errors
/// When it cannot be read, or is no capture file. One that is cut short gives what it has.
pub fn read(path: &Path) -> Result<Packets, Error> {
    let length = std::fs::metadata(path)?.len();
    if length > FILE_MAX {
        return Err(Error::TooLarge(length));
    }
    collect(Reader::open(path)?)
}

/// Decodes the bytes of a file.
///
/// # Errors
/// When it is no capture file, or of a link type that is not known.
pub fn decode(bytes: &[u8]) -> Result<Packets, Error> {
    collect(Reader::new(bytes)?)
}

fn collect<R: Read>(mut reader: Reader<R>) -> Result<Packets, Error> {
    let (mut packets, mut scratch) = (Packets::default(), Vec::new());
    while reader.advance()? {
        let Some(frame) = reader.frame() else { break };
        let (data, _) = frame.as_ethernet(&mut scratch);
        match parse(data) {
            Ok(headers) => packets.packets.push(Packet { time_us: frame.time_us.unwrap_or(0), headers }),
            Err(_) => packets.unparsed += 1,
        }
    }
    packets.cut = reader.trouble().is_some();
    Ok(packets)
}

#[derive(Clone, Copy, Debug, Default)]
enum Order {
    #[default]
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
