//! What the kernel says of an interface that a port receives from: its link and its counters, by sysfs. Judges nothing.

use std::path::{Path, PathBuf};

/// How an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its link is up, as far as the kernel knows.
    Up,
    /// Its link is down.
    Down,
    /// It is there no more. One that came back under the same name is another one: nobody polls it.
    Gone,
}

/// What the kernel counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets received.
    pub packets: u64,
    /// Packets that it dropped before anyone could have them.
    pub dropped: u64,
}

/// An interface of the kernel.
#[derive(Debug)]
pub struct Interface {
    folder: PathBuf,
    index: Option<u64>,
    at_start: Counters,
    counted: Counters,
}

impl Interface {
    /// The interface as it is now; counts from here. `sys` is the root of sysfs.
    pub fn open(sys: &Path, name: &str) -> Interface {
        let folder = sys.join("class/net").join(name);
        let mut interface =
            Interface { folder, index: None, at_start: Counters::default(), counted: Counters::default() };
        interface.index = interface.number("ifindex");
        interface.at_start = interface.counters();
        interface
    }

    /// Looks again.
    pub fn look(&mut self) -> State {
        if self.index.is_none() || self.number("ifindex") != self.index {
            return State::Gone;
        }
        let now = self.counters();
        self.counted = Counters {
            packets: now.packets.saturating_sub(self.at_start.packets),
            dropped: now.dropped.saturating_sub(self.at_start.dropped),
        };
        // Interfaces without a link of their own, as lo, say "unknown".
        match self.read("operstate").as_deref() {
            Some("up" | "unknown") => State::Up,
            _ => State::Down,
        }
    }

    /// Since [`Interface::open`], as of the last look at which it was there.
    pub fn counted(&self) -> Counters {
        self.counted
    }

    fn counters(&self) -> Counters {
        let number = |name: &str| self.number(&format!("statistics/{name}")).unwrap_or(0);
        Counters { packets: number("rx_packets"), dropped: number("rx_dropped") + number("rx_missed_errors") }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.read(name)?.parse().ok()
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.join(name)).ok().map(|text| text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(sys: &Path, files: &[(&str, &str)]) {
        let folder = sys.join("class/net/span0");
        std::fs::create_dir_all(folder.join("statistics")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn an_interface_counts_from_its_opening_until_it_goes() {
        let sys = tempfile::tempdir().unwrap();
        let counters = |packets, dropped, missed| {
            let names = ["statistics/rx_packets", "statistics/rx_dropped", "statistics/rx_missed_errors"];
            let files: Vec<_> = names.into_iter().zip([packets, dropped, missed]).collect();
            write(sys.path(), &files);
        };
        write(sys.path(), &[("ifindex", "7"), ("operstate", "up")]);
        counters("100", "1", "2");
        let mut interface = Interface::open(sys.path(), "span0");
        assert_eq!((interface.look(), interface.counted()), (State::Up, Counters::default()));

        counters("150", "4", "6");
        let counted = Counters { packets: 50, dropped: 7 };
        assert_eq!((interface.look(), interface.counted()), (State::Up, counted));
        for (word, state) in
            [("down", State::Down), ("unknown", State::Up), ("lowerlayerdown", State::Down), ("up", State::Up)]
        {
            write(sys.path(), &[("operstate", word)]);
            assert_eq!(interface.look(), state, "{word}");
        }
        // Another one of the same name.
        write(sys.path(), &[("ifindex", "8")]);
        counters("0", "0", "0");
        assert_eq!((interface.look(), interface.counted()), (State::Gone, counted));
        std::fs::remove_dir_all(sys.path().join("class/net/span0")).unwrap();
        assert_eq!((interface.look(), interface.counted()), (State::Gone, counted));
    }

    #[test]
    fn an_interface_that_never_was_is_gone() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(Interface::open(sys.path(), "span0").look(), State::Gone);
    }
}
