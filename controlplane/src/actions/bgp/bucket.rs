//! How many routes may be announced within a second: a token bucket, full at first. Time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// As many tokens as a second gives.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(per_second: u32, now: Instant) -> Bucket {
        Bucket { per_second: per_second.into(), tokens: per_second.into(), at: now }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + seconds * self.per_second).min(self.per_second);
        self.at = now;
        let has = self.tokens >= 1.0;
        self.tokens -= if has { 1.0 } else { 0.0 };
        has
    }

    /// How long it takes for some more tokens: a good few, where there are many a second.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_secs_f64((1.0 / self.per_second).max(0.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gives_so_many_and_no_time_more_than_these() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        let mut taken = |millis: u64| {
            let now = start + Duration::from_millis(millis);
            (0..100).filter(|_| bucket.take(now)).count()
        };
        assert_eq!([taken(0), taken(50), taken(100), taken(450), taken(60_000)], [10, 0, 1, 3, 10]);
        assert_eq!(Bucket::new(1, start).pause(), Duration::from_secs(1));
        assert_eq!(Bucket::new(1_000, start).pause(), Duration::from_millis(100));
    }
}
