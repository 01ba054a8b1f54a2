//! The time that the control thread goes by: the machine's, or that of capture files which are replayed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dataplane::dpdk;

use crate::attack::Now;

/// Packets of a replay have microseconds where workers have their time-stamp counter.
const REPLAY_HZ: u64 = 1_000_000;

/// Whose time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's, since this start.
    Machine(Instant),
    /// That of capture files.
    Replay {
        /// Microseconds since their start. Never goes back.
        mono_us: u64,
        /// What the files' time stamps say, microseconds since 1970 UTC.
        wall_us: i64,
    },
}

impl Clock {
    /// The machine's, from now on.
    pub fn machine() -> Clock {
        Clock::Machine(Instant::now())
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        match self {
            Clock::Machine(started) => started.elapsed(),
            Clock::Replay { mono_us, .. } => Duration::from_micros(*mono_us),
        }
    }

    /// Whole seconds since the start.
    pub(super) fn second(&self) -> u32 {
        self.elapsed().as_secs().try_into().unwrap_or(u32::MAX)
    }

    pub(super) fn wall_ms(&self) -> i64 {
        self.wall_us().div_euclid(1_000)
    }

    pub(super) fn now(&self) -> Now {
        Now { mono_ms: self.elapsed().as_millis() as u64, wall_ms: self.wall_ms() }
    }

    fn wall_us(&self) -> i64 {
        match self {
            Clock::Machine(_) => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
            }
            Clock::Replay { wall_us, .. } => *wall_us,
        }
    }

    /// Both clocks of a sample, read together.
    pub(super) fn stamp(&self) -> Stamp {
        let (tsc, tsc_hz) = match self {
            Clock::Machine(_) => (dpdk::tsc(), dpdk::tsc_hz()),
            Clock::Replay { mono_us, .. } => (*mono_us, REPLAY_HZ),
        };
        Stamp { wall_us: self.wall_us(), tsc, tsc_hz }
    }
}

/// The wall clock and the time-stamp counter, read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) wall_us: i64,
    pub(super) tsc: u64,
    pub(super) tsc_hz: u64,
}

impl Stamp {
    /// When the time-stamp counter stood so, in microseconds since 1970.
    pub(super) fn wall_us_at(&self, tsc: u64) -> i64 {
        let cycles = u128::from(self.tsc.saturating_sub(tsc));
        // Before DPDK has started nobody knows how long a cycle is.
        let age_us = (cycles * 1_000_000).checked_div(self.tsc_hz.into()).unwrap_or(0);
        self.wall_us.saturating_sub_unsigned(age_us as u64)
    }

    /// So many cycles, in seconds.
    pub(super) fn seconds(&self, cycles: u64) -> f64 {
        cycles as f64 / self.tsc_hz.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_back_from_now() {
        let stamp = Stamp { wall_us: 1_795_000_000_000_000, tsc: 5_000_000_000, tsc_hz: 2_000_000_000 };
        assert_eq!(stamp.wall_us_at(5_000_000_000), 1_795_000_000_000_000);
        assert_eq!(stamp.wall_us_at(3_000_000_000), 1_794_999_999_000_000);
        assert_eq!(stamp.wall_us_at(6_000_000_000), 1_795_000_000_000_000, "never in the future");
        assert!((stamp.seconds(3_000_000_000) - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_replay_goes_by_its_files() {
        let clock = Clock::Replay { mono_us: 1_500_999, wall_us: -1 };
        assert_eq!(clock.now(), Now { mono_ms: 1_500, wall_ms: -1 });
        assert_eq!((clock.second(), clock.stamp().wall_us_at(500_999)), (1, -1_000_001));
        let far = Clock::Replay { mono_us: u64::MAX, wall_us: i64::MAX };
        assert_eq!(far.second(), u32::MAX);
    }
}
