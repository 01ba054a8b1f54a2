//! Rules that may have cost a router its session: what was announced just before one fell is held back, and tried again later. What
//! came alone is what the router dislikes. Of several all are held back at first, and tried a few at a time once the router is
//! back, until one of them is found: the others stand again. Time is an argument.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::path::Announcement;

/// A router says no at once; this leaves time for an engine that is busy.
const JUST_BEFORE: Duration = Duration::from_secs(3);
/// A rule that stands for so long while the sessions are up is innocent.
const SETTLED: Duration = Duration::from_secs(3);
/// A router that is not back by then is waited for no more. BIRD stays away for two minutes.
const BACK_BY: Duration = Duration::from_secs(180);
/// A rule that came alone is tried once more after this time: the session may have fallen for another reason.
const RETRY: Duration = Duration::from_secs(3600);
/// Announcements that are remembered; of more, the newest.
const RECENT_MAX: usize = 10_000;

/// What is known of routers' dislikes.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    recent: VecDeque<(Instant, Announcement)>,
    held_back: HashMap<Announcement, Suspicion>,
    /// Routers whose sessions fell, and that are not back.
    away: BTreeSet<String>,
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

impl Suspects {
    /// This was announced.
    pub(super) fn announced(&mut self, now: Instant, announcement: &Announcement) {
        self.forget_old(now);
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, announcement.clone()));
    }

    /// The session with a router fell. How many rules are held back for it.
    pub(super) fn fell(&mut self, now: Instant, router: &str) -> usize {
        self.forget_old(now);
        if self.recent.is_empty() {
            return 0;
        }
        let alone = self.recent.len() == 1;
        let not_before = if alone { now + RETRY } else { now };
        let others = if alone { String::new() } else { format!(" and {} others", self.recent.len() - 1) };
        let found = self.recent.len();
        for (at, announcement) in self.recent.drain(..) {
            let millis = now.duration_since(at).as_millis();
            let why = format!("held back: the session with {router} fell {millis} ms after this rule{others} went out");
            self.held_back.insert(announcement, Suspicion { why, not_before });
        }
        self.away.insert(router.to_owned());
        self.last_fall = Some(now);
        (self.trial, self.at_once) = (None, 1);
        found
    }

    /// The session with a router is up.
    pub(super) fn is_up(&mut self, router: &str) {
        self.away.remove(router);
    }

    /// Whether something may be tried again, or was: then look at what stands.
    pub(super) fn go_on(&mut self, now: Instant) -> bool {
        let Some(last_fall) = self.last_fall.filter(|_| !self.held_back.is_empty()) else { return false };
        let waited = now.duration_since(last_fall);
        if waited < SETTLED || !self.away.is_empty() && waited < BACK_BY {
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

    /// Forgets what is not wanted any more.
    pub(super) fn keep(&mut self, is_wanted: impl Fn(&Announcement) -> bool) {
        self.held_back.retain(|announcement, _| is_wanted(announcement));
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
        assert_eq!(suspects.fell(at(10), ROUTER), 0, "nothing came just before");
        suspects.announced(at(20), &all[1]);
        assert_eq!(suspects.fell(at(21), ROUTER), 1);
        assert!(suspects.why(&all[1]).unwrap().contains("192.0.2.2 fell 1000 ms after"));
        assert_eq!(suspects.why(&all[0]), None);
        assert_eq!(suspects.fell(at(21), ROUTER), 0);
        suspects.is_up(ROUTER);
        assert!(!suspects.go_on(at(600)), "it is tried again much later");
        assert!(suspects.go_on(at(21) + RETRY));
        assert!(suspects.is_empty());
    }

    #[test]
    fn of_many_the_one_is_found_and_the_others_stand_again() {
        for guilty in 0..20 {
            let all = announcements(20);
            let mut now = Instant::now();
            let mut suspects = Suspects::default();
            let mut standing = Vec::new();
            let mut falls = 0;
            for _ in 0..200 {
                // As a session does: what is not held back goes out; the router falls at the guilty one, and is back soon.
                for announcement in &all {
                    if suspects.why(announcement).is_none() && !standing.contains(announcement) {
                        standing.push(announcement.clone());
                        suspects.announced(now, announcement);
                    }
                }
                if standing.contains(&all[guilty]) {
                    falls += 1;
                    assert!(suspects.fell(now, ROUTER) > 0);
                    standing.retain(|announcement| suspects.why(announcement).is_none());
                    suspects.is_up(ROUTER);
                }
                now += SETTLED;
                suspects.go_on(now);
            }
            assert_eq!(standing.len(), 19, "{guilty}");
            assert!(suspects.why(&all[guilty]).is_some());
            assert!(falls <= 1 + 5, "{falls} falls to find {guilty}");
        }
    }

    #[test]
    fn a_router_that_is_away_is_waited_for_but_not_for_ever() {
        let start = Instant::now();
        let all = announcements(2);
        let mut suspects = Suspects::default();
        all.iter().for_each(|announcement| suspects.announced(start, announcement));
        assert_eq!(suspects.fell(start, ROUTER), 2);
        assert!(!suspects.go_on(start + BACK_BY - Duration::from_millis(1)));
        assert!(suspects.go_on(start + BACK_BY));
    }

    #[test]
    fn what_is_wanted_no_more_is_forgotten() {
        let (now, all) = (Instant::now(), announcements(1));
        let mut suspects = Suspects::default();
        suspects.announced(now, &all[0]);
        suspects.fell(now, ROUTER);
        suspects.keep(|_| false);
        assert!(suspects.is_empty());
    }
}
