//! Immutable values that control replaces and workers read: what was replaced stays in a graveyard until its last reader
//! has let go, so that no worker ever frees.

use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

/// A worker's view of a snapshot.
pub type Reader<T> = Cache<Arc<ArcSwap<T>>, Arc<T>>;

/// The current value, and those that some reader may still hold.
#[derive(Debug)]
pub struct Snapshot<T> {
    current: Arc<ArcSwap<T>>,
    graveyard: Vec<Arc<T>>,
}

impl<T> Snapshot<T> {
    /// Starts with this value.
    pub fn new(value: T) -> Snapshot<T> {
        Snapshot { current: Arc::new(ArcSwap::from_pointee(value)), graveyard: Vec::new() }
    }

    /// A reader; give one to each worker.
    pub fn reader(&self) -> Reader<T> {
        Cache::new(Arc::clone(&self.current))
    }

    /// The current value.
    pub fn get(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Puts a new value in place. Readers see it at their next burst.
    pub fn replace(&mut self, value: impl Into<Arc<T>>) {
        self.graveyard.push(self.current.swap(value.into()));
    }

    /// Drops what nobody reads any more; returns how many old values are still read.
    pub fn sweep(&mut self) -> usize {
        self.graveyard.retain(|old| Arc::strong_count(old) > 1);
        self.graveyard.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_value_stays_until_its_last_reader_moved_on() {
        let mut snapshot = Snapshot::new(1);
        let mut reader = snapshot.reader();
        assert_eq!(**reader.load(), 1);
        snapshot.replace(2);
        assert_eq!(snapshot.sweep(), 1, "the reader still holds the first");
        assert_eq!(**reader.load(), 2);
        assert_eq!(snapshot.sweep(), 0);
    }
}
