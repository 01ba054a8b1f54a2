//! As much of HTTP/1.1 as a test needs.

use std::io::{self, Read, Write};

/// Longest message.
const MESSAGE_MAX: usize = 1 << 20;

/// What a client sent.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Such as GET.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
}

impl Message {
    /// A header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is sent back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Where it is instead.
    pub location: Option<String>,
    /// In JSON, mostly.
    pub body: Vec<u8>,
}

/// The next message; none at the end.
///
/// # Errors
/// Where the connection fails.
pub fn read(stream: &mut impl Read) -> io::Result<Option<Message>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if !more(stream, &mut bytes)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let mut message = Message { method: method.to_owned(), path: path.to_owned(), headers, body: String::new() };
    let length: usize = message.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let start = head_end + 4;
    while bytes.len() < start + length {
        if !more(stream, &mut bytes)? {
            return Ok(None);
        }
    }
    message.body = String::from_utf8_lossy(&bytes[start..start + length]).into_owned();
    Ok(Some(message))
}

fn more(stream: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    if bytes.len() > MESSAGE_MAX {
        return Ok(false);
    }
    let count = match stream.read(&mut buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
        count => count?,
    };
    bytes.extend_from_slice(&buffer[..count]);
    Ok(count > 0)
}

/// Sends an answer.
///
/// # Errors
/// Where the connection fails.
pub fn write(stream: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let Answer { status, location, body } = answer;
    let location = location.as_ref().map(|to| format!("Location: {to}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Of the stub\r\nContent-Type: application/json\r\n{location}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}
