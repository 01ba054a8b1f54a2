//! What a followed target sent or received lately, tick by tick, and its mean over the window. Pure.

use std::collections::VecDeque;

use super::Load;
use crate::attack::{Kind, Metric, Rates, Thresholds, Volumes};

/// So many windows are looked back to make sure of a crossing: see [`History::crossing`].
const WINDOWS: u64 = 3;

/// What came within one tick.
#[derive(Clone, Debug)]
struct Tick {
    micros: u64,
    all: Volumes,
    rest: Volumes,
    // What the others of its group had.
    others: Volumes,
    // Whether a threshold was exceeded within this tick alone.
    hot: bool,
}

/// The latest ticks of one target. Those that make up the window are the fewest that last at least as long as it: a mean
/// is thus always one over a real stretch of time. What was before the first tick counts as no traffic.
#[derive(Clone, Debug)]
pub(super) struct History {
    ticks: VecDeque<Tick>,
    window_micros: u64,
    /// How many ticks make up the window, how long they were, and what came within them.
    in_window: usize,
    micros: u64,
    all: Volumes,
    rest: Volumes,
    others: Volumes,
    thresholds: Thresholds,
    of_group: Thresholds,
}

impl History {
    pub(super) fn new(window_ms: u64) -> History {
        History {
            ticks: VecDeque::new(),
            window_micros: window_ms.max(1) * 1000,
            in_window: 0,
            micros: 0,
            all: Volumes::default(),
            rest: Volumes::default(),
            others: Volumes::default(),
            thresholds: Thresholds::default(),
            of_group: Thresholds::default(),
        }
    }

    /// Goes on with another window and other thresholds.
    pub(super) fn retune(&mut self, window_ms: u64, thresholds: Thresholds, of_group: Thresholds) {
        let seen = std::mem::replace(self, History::new(window_ms)).ticks;
        (self.thresholds, self.of_group) = (thresholds, of_group);
        for Tick { micros, all, rest, others, .. } in seen {
            let load = Load { thresholds: of_group, others };
            self.push(micros as f64 / 1e6, all, rest, thresholds, Some(load));
        }
    }

    /// Adds a tick with traffic, as measured against `thresholds`; of a network, also with what the others of its group had.
    pub(super) fn push(
        &mut self,
        seconds: f64,
        all: Volumes,
        rest: Volumes,
        thresholds: Thresholds,
        load: Option<Load>,
    ) {
        let Load { thresholds: of_group, others } = load.unwrap_or_default();
        (self.thresholds, self.of_group) = (thresholds, of_group);
        // Rounded up, but for what is no more than the float's own error: no tick looks shorter than it was.
        let micros = (seconds * 1e6 - 1e-3).ceil().max(1.0) as u64;
        let is_over = |thresholds: Thresholds, volumes| thresholds.worst(volumes, micros as f64 / 1e6).is_some();
        // Of all, since only later it may be known what rules match.
        let hot = is_over(thresholds, &all) || is_over(of_group, &sum(&all, &others));
        self.micros += micros;
        self.all.add(&all);
        self.rest.add(&rest);
        self.others.add(&others);
        self.in_window += 1;
        self.ticks.push_back(Tick { micros, all, rest, others, hot });
        while let Some(oldest) = self.ticks.get(self.ticks.len() - self.in_window)
            && self.micros - oldest.micros >= self.window_micros
        {
            self.micros -= oldest.micros;
            self.all = self.all.less(&oldest.all);
            self.rest = self.rest.less(&oldest.rest);
            self.others = self.others.less(&oldest.others);
            self.in_window -= 1;
        }
        self.forget_old();
    }

    /// Lets go of what is too old to tell of a crossing.
    fn forget_old(&mut self) {
        let mut micros = 0;
        let is_young = |tick: &&Tick| {
            let begins = micros;
            micros += tick.micros;
            begins < WINDOWS * self.window_micros
        };
        let young = self.ticks.iter().rev().take_while(is_young).count();
        self.ticks.drain(..self.ticks.len() - young);
    }

    /// Adds a tick without traffic.
    pub(super) fn push_silence(&mut self, seconds: f64) {
        self.push(seconds, Volumes::default(), Volumes::default(), self.thresholds, None);
    }

    /// Forgets what the rest was. What came before a rule was in force says nothing about what the rule leaves.
    pub(super) fn forget_rest(&mut self) {
        self.rest = Volumes::default();
        for tick in &mut self.ticks {
            tick.rest = Volumes::default();
            tick.hot = false;
        }
    }

    /// Takes out what a part of the target had, tick by tick from the latest one: it counts apart from now on.
    pub(super) fn without_part(&mut self, part: &History) {
        for (tick, part) in self.ticks.iter_mut().rev().zip(part.ticks.iter().rev()) {
            (tick.all, tick.rest) = (tick.all.less(&part.all), tick.rest.less(&part.all));
        }
        self.sum_up();
    }

    /// The same for one of the others of its group.
    pub(super) fn without_other(&mut self, other: &History) {
        for (tick, other) in self.ticks.iter_mut().rev().zip(other.ticks.iter().rev()) {
            tick.others = tick.others.less(&other.all);
        }
        self.sum_up();
    }

    fn sum_up(&mut self) {
        let sum = |pick: fn(&Tick) -> &Volumes| {
            let mut sum = Volumes::default();
            self.ticks.iter().rev().take(self.in_window).for_each(|tick| sum.add(pick(tick)));
            sum
        };
        (self.all, self.rest, self.others) = (sum(|tick| &tick.all), sum(|tick| &tick.rest), sum(|tick| &tick.others));
    }

    fn seconds(&self) -> f64 {
        self.micros.max(self.window_micros) as f64 / 1e6
    }

    /// The threshold that the mean of the rest exceeds most, its value, and the mean: of the target by itself, or else of its
    /// group.
    pub(super) fn crossing(&self) -> Option<(Metric, u64, f64)> {
        self.own_crossing().or_else(|| self.group_crossing())
    }

    /// The same for the target by itself.
    pub(super) fn own_crossing(&self) -> Option<(Metric, u64, f64)> {
        let rest = self.rest.with_flows_of(&self.all);
        self.certain(&self.thresholds, &rest, |tick| tick.rest.with_flows_of(&tick.all))
    }

    /// The same for the rest together with the others of its group.
    pub(super) fn group_crossing(&self) -> Option<(Metric, u64, f64)> {
        let together = sum(&self.rest, &self.others);
        self.certain(&self.of_group, &together, |tick| sum(&tick.rest, &tick.others))
            .filter(|_| self.rest.total().0 > 0)
    }

    /// What `volumes`, those of `pick` within the window, exceed most of these thresholds; only of those that some whole window
    /// did exceed for certain. The ticks are a little longer than the window, and may so hold two bursts that are a window
    /// apart, of which each window holds one.
    fn certain(
        &self,
        thresholds: &Thresholds,
        volumes: &Volumes,
        pick: impl Fn(&Tick) -> Volumes,
    ) -> Option<(Metric, u64, f64)> {
        thresholds.worst(volumes, self.seconds())?;
        self.exceeded_for_certain(thresholds, pick).worst(volumes, self.seconds())
    }

    /// The thresholds that no sequence of windows below them explains: the latest ticks fit into so many windows, and hold
    /// more than so many windows may. One window tells at once of what is well above a threshold, and more of them tell of
    /// a lasting excess, however small beside a tick.
    fn exceeded_for_certain(&self, thresholds: &Thresholds, pick: impl Fn(&Tick) -> Volumes) -> Thresholds {
        let mut exceeded = Thresholds::default();
        let (mut micros, mut volumes) = (0, Volumes::default());
        let mut ticks = self.ticks.iter().rev().peekable();
        let windows_of = |micros: u64| micros.div_ceil(self.window_micros);
        while let Some(tick) = ticks.next() {
            micros += tick.micros;
            volumes.add(&pick(tick));
            let windows = windows_of(micros);
            let another_fits = ticks.peek().is_some_and(|older| windows_of(micros + older.micros) == windows);
            if !another_fits {
                let seconds = (windows * self.window_micros) as f64 / 1e6;
                for (metric, value, _) in thresholds.exceeded(&volumes, seconds) {
                    exceeded.set(metric, value);
                }
            }
        }
        exceeded
    }

    /// Of these thresholds the one that the mean of everything exceeds most, its value, and the mean.
    pub(super) fn over(&self, thresholds: &Thresholds) -> Option<(Metric, u64, f64)> {
        self.certain(thresholds, &self.all, |tick| tick.all)
    }

    /// Whether the mean of everything exceeds any threshold.
    pub(super) fn is_over(&self) -> bool {
        let of_group = || self.of_group.worst(&sum(&self.all, &self.others), self.seconds());
        self.thresholds.worst(&self.all, self.seconds()).or_else(of_group).is_some()
    }

    /// Whether a crossing can still come of these ticks: a mean exceeds a threshold only if some tick did.
    pub(super) fn is_hot(&self) -> bool {
        self.ticks.iter().rev().take(self.in_window).any(|tick| tick.hot)
    }

    /// By what factor the mean of the rest exceeds the threshold that it exceeds most; 0 if none.
    pub(super) fn factor(&self) -> f64 {
        self.crossing().map_or(0.0, |(_, threshold, measured)| measured / threshold.max(1) as f64)
    }

    /// What kinds of traffic are over a threshold of the target's own, that of the one that was crossed first. Of a threshold on
    /// everything it is what most of the traffic is.
    pub(super) fn kinds(&self, crossed: Metric) -> Vec<Kind> {
        let mut kinds = vec![self.kind_of(crossed)];
        for kind in self.kinds_over() {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// The same in no order, some perhaps twice.
    pub(super) fn kinds_over(&self) -> impl Iterator<Item = Kind> {
        self.thresholds.exceeded(&self.all, self.seconds()).map(|(metric, ..)| self.kind_of(metric))
    }

    fn kind_of(&self, metric: Metric) -> Kind {
        match metric.kind {
            Kind::Total | Kind::Flows => self.all.kind(metric.unit),
            kind => kind,
        }
    }

    /// Mean rates of everything.
    pub(super) fn all_rates(&self) -> Rates {
        Rates::of(&self.all, self.seconds())
    }

    /// Mean rates of the rest.
    pub(super) fn rest_rates(&self) -> Rates {
        Rates::of(&self.rest.with_flows_of(&self.all), self.seconds())
    }

    /// The rest of the latest tick, and how long it was.
    pub(super) fn latest_rest(&self) -> (Volumes, f64) {
        self.ticks.back().map_or((Volumes::default(), 0.0), |tick| (tick.rest, tick.micros as f64 / 1e6))
    }
}

fn sum(one: &Volumes, other: &Volumes) -> Volumes {
    let mut sum = *one;
    sum.add(other);
    sum
}

#[cfg(test)]
mod tests {
    use dataplane::packet::Class;

    use super::*;
    use crate::attack::{Kind, Unit};

    const UDP: Metric = Metric { kind: Kind::Udp, unit: Unit::Pps };

    fn packets(count: u64) -> Volumes {
        let mut volumes = Volumes::default();
        volumes.packets[0][Class::Udp as usize] = count;
        volumes
    }

    fn history(ticks: &[(f64, u64)]) -> History {
        let mut thresholds = Thresholds::default();
        thresholds.set(UDP, 1000);
        let mut history = History::new(1000);
        for &(seconds, count) in ticks {
            history.push(seconds, packets(count), packets(count), thresholds, None);
        }
        history
    }

    /// What a plain mean over the ticks would say.
    fn mean(history: &History) -> Option<(Metric, u64, f64)> {
        history.thresholds.worst(&history.rest, history.seconds())
    }

    #[test]
    fn a_young_history_is_a_mean_over_the_whole_window() {
        assert_eq!(history(&[(0.1, 1000)]).crossing(), None);
        assert_eq!(history(&[(0.1, 1001)]).crossing(), Some((UDP, 1000, 1001.0)));
    }

    #[test]
    fn old_ticks_leave_the_window() {
        let mut ticks = vec![(0.5, 5000), (0.5, 100), (0.5, 100)];
        let (_, _, measured) = history(&ticks[..2]).crossing().unwrap();
        assert_eq!(measured, 5100.0);
        assert!(history(&ticks[..2]).is_hot());
        assert_eq!(history(&ticks).crossing(), None);
        assert!(!history(&ticks).is_hot());
        ticks.push((0.25, 0));
        // Two ticks last 0.75 s, less than the window: three are looked at, over 1.25 s.
        assert_eq!(history(&ticks).all_rates().udp.pps, 160.0);
    }

    #[test]
    fn two_bursts_a_window_apart_are_no_crossing_however_long_the_ticks_are() {
        // Ten ticks are a little longer than a window: the burst of its beginning, and that of the next one's.
        let mut ticks = vec![(0.1001, 0); 20];
        ticks[5].1 = 950;
        ticks[14].1 = 950;
        let (_, _, mean) = mean(&history(&ticks[..15])).expect("both are within the ticks that make up the window");
        assert!(mean > 1890.0, "{mean}");
        assert!((1..=ticks.len()).all(|end| history(&ticks[..end]).crossing().is_none()));
        // Less than a window apart, they are one.
        ticks.swap(13, 14);
        assert!(history(&ticks[..14]).crossing().is_some());
    }

    #[test]
    fn a_small_excess_is_seen_in_three_windows_though_no_tick_ends_with_one() {
        // Nine ticks of 0.1001 s fit into a window, 29 into three.
        let seen = |packets: u64, ticks: usize| history(&vec![(0.1001, packets); ticks]).crossing().is_some();
        assert_eq!([8, 9].map(|ticks| seen(112, ticks)), [false, true], "1.12 times the threshold");
        assert_eq!([28, 29].map(|ticks| seen(104, ticks)), [false, true], "1.04 times the threshold");
        assert!(!(1..=60).any(|ticks| seen(100, ticks)), "0.999 times the threshold");
    }

    #[test]
    fn a_stalled_tick_counts_for_its_real_time() {
        assert_eq!(history(&[(5.0, 4000)]).crossing(), None);
        assert_eq!(history(&[(5.0, 5500)]).crossing(), Some((UDP, 1000, 1100.0)));
    }

    #[test]
    fn forgetting_the_rest_keeps_the_whole() {
        let mut history = history(&[(0.1, 2000)]);
        history.forget_rest();
        assert_eq!(history.crossing(), None);
        assert!(history.is_over());
        assert!(!history.is_hot());
        history.push_silence(1.0);
        assert!(!history.is_over());
    }
}
