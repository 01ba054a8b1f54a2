//! What was before, what we set, and what was last seen: the three-way state of each switch that we hold, as it stands in the
//! store. Pure.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How far we are with a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is to be on, and may be already: the call may or may not have come through.
    Setting,
    /// It is on, by MITIGATOR's word.
    Set,
    /// It is to be off again, and may be already.
    Releasing,
}

/// A switch that attacks need, or needed until just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of this policy.
    pub policy: u64,
    /// By our name.
    pub switch: String,
    /// What the API calls it.
    pub name: String,
    /// How it was found: what is put back in the end.
    pub before: bool,
    /// How far we are.
    pub phase: Phase,
    /// Somebody else changed it meanwhile: it is not ours any more.
    pub foreign: bool,
    /// Who needs it, or did last.
    pub attacks: Vec<Uuid>,
    /// How it was last seen.
    #[serde(skip)]
    pub seen: Option<bool>,
    /// Why the last call for it failed; none: it did not.
    #[serde(skip)]
    pub trouble: Option<String>,
    /// It is over.
    #[serde(skip)]
    pub done: Option<Outcome>,
    /// Since when, wall-clock milliseconds.
    pub since_ms: i64,
}

/// What is to be done after a look at a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// Switch it on (or off); the entry says so first, on record.
    Put(bool),
    /// We are done with it.
    Done(Outcome),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is off, as it was before.
    PutBack,
    /// It was on before, and still is.
    WasOn,
    /// Somebody else changed it, and it was left so.
    Left,
}

impl Entry {
    /// A switch that was found so, and is needed now.
    pub fn new(policy: u64, switch: &str, name: String, found: bool, now_ms: i64) -> Entry {
        Entry {
            policy,
            switch: switch.to_owned(),
            name,
            before: found,
            phase: if found { Phase::Set } else { Phase::Setting },
            foreign: false,
            attacks: Vec::new(),
            seen: Some(found),
            trouble: None,
            done: None,
            since_ms: now_ms,
        }
    }

    /// It is seen so, and needed.
    pub fn needed(&mut self, seen: bool) -> Next {
        self.seen = Some(seen);
        match (self.phase, seen) {
            (_, true) => {
                self.phase = Phase::Set;
                Next::Nothing
            }
            // We know that it was on: somebody wants it off.
            (Phase::Set, false) => {
                self.foreign = true;
                Next::Nothing
            }
            (Phase::Setting | Phase::Releasing, false) => {
                self.phase = Phase::Setting;
                Next::Put(true)
            }
        }
    }

    /// It is seen so, and nobody needs it any more.
    pub fn needless(&mut self, seen: bool) -> Next {
        self.seen = Some(seen);
        match (self.phase, seen) {
            _ if self.foreign => Next::Done(Outcome::Left),
            _ if self.before => Next::Done(if seen { Outcome::WasOn } else { Outcome::Left }),
            // It never came through, or it did go off and we died before we knew.
            (Phase::Setting | Phase::Releasing, false) => Next::Done(Outcome::PutBack),
            (Phase::Set, false) => Next::Done(Outcome::Left),
            (_, true) => {
                self.phase = Phase::Releasing;
                Next::Put(false)
            }
        }
    }

    /// It is on now, by MITIGATOR's word.
    pub fn is_set(&mut self) {
        (self.phase, self.seen, self.trouble) = (Phase::Set, Some(true), None);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(found: bool) -> Entry {
        Entry::new(1, "tcp", "tcp".into(), found, 0)
    }

    #[test]
    fn on_and_off_again() {
        let mut entry = entry(false);
        assert_eq!(entry.needed(false), Next::Put(true));
        entry.is_set();
        assert_eq!(entry.needed(true), Next::Nothing);
        assert_eq!(entry.needless(true), Next::Put(false));
        assert_eq!((entry.phase, entry.needless(false)), (Phase::Releasing, Next::Done(Outcome::PutBack)));
    }

    #[test]
    fn what_was_on_stays_on() {
        let mut entry = entry(true);
        assert_eq!(entry.needed(true), Next::Nothing);
        assert_eq!(entry.needless(true), Next::Done(Outcome::WasOn));
    }

    #[test]
    fn what_somebody_changed_is_left_for_good() {
        let mut switched_off = entry(false);
        switched_off.is_set();
        assert_eq!(switched_off.needed(false), Next::Nothing);
        assert!(switched_off.foreign);
        assert_eq!(switched_off.needed(true), Next::Nothing, "and on again");
        assert_eq!(switched_off.needless(true), Next::Done(Outcome::Left));
        let mut at_the_end = entry(false);
        at_the_end.is_set();
        assert_eq!(at_the_end.needless(false), Next::Done(Outcome::Left));
        let mut was_on = entry(true);
        assert_eq!(was_on.needless(false), Next::Done(Outcome::Left));
    }

    #[test]
    fn needed_again_while_it_is_put_back() {
        for came_through in [false, true] {
            let mut entry = entry(false);
            entry.is_set();
            assert_eq!(entry.needless(true), Next::Put(false));
            let next = entry.needed(!came_through);
            assert_eq!(next, if came_through { Next::Put(true) } else { Next::Nothing });
            assert!(!entry.foreign && !entry.before);
        }
    }

    proptest! {
        /// A kill between any two steps: what is on record is as it was last saved, MITIGATOR is as it was last told. Whatever
        /// happened, with nobody else about, the switch ends on while it is needed and as it was found in the end.
        #[test]
        fn no_kill_makes_it_somebody_else_s(found: bool, steps in prop::collection::vec((any::<bool>(), 0u8..4), 1..20)) {
            let mut switch = found;
            let mut record: Option<Entry> = None;
            // `dies`: 0 before the record, 1 before the call, 2 before the answer, 3 not at all.
            let mut live = |needed: bool, dies: u8| {
                let known = record.is_some();
                if !known && !needed {
                    return;
                }
                let mut entry = record.clone().unwrap_or_else(|| entry(switch));
                let next = if needed { entry.needed(switch) } else { entry.needless(switch) };
                assert!(!entry.foreign && next != Next::Done(Outcome::Left));
                if let Next::Done(_) = next {
                    record = None;
                    return;
                }
                if dies == 0 { return }
                record = Some(entry.clone());
                if dies == 1 { return }
                if let Next::Put(on) = next {
                    switch = on;
                    if dies == 2 { return }
                    if on { entry.is_set() }
                    record = on.then_some(entry);
                }
            };
            for (needed, dies) in steps {
                live(needed, dies);
            }
            live(true, 3);
            live(true, 3);
            live(false, 3);
            live(false, 3);
            prop_assert_eq!((switch, record), (found, None));
        }
    }
}
