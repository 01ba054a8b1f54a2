//! The newest frame that could not be parsed, of each reason.

use dataplane::packet::Unparsed;
use dataplane::tap::Sample;

use super::clock::Stamp;

/// A frame that could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// When it came, wall-clock milliseconds.
    pub time_ms: i64,
    /// The core of the worker that it came to.
    pub core: usize,
    /// The place of its queue among that worker's.
    pub queue: usize,
    /// Length of the whole frame in bytes.
    pub frame_len: u32,
    /// Its first bytes.
    pub data: Vec<u8>,
}

/// The newest one of each reason, by [`Unparsed`].
#[derive(Clone, Debug, Default)]
pub struct Examples([Option<Example>; Unparsed::COUNT]);

impl Examples {
    /// Whether this sample of the worker on `core` is an example; if so, keeps it.
    pub(super) fn take(&mut self, core: usize, sample: &Sample, clock: Stamp) -> bool {
        let Some((reason, queue)) = sample.unparsed() else { return false };
        self.keep(
            reason,
            Example {
                time_ms: clock.wall_us_at(sample.tsc) / 1_000,
                core,
                queue: queue.into(),
                frame_len: sample.frame_len,
                data: sample.data().to_vec(),
            },
        );
        true
    }

    /// Workers' rings are emptied one after the other, so that what comes last need not be the newest.
    fn keep(&mut self, reason: Unparsed, example: Example) {
        let kept = &mut self.0[reason as usize];
        if kept.as_ref().is_none_or(|kept| kept.time_ms <= example.time_ms) {
            *kept = Some(example);
        }
    }

    /// The newest one of this reason.
    pub fn get(&self, reason: Unparsed) -> Option<&Example> {
        self.0[reason as usize].as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_reason_stays() {
        let mut examples = Examples::default();
        let example = |time_ms, core| Example { time_ms, core, queue: 0, frame_len: 60, data: vec![1] };
        for (reason, time_ms, core) in [
            (Unparsed::NotIp, 10, 1),
            (Unparsed::BadIpv4, 5, 1),
            (Unparsed::NotIp, 12, 1),
            (Unparsed::NotIp, 11, 2),
            (Unparsed::BadIpv4, 5, 2),
        ] {
            examples.keep(reason, example(time_ms, core));
        }
        assert_eq!(examples.get(Unparsed::NotIp), Some(&example(12, 1)));
        assert_eq!(examples.get(Unparsed::BadIpv4), Some(&example(5, 2)));
        assert_eq!(Unparsed::ALL.iter().filter(|reason| examples.get(**reason).is_some()).count(), 2);
    }

    #[test]
    fn an_example_is_taken_from_a_worker_and_other_samples_are_not() {
        let mut examples = Examples::default();
        let clock = Stamp { wall_us: 90_000_000, tsc: 7_000, tsc_hz: 1_000 };
        assert!(!examples.take(3, &Sample::new(1, 5_000, &[2; 60], 60), clock));
        assert!(examples.take(3, &Sample::example(Unparsed::NotIp, 1, 5_000, &[2; 200], 9_000), clock));
        let taken = examples.get(Unparsed::NotIp).expect("an example");
        assert_eq!((taken.core, taken.queue, taken.frame_len, taken.data.len()), (3, 1, 9_000, 128));
        assert_eq!(taken.time_ms, 88_000, "two seconds ago");
    }
}
