//! Which calls are due when, event by event.

use super::super::notice::{Layout, due};
use super::*;
use crate::record::Entry;
use EventKind::*;
use Layout::{Advanced, Classic, Newer};

/// An attack to which events happen, a second apart.
struct Life {
    record: AttackRecord,
    now_ms: i64,
}

impl Life {
    fn new(crossing: Option<Crossing>) -> Life {
        Life { record: record("198.18.7.7/32", &Rates::default(), crossing), now_ms: 0 }
    }

    fn note(&mut self, kind: EventKind) {
        self.record.note_down(Entry { time_ms: self.now_ms, kind: kind.as_str().into(), text: String::new() });
    }

    /// What is due of the event, in words.
    fn told(&mut self, layout: Layout, kind: EventKind) -> Vec<&'static str> {
        self.now_ms += 1_000;
        match kind {
            Ending => (self.record.state, self.record.ending_ms) = (State::Ending, Some(self.now_ms)),
            Mitigating => self.record.state = State::Mitigating,
            _ => (),
        }
        self.note(kind);
        due(layout, kind, &self.record).iter().map(|say| say.as_str()).collect()
    }
}

/// Events and what is due of each, as "detected: ban, captured, ending: unban".
fn check(layout: Layout, crossing: Option<Crossing>, story: &str) {
    let mut life = Life::new(crossing);
    for step in story.split(", ") {
        let (event, calls) = step.split_once(": ").unwrap_or((step, ""));
        let kind = serde_json::from_value(event.into()).unwrap();
        assert_eq!(life.told(layout, kind).join(" "), calls, "{layout:?}: {event} in {story}");
    }
}

#[test]
fn up_to_1_2_5_a_ban_is_told_at_once_and_details_with_the_first_capture() {
    let by_threshold = crossing(Kind::Udp, Unit::Pps);
    for story in [
        "detected: ban, waiting, captured: attack_details, mitigating, rule_wanted, rule_held, rule_withdrawn, ending: unban, ended",
        "detected: ban, captured: attack_details, mitigating, captured, rule_wanted, captured, ending: unban, ended",
        "detected: ban, false_positive: unban",
        "detected: ban, ending: unban, ended",
        // It comes back: with its rules, and without any.
        "detected: ban, captured: attack_details, mitigating, ending: unban, mitigating: ban, captured: attack_details, ending: unban, ended",
        "detected: ban, captured: attack_details, ending: unban, detected: ban, captured: attack_details, captured, ending: unban, ended",
        // A person bans what is detected already.
        "detected: ban, detected, captured: attack_details, ending: unban, ended",
        "detected: ban, alarm, changed, switched, recovered, ending: unban",
    ] {
        check(Classic, by_threshold, story);
    }
    check(Classic, None, "detected: ban, captured: attack_details, ending: unban, ended");
}

#[test]
fn since_1_2_6_a_ban_waits_for_the_sample() {
    let by_threshold = crossing(Kind::Udp, Unit::Pps);
    for story in [
        "detected, waiting, captured: ban, mitigating, rule_wanted, captured, ending: unban, ended",
        // It was none, or over before anybody could know more.
        "detected, false_positive",
        "detected, ending: ban unban, ended",
        // Rules that it had before need no sample.
        "detected, captured: ban, mitigating, ending: unban, mitigating: ban, captured, ending: unban, ended",
        "detected, captured: ban, ending: unban, detected, captured: ban, ending: unban, ended",
        "detected, mitigating: ban, ending: unban",
        // A person does not wait.
        "detected, detected: ban, captured, ending: unban, ended",
        "detected, detected: ban, detected, false_positive: unban",
    ] {
        check(Newer, by_threshold, story);
    }
    check(
        Newer,
        None,
        "detected: ban, detected, captured, mitigating, ending: unban, detected: ban, ending: unban, ended",
    );
}

#[test]
fn as_json_rules_are_told_too() {
    let by_threshold = crossing(Kind::Udp, Unit::Pps);
    check(
        Advanced,
        by_threshold,
        "detected, captured: ban, mitigating: partial_block, captured, rule_wanted: partial_block",
    );
    check(
        Advanced,
        by_threshold,
        "detected, captured: ban, ending: unban, mitigating: ban partial_block, ending: unban",
    );
    check(Advanced, by_threshold, "detected, ending: ban unban, ended");

    let mut life = Life::new(by_threshold);
    life.told(Advanced, Detected);
    life.told(Advanced, Captured);
    assert_eq!(life.told(Advanced, Mitigating), ["partial_block"]);
    life.note(RuleWanted);
    assert!(due(Advanced, RuleWanted, &life.record).is_empty(), "one call for all that were wanted together");
    life.record.rules = vec![samples::rule("198.18.7.7/32", None, life.now_ms)];
    assert_eq!(life.told(Advanced, RuleWithdrawn), ["partial_unblock"], "idle");
    life.record.state = State::Ending;
    assert!(life.told(Advanced, RuleWithdrawn).is_empty(), "the end says so");
    life.record.rules[0].withdrawn_ms = Some(life.now_ms + 1_000);
    assert_eq!(life.told(Advanced, Ending), ["partial_unblock", "unban"]);
}

#[test]
fn of_rules_by_hand_and_of_the_whitelisted_nothing_is_due() {
    for layout in [Classic, Newer, Advanced] {
        let mut order = Life::new(None);
        order.record.is_order = true;
        let mut whitelisted = Life::new(crossing(Kind::Udp, Unit::Pps));
        whitelisted.record.whitelisted = Some("198.18.0.0/16".parse().unwrap());
        for kind in [Detected, Captured, Mitigating, RuleWanted, Ending, Ended, FalsePositive] {
            assert!(order.told(layout, kind).is_empty() && whitelisted.told(layout, kind).is_empty(), "{kind:?}");
        }
    }
}

#[test]
fn a_journal_that_lost_its_middle_ends_with_an_unban_all_the_same() {
    for layout in [Classic, Newer, Advanced] {
        let mut life = Life::new(crossing(Kind::Udp, Unit::Pps));
        for kind in [Detected, Captured, Mitigating] {
            life.told(layout, kind);
        }
        for _ in 0..500 {
            assert!(life.told(layout, RuleHeld).is_empty() && life.told(layout, Alarm).is_empty());
        }
        assert!(life.record.journal_lost > 0);
        assert_eq!(life.told(layout, Ending).last(), Some(&"unban"));
    }
}
