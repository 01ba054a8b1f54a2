//! Meter and detector together over bursts of every shape, at looks of every real length: what stays under its threshold
//! within every window is no attack, and what is above it within every window is one.

use super::*;
use crate::attack::Now;
use crate::detector::{Detector, Settings, Tap};
use crate::mitigation::Limits;
use crate::whitelist::Whitelist;

const THRESHOLD: u64 = 100;
const CHECK_US: u64 = 100_000;
const SECOND_US: u64 = 1_000_000;
const HOUR_US: u64 = 3600 * SECOND_US;

const SETTINGS: Settings = Settings {
    window_ms: SECOND_US / 1000,
    check_period_ms: CHECK_US / 1000,
    capture_packets: 500,
    capture_timeout_ms: 120_000,
    captures_max: 256,
    threshold_specific_ban_details: false,
    ban_time_ms: 10_000,
    ban_time_max_ms: 30_000,
    rule_idle_ms: 60_000,
    probation_ms: 60_000,
    unban_only_if_attack_finished: true,
    tap: Tap::BeforeRouter,
    attacks_max: 100,
    limits: Limits { rules_per_target: 3, rules_in_all: 100, blackholes_in_all: 10, dry_run: false },
};

/// Any numbers, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// Sends bursts for ever: waits for a gap of so many microseconds, from and to, sends so many packets at once, and so on.
struct Sender {
    host: IpAddr,
    bursts: Vec<(u64, u64, u32)>,
    turn: usize,
    next_us: u64,
}

impl Sender {
    fn packets_before(&mut self, end_us: u64, random: &mut Random) -> u32 {
        let mut sent = 0;
        while self.next_us < end_us {
            sent += self.bursts[self.turn].2;
            self.turn = (self.turn + 1) % self.bursts.len();
            let (from, to, _) = self.bursts[self.turn];
            self.next_us += from + random.below(to - from + 1);
        }
        sent
    }
}

/// One sender of each shape, with `packets` in every window of a second: with `more`, at least as many, else at most.
fn senders(packets: u32, more: bool, random: &mut Random) -> Vec<Sender> {
    let (half, third) = (packets / 2, packets / 3);
    let steady = if more { SECOND_US / u64::from(packets) } else { SECOND_US.div_ceil(packets.into()) };
    let wandering = if more { (SECOND_US / 2, SECOND_US) } else { (SECOND_US, SECOND_US * 3 / 2) };
    let shapes = [
        vec![(SECOND_US, SECOND_US, packets)],
        vec![(SECOND_US / 2, SECOND_US / 2, half), (SECOND_US / 2, SECOND_US / 2, packets - half)],
        vec![(40_000, 40_000, third), (SECOND_US - 40_000, SECOND_US - 40_000, packets - third)],
        vec![(steady, steady, 1)],
        vec![(wandering.0, wandering.1, packets)],
    ];
    let sender = |(bursts, index)| {
        let host = IpAddr::from([198, 18, 0, index]);
        Sender { host, bursts, turn: 0, next_us: 1 + random.below(SECOND_US) }
    };
    shapes.into_iter().zip(1..).map(sender).collect()
}

/// A meter and a detector over two workers, and the clock that they are looked at with.
struct World {
    rig: Rig,
    detector: Detector,
    random: Random,
    now_us: u64,
    due_us: u64,
    /// From look to look.
    period_us: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let group = group("default", &[], thresholds(&[(Kind::Udp, Unit::Pps, THRESHOLD)]));
        let rig = Rig::new(2, &["198.18.0.0/24"], vec![group]);
        let detector = Detector::new(SETTINGS, Arc::new(Whitelist::default()));
        // Ten looks, or nine and a bit: some periods never make up a window.
        let period_us = CHECK_US + seed % 5 * 1000;
        World { rig, detector, random: Random(seed), now_us: 0, due_us: 0, period_us }
    }

    /// When the next look is: some milliseconds late, now and then far too late, and often as badly placed as can be, right
    /// before a burst or right behind it.
    fn next_look(&mut self, stalls: bool, senders: &[Sender]) -> u64 {
        self.due_us = self.due_us.max(self.now_us.saturating_sub(self.period_us)) + self.period_us;
        let mut look_us = self.due_us.max(self.now_us + 1) + self.random.below(8_000);
        if stalls && self.random.one_in(500) {
            look_us += self.random.below(5 * SECOND_US / 2);
        }
        let near = senders.iter().map(|sender| sender.next_us).find(|next_us| next_us.abs_diff(look_us) < 40_000);
        match near.filter(|next_us| *next_us > self.now_us && self.random.one_in(2)) {
            Some(burst_us) => burst_us + self.random.below(2),
            None => look_us,
        }
    }

    /// Traffic until the next look, and that look. Whether anything came of it.
    fn go_on(&mut self, stalls: bool, senders: &mut [Sender]) -> bool {
        let look_us = self.next_look(stalls, senders);
        for (index, sender) in senders.iter_mut().enumerate() {
            let packets = sender.packets_before(look_us, &mut self.random);
            let share = packets / 3 * (index as u32 % 2);
            self.rig.count(0, Traffic::udp(sender.host, share));
            self.rig.count(1, Traffic::udp(sender.host, packets - share));
        }
        let seconds = (look_us - self.now_us) as f64 / 1e6;
        self.now_us = look_us;
        self.rig.meter.follow(self.detector.followed(), self.detector.apart());
        let observed = self.rig.look(seconds).observed;
        let now = Now { mono_ms: look_us / 1000, wall_ms: (look_us / 1000) as i64 };
        !self.detector.tick(now, seconds, &observed).is_empty()
    }
}

#[test]
fn an_hour_of_bursts_under_the_threshold_in_every_window_is_no_attack() {
    let mut world = World::new(7);
    let mut senders = senders(95, false, &mut world.random);
    let (mut followed, mut looks) = (0, 0);
    while world.now_us < HOUR_US {
        assert!(
            !world.go_on(true, &mut senders),
            "after {} s: {:?}",
            world.now_us / SECOND_US,
            world.detector.attacks().next()
        );
        followed += usize::from(world.detector.followed().next().is_some());
        looks += 1;
    }
    assert!(looks > 30_000 && followed > looks / 2, "bursts are looked at closer: {followed} of {looks}");
}

#[test]
fn what_is_over_the_threshold_in_every_window_is_always_found() {
    let mut slowest_us = 0;
    for seed in 1..=60 {
        let mut world = World::new(seed);
        let mut senders = senders(105, true, &mut world.random);
        let mut begun: BTreeMap<IpAddr, u64> = senders.iter().map(|sender| (sender.host, sender.next_us)).collect();
        while world.now_us < 6 * SECOND_US && !begun.is_empty() {
            world.go_on(false, &mut senders);
            for attack in world.detector.attacks() {
                if let Some(begun_us) = begun.remove(&attack.target.prefix.addr()) {
                    slowest_us = slowest_us.max(world.now_us - begun_us);
                }
            }
        }
        assert!(begun.is_empty(), "never found, with seed {seed}: {begun:?}");
    }
    // Three windows and a look; a look may come 50 ms late here.
    assert!(slowest_us < 3_200_000, "{slowest_us} µs");
}
