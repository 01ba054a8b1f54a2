//! Rules that may have cost a router its session: what was announced just before one fell is held back, and tried again later. What
//! came alone is what the router dislikes. Of several all are held back at first, and tried a few at a time once the router is
//! back, until one of them is found: the others stand again. A router that falls again and again as soon as it is back dislikes
//! something of what it is sent then: the newer half of what stands is held back, and of what is left, until it stays. Time is an argument.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::path::Announcement;

/// A router says no at once; this leaves time for an engine that is busy.
const JUST_BEFORE: Duration = Duration::from_secs(3);
/// A rule that stands for so long while the sessions are up is innocent.
const SETTLED: Duration = Duration::from_secs(3);
/// So many falls in a row just after a router came up are its answer to what it was sent.
const QUICK_FALLS: u32 = 3;
/// A router that is not back by then is waited for no more. BIRD stays away for two minutes.
const BACK_BY: Duration = Duration::from_secs(180);
/// A rule that came alone is tried once more after this time: the session may have fallen for another reason.
const RETRY_FIRST: Duration = Duration::from_secs(60);
/// Where it fell again, after this.
const RETRY: Duration = Duration::from_secs(3600);
/// Announcements that are remembered; of more, the newest.
const RECENT_MAX: usize = 10_000;

/// What is known of routers' dislikes.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    recent: VecDeque<(Instant, Announcement)>,
    held_back: HashMap<Announcement, Suspicion>,
    /// How often a session fell over what is wanted still.
    falls: HashMap<Announcement, u32>,
    routers: BTreeMap<String, Router>,
    last_fall: Option<Instant>,
    /// Since when those that are tried stand.
    trial: Option<Instant>,
    /// How many are tried at once; doubled as long as nothing falls.
    at_once: usize,
}

#[derive(Debug)]
struct Suspicion {
    why: String,
    not_before: Instant,
}

#[derive(Debug, Default)]
struct Router {
    up_since: Option<Instant>,
    /// It fell, rules are held back for it, and it is not back.
    awaited: bool,
    /// In a row.
    quick_falls: u32,
    /// It falls also without any rule: none is to blame, until it stays up for once.
    acquits: bool,
}

impl Router {
    /// Whether its rules are as they were when it fell last.
    fn is_settled(&self, now: Instant) -> bool {
        !self.awaited && (self.acquits || self.up_since.is_none_or(|since| now.duration_since(since) >= SETTLED))
    }
}

impl Suspects {
    /// This was announced.
    pub(super) fn announced(&mut self, now: Instant, announcement: &Announcement) {
        self.forget_old(now);
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, announcement.clone()));
    }

    /// The session with a router fell, while these stood, the newest last. How many of them are held back for it.
    pub(super) fn fell(&mut self, now: Instant, name: &str, standing: &[Announcement]) -> usize {
        self.forget_old(now);
        let router = self.routers.entry(name.to_owned()).or_default();
        let was_up = router.up_since.take().map(|since| now.duration_since(since));
        let is_quick = was_up.is_some_and(|was_up| was_up < SETTLED);
        router.quick_falls = if is_quick { router.quick_falls + 1 } else { 0 };
        router.acquits &= is_quick;
        let falls_always = router.quick_falls >= QUICK_FALLS;
        let (suspects, how): (Vec<Announcement>, String) = if router.acquits {
            return 0;
        } else if let Some((first, _)) = self.recent.front() {
            let how = format!("fell {} ms after", now.duration_since(*first).as_millis());
            (self.recent.drain(..).map(|(_, announcement)| announcement).collect(), how)
        } else if falls_always {
            router.acquits = standing.is_empty();
            (standing[standing.len() / 2..].to_vec(), "falls as soon as it is up, since".to_owned())
        } else {
            return 0;
        };
        if suspects.is_empty() {
            return 0;
        }
        router.awaited = true;
        let others = if suspects.len() == 1 { String::new() } else { format!(" and {} others", suspects.len() - 1) };
        let why = format!("held back: the session with {name} {how} this rule{others} went out");
        self.hold_back(now, suspects, &why)
    }

    fn hold_back(&mut self, now: Instant, suspects: Vec<Announcement>, why: &str) -> usize {
        let (alone, found) = (suspects.len() == 1, suspects.len());
        for announcement in suspects {
            let falls = self.falls.entry(announcement.clone()).or_default();
            *falls += 1;
            let not_before = match (alone, *falls) {
                (false, _) => now,
                (true, 1) => now + RETRY_FIRST,
                (true, _) => now + RETRY,
            };
            self.held_back.insert(announcement, Suspicion { why: why.to_owned(), not_before });
        }
        self.last_fall = Some(now);
        (self.trial, self.at_once) = (None, 1);
        found
    }

    /// The session with a router is up.
    pub(super) fn is_up(&mut self, now: Instant, name: &str) {
        let router = self.routers.entry(name.to_owned()).or_default();
        router.up_since.get_or_insert(now);
        router.awaited = false;
    }

    /// Whether something may be tried again, or was: then look at what stands.
    pub(super) fn go_on(&mut self, now: Instant) -> bool {
        let Some(last_fall) = self.last_fall.filter(|_| !self.held_back.is_empty()) else { return false };
        let waited = now.duration_since(last_fall);
        let all_are_settled = self.routers.values().all(|router| router.is_settled(now));
        if waited < SETTLED || !all_are_settled && waited < BACK_BY {
            return false;
        }
        match self.trial {
            Some(since) if now.duration_since(since) < SETTLED => return false,
            Some(_) => self.at_once = self.at_once.saturating_mul(2),
            None => {}
        }
        let due = self.held_back.iter().filter(|(_, suspicion)| suspicion.not_before <= now);
        let tried: Vec<Announcement> = due.take(self.at_once).map(|(announcement, _)| announcement.clone()).collect();
        tried.iter().for_each(|announcement| drop(self.held_back.remove(announcement)));
        self.trial = (!tried.is_empty()).then_some(now);
        !tried.is_empty()
    }

    /// Why it is held back, if it is.
    pub(super) fn why(&self, announcement: &Announcement) -> Option<&str> {
        self.held_back.get(announcement).map(|suspicion| suspicion.why.as_str())
    }

    /// Whether there is anything to go on with.
    pub(super) fn is_empty(&self) -> bool {
        self.held_back.is_empty()
    }

    /// It was held back already before this daemon was started, and is until then.
    pub(super) fn restore(&mut self, now: Instant, announcement: &Announcement, why: &str, not_before: Instant) {
        self.falls.insert(announcement.clone(), 1);
        self.held_back.insert(announcement.clone(), Suspicion { why: why.to_owned(), not_before });
        (self.last_fall, self.at_once) = (Some(now), 1);
    }

    /// What is held back for long, why, and until when.
    pub(super) fn for_long(&self, now: Instant) -> impl Iterator<Item = (&Announcement, &str, Instant)> {
        let held_back = self.held_back.iter().filter(move |(_, suspicion)| suspicion.not_before > now);
        held_back.map(|(announcement, suspicion)| (announcement, suspicion.why.as_str(), suspicion.not_before))
    }

    /// Forgets what is not wanted any more.
    pub(super) fn keep(&mut self, is_wanted: impl Fn(&Announcement) -> bool) {
        self.held_back.retain(|announcement, _| is_wanted(announcement));
        self.falls.retain(|announcement, _| is_wanted(announcement));
    }

    fn forget_old(&mut self, now: Instant) {
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) >= JUST_BEFORE) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use dataplane::rule::{Action, FlowRule};

    use super::super::{Engine, Mark};
    use super::*;

    const ROUTER: &str = "192.0.2.2";

    fn announcements(count: u8) -> Vec<Announcement> {
        let engine = Engine::new("edge", "unix:///nowhere", Mark([64_512, 7_653, 1]));
        let rule = |host| FlowRule {
            destination: Some(format!("198.18.0.{host}/32").parse().unwrap()),
            ..FlowRule::default()
        };
        (1..=count).map(|host| Announcement::new(&rule(host), &Action::Discard, &engine).unwrap()).collect()
    }

    #[test]
    fn a_rule_that_came_alone_is_held_back_and_old_ones_are_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let all = announcements(2);
        let mut suspects = Suspects::default();
        suspects.announced(at(0), &all[0]);
        assert_eq!(suspects.fell(at(10), ROUTER, &all), 0, "nothing came just before");
        suspects.announced(at(20), &all[1]);
        assert_eq!(suspects.fell(at(21), ROUTER, &all), 1);
        assert!(suspects.why(&all[1]).unwrap().contains("192.0.2.2 fell 1000 ms after"));
        assert_eq!(suspects.why(&all[0]), None);
        assert_eq!(suspects.fell(at(21), ROUTER, &all), 0);
        suspects.is_up(at(30), ROUTER);
        assert!(!suspects.go_on(at(80)), "it is tried again later");
        assert!(suspects.go_on(at(81)), "once more: the session may have fallen for another reason");
        assert!(suspects.is_empty());
        suspects.announced(at(81), &all[1]);
        assert_eq!(suspects.fell(at(82), ROUTER, &all), 1);
        suspects.is_up(at(90), ROUTER);
        assert!(!suspects.go_on(at(600)), "and then much later");
        assert!(suspects.go_on(at(82) + RETRY));
    }

    /// A router that falls over one rule, as it comes or as the router comes back to it.
    struct Picky {
        all: Vec<Announcement>,
        guilty: usize,
        suspects: Suspects,
        standing: Vec<Announcement>,
        now: Instant,
        falls: usize,
    }

    impl Picky {
        fn new(count: u8, guilty: usize) -> Picky {
            let (suspects, standing) = (Suspects::default(), Vec::new());
            let mut picky =
                Picky { all: announcements(count), guilty, suspects, standing, now: Instant::now(), falls: 0 };
            picky.suspects.is_up(picky.now, ROUTER);
            picky
        }

        fn is_unhappy(&self) -> bool {
            self.standing.contains(&self.all[self.guilty])
        }

        fn fall(&mut self) {
            self.falls += 1;
            self.suspects.fell(self.now, ROUTER, &self.standing);
            self.standing.retain(|announcement| self.suspects.why(announcement).is_none());
        }

        /// Ten minutes. As a session does: what is not held back goes out; the router falls at the guilty one, and is back soon.
        fn live(&mut self) {
            for _ in 0..200 {
                for announcement in &self.all {
                    if self.suspects.why(announcement).is_none() && !self.standing.contains(announcement) {
                        self.standing.push(announcement.clone());
                        self.suspects.announced(self.now, announcement);
                    }
                }
                if self.is_unhappy() {
                    self.fall();
                    self.now += SETTLED;
                    self.suspects.is_up(self.now, ROUTER);
                }
                self.now += SETTLED;
                self.suspects.go_on(self.now);
            }
        }
    }

    #[test]
    fn of_many_the_one_is_found_and_the_others_stand_again() {
        for guilty in 0..20 {
            let mut picky = Picky::new(20, guilty);
            picky.live();
            assert_eq!(picky.standing.len(), 19, "{guilty}");
            assert!(picky.suspects.why(&picky.all[guilty]).is_some());
            // At worst each time the last of a doubled batch; which rules are tried together is chance.
            assert!(picky.falls <= 1 + 10, "{} falls to find {guilty}", picky.falls);
        }
    }

    #[test]
    fn what_a_router_falls_over_whenever_it_comes_back_is_found_too() {
        for guilty in [0, 1, 77, 126, 199] {
            let mut picky = Picky::new(200, guilty);
            // It was fine with all of them, or was not there when they came.
            picky.standing = picky.all.clone();
            for round in 0..20 {
                picky.now += Duration::from_secs(10);
                picky.suspects.is_up(picky.now, ROUTER);
                if !picky.is_unhappy() {
                    break;
                }
                picky.now += Duration::from_millis(100);
                picky.fall();
                assert!(round >= 2 || picky.standing.len() == 200, "a fall or two may have any reason");
            }
            assert!(!picky.is_unhappy(), "no end of it: {guilty}");
            picky.now += SETTLED;
            picky.suspects.go_on(picky.now);
            picky.live();
            assert_eq!(picky.standing.len(), 199, "{guilty}");
            assert!(picky.falls <= 3 + 8 + 28, "{} falls to find {guilty}", picky.falls);
        }
    }

    #[test]
    fn a_router_that_falls_without_any_rule_costs_nobody_a_rule() {
        let start = Instant::now();
        let (all, mut suspects) = (announcements(20), Suspects::default());
        let flap = |now: Instant, suspects: &mut Suspects, standing: &[Announcement]| {
            suspects.is_up(now, ROUTER);
            suspects.fell(now + Duration::from_secs(1), ROUTER, standing)
        };
        let mut standing = all.clone();
        let held_back: Vec<usize> = (0..20)
            .map(|round| {
                let held_back = flap(start + Duration::from_secs(5 * round), &mut suspects, &standing);
                standing.truncate(standing.len() - held_back);
                held_back
            })
            .collect();
        assert_eq!(held_back[..8], [0, 0, 10, 5, 3, 1, 1, 0]);
        assert_eq!(held_back[8..], [0; 12]);
        // It is waited for no more, and blamed on nothing that comes now.
        let late = start + BACK_BY + Duration::from_secs(60);
        assert!(suspects.go_on(late));
        suspects.announced(late, &all[0]);
        assert_eq!(flap(late, &mut suspects, &all[..1]), 0);
        // Until it stays up for once.
        suspects.is_up(late, ROUTER);
        suspects.announced(late + SETTLED, &all[0]);
        assert_eq!(suspects.fell(late + SETTLED, ROUTER, &all[..1]), 1);
    }

    #[test]
    fn a_router_that_is_away_is_waited_for_but_not_for_ever() {
        let start = Instant::now();
        let all = announcements(2);
        let mut suspects = Suspects::default();
        all.iter().for_each(|announcement| suspects.announced(start, announcement));
        assert_eq!(suspects.fell(start, ROUTER, &all), 2);
        assert!(!suspects.go_on(start + BACK_BY - Duration::from_millis(1)));
        assert!(suspects.go_on(start + BACK_BY));
    }

    #[test]
    fn what_was_held_back_before_a_restart_is_until_its_time_comes() {
        let (start, all) = (Instant::now(), announcements(2));
        let mut suspects = Suspects::default();
        let until = start + Duration::from_secs(40);
        suspects.restore(start, &all[0], "it fell", until);
        let for_long = |suspects: &Suspects, now| -> Vec<(Announcement, Instant)> {
            suspects.for_long(now).map(|(announcement, _, until)| (announcement.clone(), until)).collect()
        };
        assert_eq!(
            (suspects.why(&all[0]), for_long(&suspects, start)),
            (Some("it fell"), vec![(all[0].clone(), until)])
        );
        assert!(!suspects.go_on(until - Duration::from_millis(1)) && suspects.go_on(until));
        assert_eq!((suspects.why(&all[0]), for_long(&suspects, until)), (None, vec![]));
        // Guilty again.
        suspects.announced(until, &all[0]);
        suspects.fell(until, ROUTER, &[]);
        assert_eq!(for_long(&suspects, until), [(all[0].clone(), until + RETRY)]);
    }

    #[test]
    fn what_is_wanted_no_more_is_forgotten() {
        let (now, all) = (Instant::now(), announcements(1));
        let mut suspects = Suspects::default();
        suspects.announced(now, &all[0]);
        suspects.fell(now, ROUTER, &all);
        suspects.keep(|_| false);
        assert!(suspects.is_empty());
    }
}
