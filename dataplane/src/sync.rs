//! Atomics and memory of what workers share with the control thread; under `--cfg loom` those of the explorer, so that the
//! models in `loom_tests` run the very code that ships. `scripts/loom.sh` runs them.

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    pub(crate) use crate::dpdk::{Memory, which_of};
}

#[cfg(loom)]
mod explored {
    pub(crate) use loom::sync::atomic::{Ordering, fence};

    use loom::sync::atomic::Ordering::Relaxed;

    use crate::dpdk::{Backing, Error};

    /// An atomic of loom's, and a mark beside it that is stored to at each access and never loaded, so that it orders nothing.
    /// Loom tries another order of two accesses only when they conflict and none came between them. A thread that loads
    /// what it is about to store, as ours do, hides another thread's load in that way; stores to the mark always conflict.
    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            #[allow(unreachable_pub, reason = "like std's, it is part of public types")]
            #[derive(Debug, Default)]
            pub struct $name {
                value: loom::sync::atomic::$name,
                mark: loom::sync::atomic::AtomicBool,
            }

            impl $name {
                pub(crate) fn load(&self, ordering: Ordering) -> $value {
                    self.mark.store(true, Relaxed);
                    self.value.load(ordering)
                }

                pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                    self.mark.store(true, Relaxed);
                    self.value.store(value, ordering);
                }
            }
        };
    }

    atomic!(AtomicU16, u16);
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);

    impl AtomicU32 {
        pub(crate) fn fetch_xor(&self, value: u32, ordering: Ordering) -> u32 {
            self.mark.store(true, Relaxed);
            self.value.fetch_xor(value, ordering)
        }

        pub(crate) fn fetch_update(
            &self,
            set: Ordering,
            fetch: Ordering,
            update: impl FnMut(u32) -> Option<u32>,
        ) -> Result<u32, u32> {
            self.mark.store(true, Relaxed);
            self.value.fetch_update(set, fetch, update)
        }
    }

    /// As [`crate::dpdk::Memory`], on the heap: a model makes it anew for each of many thousand runs.
    #[derive(Debug)]
    pub(crate) struct Memory<T>(Box<[T]>);

    impl<T: Default> Memory<T> {
        pub(crate) fn new(_what: &'static str, len: usize) -> Result<Memory<T>, Error> {
            Ok(Memory((0..len).map(|_| T::default()).collect()))
        }
    }

    impl<T> Memory<T> {
        pub(crate) fn as_array<const N: usize>(&self) -> Option<&[T; N]> {
            self.0.first_chunk()
        }

        pub(crate) fn prefetch(&self, _index: usize) {}

        pub(crate) fn backing(&self) -> Backing {
            Backing::Pages
        }
    }

    impl<T> std::ops::Deref for Memory<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }

    /// As [`crate::dpdk::which_of`].
    pub(crate) fn which_of<const N: usize>(pairs: &[[AtomicU64; 2]; N], pair: [u64; 2]) -> u32 {
        let is_pair = |at: usize| pairs[at].each_ref().map(|word| word.load(Relaxed)) == pair;
        (0..N).fold(0, |bits, at| bits | u32::from(is_pair(at)) << at)
    }

    /// Runs a model in every interleaving with at most three preemptions, and with every value that a load may give.
    #[cfg(test)]
    pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
        let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = std::sync::Arc::clone(&runs);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            counted.fetch_add(1, Relaxed);
            model();
        });
        assert!(runs.load(Relaxed) > 10, "hardly anything was explored: {runs:?} runs");
    }
}

#[cfg(loom)]
pub(crate) use explored::*;
#[cfg(not(loom))]
pub(crate) use real::*;
