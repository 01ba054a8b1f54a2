//! Several capture files as one: their frames in the order of their time stamps. Holds one frame of each.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::Error;
use crate::capture_file::{self, Frame, Reader, Trouble};

/// A file, at the frame that is its next.
struct Source {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    /// The time of that frame; none behind the last one.
    time_us: Option<i64>,
    packets: u64,
}

/// What was read of a file.
#[derive(Clone, Debug)]
pub(super) struct FileRead {
    pub(super) path: PathBuf,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) trouble: Option<Trouble>,
}

/// All files.
pub(super) struct Sources {
    sources: Vec<Source>,
    /// Whose frame was given last.
    at: Option<usize>,
}

fn error(path: &Path, source: capture_file::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

impl Source {
    fn advance(&mut self) -> Result<(), Error> {
        let before = self.time_us.unwrap_or(0);
        let is_there = self.reader.advance().map_err(|source| error(&self.path, source))?;
        // A packet without a time came with the one before it.
        let time_us = self.reader.frame().map(|frame| frame.time_us.unwrap_or(before));
        self.time_us = time_us.filter(|_| is_there);
        self.packets += u64::from(is_there);
        Ok(())
    }
}

impl Sources {
    /// Opens all files.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Sources, Error> {
        let open = |path: &PathBuf| {
            let reader = Reader::open(path).map_err(|source| error(path, source))?;
            let mut source = Source { path: path.clone(), reader, time_us: None, packets: 0 };
            source.advance()?;
            Ok(source)
        };
        Ok(Sources { sources: paths.iter().map(open).collect::<Result<_, Error>>()?, at: None })
    }

    /// The next frame of all, and its time; of frames with the same time that of the file named first.
    pub(super) fn next(&mut self) -> Result<Option<(i64, Frame<'_>)>, Error> {
        if let Some(at) = self.at {
            self.sources[at].advance()?;
        }
        let with_time = self.sources.iter().enumerate().filter_map(|(at, source)| Some((source.time_us?, at)));
        let first = with_time.min();
        self.at = first.map(|(_, at)| at);
        Ok(first.and_then(|(time_us, at)| Some((time_us, self.sources[at].reader.frame()?))))
    }

    /// What was read of each.
    pub(super) fn read(&self) -> Vec<FileRead> {
        let read = |source: &Source| FileRead {
            path: source.path.clone(),
            packets: source.packets,
            bytes: source.reader.bytes(),
            trouble: source.reader.trouble(),
        };
        self.sources.iter().map(read).collect()
    }
}
