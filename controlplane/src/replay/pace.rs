//! From time stamps, which may say anything, to a time that never goes back. Pure.

/// Packets may be so much older than one before them: several queues were captured, or files merged.
const LATE_MAX_US: i64 = 1_000_000;
/// A longer silence tells no more than this one.
const SILENCE_MAX_US: i64 = 400 * 86_400 * 1_000_000;
/// Time goes no further, whatever stamps say: far beyond what any file that means it has, and nothing overflows.
const MONO_MAX_US: u64 = 1 << 61;
/// A silence that is worth a word.
const GAP_US: i64 = 3_600 * 1_000_000;
/// Where stamps jumped back so often, such silences are no longer believed: each costs some looks.
const SET_BACK_MAX: u64 = 100;

/// A moment of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// Microseconds since the start; never less than before.
    pub(super) mono_us: u64,
    /// What the time stamps say, microseconds since 1970 UTC.
    pub(super) wall_us: i64,
}

/// What was odd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Oddities {
    /// Packets with a time stamp a little before another's that came earlier, and by how much at most.
    pub(super) late: u64,
    pub(super) late_us: i64,
    /// How often the clock was set back, and by how much at most.
    pub(super) set_back: u64,
    pub(super) set_back_us: i64,
    /// How often nothing came for more than an hour, and the longest time.
    pub(super) gaps: u64,
    pub(super) gap_us: i64,
}

/// Where the replay is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    now: Option<Moment>,
    pub(super) odd: Oddities,
}

impl Pace {
    /// When a packet with this time stamp came. One that is a little late came now; where stamps jump back further, the
    /// clock was set back, and time goes on from there.
    pub(super) fn at(&mut self, stamp_us: i64) -> Moment {
        let Some(before) = self.now else {
            return *self.now.insert(Moment { mono_us: 0, wall_us: stamp_us });
        };
        let odd = &mut self.odd;
        let ahead_us = stamp_us.saturating_sub(before.wall_us);
        let now = if ahead_us >= 0 {
            let mut on_us = ahead_us.min(SILENCE_MAX_US);
            if ahead_us >= GAP_US {
                odd.gaps += 1;
                odd.gap_us = odd.gap_us.max(ahead_us);
                on_us = if odd.set_back > SET_BACK_MAX { 0 } else { on_us };
            }
            let mono_us = before.mono_us.saturating_add(on_us as u64).min(MONO_MAX_US);
            Moment { mono_us, wall_us: stamp_us }
        } else if ahead_us >= -LATE_MAX_US {
            odd.late += 1;
            odd.late_us = odd.late_us.max(-ahead_us);
            before
        } else {
            odd.set_back += 1;
            odd.set_back_us = odd.set_back_us.max(ahead_us.saturating_neg());
            Moment { wall_us: stamp_us, ..before }
        };
        self.now = Some(now);
        now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn time_goes_on_whatever_stamps_say() {
        let mut pace = Pace::default();
        let at = [100 * S, 101 * S, 100 * S + 5, 102 * S, 50 * S, 51 * S, 4_000_000_000 * S, 52 * S, 53 * S];
        let mono: Vec<u64> = at.iter().map(|&stamp| pace.at(stamp).mono_us / S as u64).collect();
        let far = 3 + SILENCE_MAX_US as u64 / S as u64;
        assert_eq!(mono, [0, 1, 1, 2, 2, 3, far, far, far + 1]);
        assert_eq!((pace.odd.late, pace.odd.late_us), (1, S - 5));
        assert_eq!((pace.odd.set_back, pace.odd.gaps), (2, 1));
        assert_eq!(pace.odd.set_back_us, (4_000_000_000 - 52) * S);
    }

    #[test]
    fn stamps_that_jump_for_ever_are_no_longer_believed() {
        let mut pace = Pace::default();
        let ends: Vec<u64> = (0..10_000).map(|number| pace.at(number % 2 * 4_000_000_000 * S).mono_us).collect();
        let silences = ends.iter().zip(&ends[1..]).filter(|(before, now)| now > before).count();
        assert_eq!(silences as u64, SET_BACK_MAX + 1);
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_never_overflows(stamps in prop::collection::vec(any::<i64>(), 0..50)) {
            let (mut pace, mut before) = (Pace::default(), 0);
            for stamp in stamps {
                let now = pace.at(stamp);
                prop_assert!(now.mono_us >= before);
                before = now.mono_us;
            }
        }
    }
}
