//! An engine in memory, and one connection to it that compares and calls as [`super::Session`] does, but one call at a time
//! and each with the fate that a simulation chooses.

use std::collections::HashMap;

use dataplane::rule::FlowRule;
use uuid::Uuid;

use super::path::{Announcement, Key};
use super::plan::{Held, Targets, plan};
use super::{Engine, Mark, Wanted};

/// What an engine holds with our mark.
#[derive(Default)]
pub(crate) struct FakeEngine {
    table: Held,
    rules: HashMap<Key, FlowRule>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done, and answered.
    Answered,
    /// It never arrives.
    Lost,
    /// It is done, but the answer never arrives.
    Unanswered,
}

/// A call that changed the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// This rule is announced; `again` if it was before, with the same attributes.
    Announced { rule: FlowRule, again: bool },
    /// This one is not any more.
    Withdrawn(FlowRule),
}

impl FakeEngine {
    /// A restart: it knows nothing.
    pub(crate) fn forget(&mut self) {
        *self = FakeEngine::default();
    }

    /// The rules that routers have of it, in some fixed order.
    pub(crate) fn rules(&self) -> Vec<String> {
        let mut rules: Vec<String> = self.rules.values().map(ToString::to_string).collect();
        rules.sort();
        rules
    }

    fn add(&mut self, announcement: &Announcement, rule: FlowRule) -> Change {
        let (key, attributes) = announcement.clone().into_parts();
        let again = self.table.insert(key.clone(), attributes.clone()) == Some(attributes);
        self.rules.insert(key, rule.clone());
        Change::Announced { rule, again }
    }

    fn delete(&mut self, key: &Key) -> Option<Change> {
        self.table.remove(key)?;
        self.rules.remove(key).map(Change::Withdrawn)
    }
}

/// One connection. Dropped where it is lost.
pub(crate) struct FakeSession {
    engine: Engine,
    targets: Option<Targets>,
    wanted: Vec<Wanted>,
    /// None until the table was listed.
    held: Option<Held>,
    /// Nothing was to be done at the last two looks, and nothing new is wanted since.
    idle: u8,
}

impl FakeSession {
    /// A connection on which nothing was asked yet.
    pub(crate) fn new(wanted: Option<&[Wanted]>) -> FakeSession {
        let engine = Engine::new("fake", "unix:///nowhere", Mark([64_512, 7_653, 1]));
        let mut session = FakeSession { engine, targets: None, wanted: Vec::new(), held: None, idle: 0 };
        wanted.into_iter().for_each(|wanted| session.want(wanted));
        session
    }

    /// What is wanted from now on.
    pub(crate) fn want(&mut self, wanted: &[Wanted]) {
        self.targets = Some(Targets::new(wanted, &self.engine, &[]));
        self.wanted = wanted.to_vec();
        self.idle = 0;
    }

    /// Whether it has told all that it knows.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle > 1
    }

    /// The wanted rules that the engine holds by its own word.
    pub(crate) fn held(&self) -> Vec<Uuid> {
        match (&self.targets, &self.held) {
            (Some(targets), Some(held)) => targets.held(held),
            _ => Vec::new(),
        }
    }

    /// The next call, if one is due. `Err` where the connection is lost.
    pub(crate) fn step(&mut self, engine: &mut FakeEngine, fate: Fate) -> (Option<Change>, Result<(), ()>) {
        if self.is_idle() {
            return (None, Ok(()));
        }
        let Some(held) = &mut self.held else {
            self.held = Some(engine.table.clone());
            return (None, if fate == Fate::Answered { Ok(()) } else { Err(()) });
        };
        let Some(targets) = &self.targets else { return (None, Ok(())) };
        let plan = plan(held, &targets.announcements);
        let answer = if fate == Fate::Answered { Ok(()) } else { Err(()) };
        if let Some(announcement) = plan.adds.first() {
            let id = targets.ids_of(announcement.key()).next();
            let wanted = self.wanted.iter().find(|wanted| Some(wanted.id) == id).expect("what is served is wanted");
            let change = (fate != Fate::Lost).then(|| engine.add(announcement, wanted.rule.clone()));
            held.insert(announcement.key().clone(), announcement.attributes().clone());
            return (change, answer);
        }
        if let Some(key) = plan.deletes.first() {
            let change = (fate != Fate::Lost).then(|| engine.delete(key)).flatten();
            held.remove(key);
            return (change, answer);
        }
        self.idle += 1;
        (None, Ok(()))
    }
}
