//! The task: makes switches be on that are needed, and puts back those that are not. What it is about to do is on record before it
//! does it, so that a kill between any two calls leaves nothing that the next one does not know.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};
use uuid::Uuid;

use super::client::{Client, Error};
use super::ledger::{Entry, Next, Outcome, Phase};
use super::plan::{Asked, LookedUp, Plan, Wanted, plan, to_look_up};
use super::report::{Report, Sources, Trouble, record};
use super::settings::{Class, Family, Settings};
use super::{AtStop, Shared, Told};
use crate::record::{SwitchRecord, SwitchState};
use crate::store;

/// The first pause after something failed; doubled up to `back_off_max`.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// After a log-in that failed: many a server locks users out who try too often.
const LOG_IN_AGAIN: Duration = Duration::from_secs(5);
/// A disk that is well has written by then; acting comes first.
const RECORD_WAIT: Duration = Duration::from_millis(250);
/// Putting back is in no hurry.
const RECORD_WAIT_OFF: Duration = Duration::from_secs(10);
/// So often it is asked for its version before names are taken for granted.
const VERSION_TRIES: usize = 3;
/// What came to its end, for records of attacks: the latest.
const FINISHED_MAX: usize = 512;

/// Serves one MITIGATOR until told to stop (or until nobody can tell any more, which keeps the switches).
pub(super) async fn run(mut keeper: Keeper, mut stop: watch::Receiver<Option<AtStop>>) {
    let at_stop = tokio::select! {
        never = keeper.serve() => match never {},
        told = stop.wait_for(Option::is_some) => told.ok().and_then(|told| *told),
    };
    if at_stop == Some(AtStop::PutBack) {
        keeper.put_all_back().await;
    }
}

pub(super) struct Keeper {
    settings: Arc<Settings>,
    told: watch::Receiver<Told>,
    store: store::Ledger,
    /// For whoever comes after this task.
    shared: Shared,
    report: watch::Sender<Report>,
    client: Option<Client>,
    version: String,
    /// How often it did not say its version.
    mute: usize,
    family: Option<Family>,
    /// In the order of switching on.
    entries: Vec<Entry>,
    /// As it was last written.
    written: String,
    save: u64,
    looked_up: LookedUp,
    plan: Plan,
    troubles: Vec<Trouble>,
    finished: VecDeque<(Uuid, SwitchRecord)>,
    /// A policy could not be looked up, and may be soon.
    unanswered: bool,
    /// Whether it is known what is wanted.
    planned: bool,
    informed: bool,
    connected: bool,
    /// Nothing is needed any more.
    ends: bool,
}

/// A switch: policy and our name.
type Key = (u64, String);

fn key(entry: &Entry) -> Key {
    (entry.policy, entry.switch.clone())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Keeper {
    pub(super) fn new(
        settings: Arc<Settings>,
        told: watch::Receiver<Told>,
        store: store::Ledger,
        shared: Shared,
        report: watch::Sender<Report>,
    ) -> Keeper {
        let entries = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Keeper {
            settings,
            told,
            store,
            shared,
            report,
            client: None,
            version: String::new(),
            mute: 0,
            family: None,
            written: as_text(&entries),
            save: 0,
            entries,
            looked_up: LookedUp::new(),
            plan: Plan::default(),
            troubles: Vec::new(),
            finished: VecDeque::new(),
            unanswered: false,
            planned: false,
            informed: false,
            connected: false,
            ends: false,
        }
    }

    async fn serve(&mut self) -> Infallible {
        let mut back_off = BACK_OFF_MIN;
        // Who knows what became of them while nobody looked?
        let mut look = true;
        loop {
            let passed = self.pass(look).await;
            let is_well = passed.is_ok() && !self.has_trouble();
            back_off = if is_well { BACK_OFF_MIN } else { (back_off * 2).min(self.settings.back_off_max) };
            self.publish(passed.as_ref().err());
            match passed {
                Err(error) => {
                    (self.client, self.family, look) = (None, None, true);
                    let least = if matches!(error, Error::LogIn(_)) { LOG_IN_AGAIN } else { BACK_OFF_MIN };
                    sleep(back_off.max(least)).await;
                }
                Ok(()) => {
                    let pause = if is_well { self.settings.check_period } else { back_off };
                    let next = Instant::now() + pause;
                    look = tokio::select! {
                        () = changed(&mut self.told) => false,
                        () = sleep_until(next) => true,
                    };
                }
            }
        }
    }

    /// Puts everything back, as far as MITIGATOR lets us.
    async fn put_all_back(&mut self) {
        if self.told.borrow().paused {
            return warn!("all actions are paused: MITIGATOR's switches stay");
        }
        self.ends = true;
        while !self.entries.is_empty() {
            match self.pass(true).await {
                Ok(()) if self.entries.is_empty() => {}
                Ok(()) => sleep(BACK_OFF_MIN).await,
                Err(error) => {
                    warn!("MITIGATOR {error}; trying on to put switches back");
                    sleep(BACK_OFF_MIN * 5).await;
                }
            }
        }
        info!("all of MITIGATOR's switches are as they were before");
    }

    /// One look, and what follows from it. Fails where nothing more can be done now.
    async fn pass(&mut self, look: bool) -> Result<(), Error> {
        let Told { asked, paused } = self.told.borrow_and_update().clone();
        let asked = asked.map(|asked| if self.ends { Arc::default() } else { asked });
        if let Some(asked) = &asked {
            // For whoever is told that MITIGATOR cannot be reached.
            self.plan = plan(&self.settings, &self.looked_up, asked);
            self.planned = true;
        }
        let client = self.greet(look).await?;
        let Some(asked) = asked else {
            self.client = Some(client);
            return Ok(());
        };
        let mut work = Work { client, look, paused, on: Vec::new(), off: Vec::new() };
        let done = self.work(&mut work, &asked).await;
        self.informed |= done.is_ok();
        self.client = Some(work.client);
        done
    }

    /// A client that is logged in, and knows the names.
    async fn greet(&mut self, look: bool) -> Result<Client, Error> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::new(Arc::clone(&self.settings))?,
        };
        if self.family.is_none() || (look && self.version.is_empty()) {
            self.version = match client.version(&self.settings).await {
                Ok(version) => version,
                Err(error) if error.is_of_the_call() && self.is_mute(&error) => String::new(),
                Err(error) => return Err(error),
            };
            let known = self.settings.family.or_else(|| Family::of_version(&self.version));
            let family = known.unwrap_or(Family::From2008);
            if self.family.replace(family) != Some(family) {
                info!(node = client.node(), version = self.version, %family, "connected to MITIGATOR");
            }
        }
        Ok(client)
    }

    /// Whether it is no use to ask again for its version: it does not say. What may be an accident is not believed at once, since wrong
    /// names would switch nothing.
    fn is_mute(&mut self, error: &Error) -> bool {
        self.mute += 1;
        matches!(error, Error::Refused { .. }) || self.mute > VERSION_TRIES
    }

    async fn work(&mut self, work: &mut Work, asked: &[Asked]) -> Result<(), Error> {
        self.troubles.clear();
        self.look_up(work, asked).await?;
        self.plan = plan(&self.settings, &self.looked_up, asked);
        if work.look && self.entries.is_empty() && self.plan.wanted.is_empty() {
            return work.client.ping(&self.settings).await.or_else(local);
        }
        for wanted in self.plan.wanted.clone() {
            self.need(work, wanted).await?;
        }
        for index in (0..self.entries.len()).rev() {
            self.need_not(work, index).await?;
        }
        if work.paused {
            return Ok(());
        }
        self.finish_done();
        let save = self.write();
        // First what protects.
        if !work.on.is_empty() {
            self.written_by(save, RECORD_WAIT).await;
        }
        for key in std::mem::take(&mut work.on) {
            self.put(work, &key, true).await?;
        }
        if !work.off.is_empty() {
            self.written_by(save, RECORD_WAIT_OFF).await;
        }
        for key in std::mem::take(&mut work.off) {
            self.put(work, &key, false).await?;
        }
        Ok(())
    }

    /// Asks for the policies of targets that the configuration does not have, once for each attack.
    async fn look_up(&mut self, work: &mut Work, asked: &[Asked]) -> Result<(), Error> {
        let settings = Arc::clone(&self.settings);
        let targets: BTreeSet<_> = asked.iter().map(|asked| asked.target).collect();
        self.looked_up.retain(|target, _| targets.contains(target));
        self.unanswered = false;
        for one in to_look_up(&settings, asked) {
            if self.looked_up.contains_key(&one.target) {
                continue;
            }
            let protocol = if one.classes.first() == Some(&Class::Udp) { "UDP" } else { "TCP" };
            let to = one.target.prefix.addr();
            match work.client.policy_of_packet(&settings, to, protocol).await {
                Ok(policy) => drop(self.looked_up.insert(one.target, policy)),
                Err(error) if error.is_of_the_call() => {
                    warn!("MITIGATOR does not say which policy {to} has: {error}");
                    match error {
                        Error::Refused { .. } => drop(self.looked_up.insert(one.target, None)),
                        _ => self.unanswered = true,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A switch that is needed: what is to be done about it?
    async fn need(&mut self, work: &mut Work, wanted: Wanted) -> Result<(), Error> {
        let Wanted { policy, switch, attacks } = wanted;
        let known = self.entries.iter().position(|entry| (entry.policy, &entry.switch) == (policy, &switch));
        let Some(index) = known else {
            if work.paused {
                return Ok(());
            }
            let name = self.settings.name(&switch, self.family.unwrap_or(Family::From2008));
            match work.client.switch(&self.settings, Some(policy), &name).await {
                Ok(found) => {
                    let mut entry = Entry::new(policy, &switch, name, found.unwrap_or(false), now_ms());
                    entry.attacks = attacks;
                    if entry.phase == Phase::Setting {
                        work.on.push(key(&entry));
                    }
                    self.entries.push(entry);
                }
                Err(error) if error.is_of_the_call() => self.troubles.push((policy, switch, error.to_string())),
                Err(error) => return Err(error),
            }
            return Ok(());
        };
        self.refer(index, attacks);
        let entry = &self.entries[index];
        let is_settled = entry.phase == Phase::Set && entry.trouble.is_none();
        if (is_settled && !work.look) || (!is_settled && work.paused) {
            return Ok(());
        }
        if let Some(seen) = self.see(work, index).await? {
            let entry = &mut self.entries[index];
            let was_foreign = entry.foreign;
            if entry.needed(seen) == Next::Put(true) {
                work.on.push(key(entry));
            }
            if entry.foreign && !was_foreign {
                warn!(policy, switch, "somebody switched this off at MITIGATOR; it is left so");
            }
        }
        Ok(())
    }

    /// These need it now. Who did before is told.
    fn refer(&mut self, index: usize, attacks: Vec<Uuid>) {
        let entry = &mut self.entries[index];
        let before = std::mem::replace(&mut entry.attacks, attacks);
        for gone in before.into_iter().filter(|attack| !entry.attacks.contains(attack)) {
            self.finished.push_back((gone, record(entry.policy, &entry.switch, SwitchState::Released, "")));
        }
    }

    /// A switch that is ours: does anybody need it still?
    async fn need_not(&mut self, work: &mut Work, index: usize) -> Result<(), Error> {
        let entry = &self.entries[index];
        let is_wanted = |wanted: &Wanted| (wanted.policy, &wanted.switch) == (entry.policy, &entry.switch);
        if work.paused || self.plan.wanted.iter().any(is_wanted) {
            return Ok(());
        }
        if let Some(seen) = self.see(work, index).await? {
            let entry = &mut self.entries[index];
            match entry.needless(seen) {
                Next::Put(_) => work.off.push(key(entry)),
                Next::Done(outcome) => entry.done = Some(outcome),
                Next::Nothing => {}
            }
        }
        Ok(())
    }

    /// How a switch is; none where that cannot be told now.
    async fn see(&mut self, work: &mut Work, index: usize) -> Result<Option<bool>, Error> {
        let Entry { policy, name, .. } = &self.entries[index];
        match work.client.switch(&self.settings, Some(*policy), name).await {
            Ok(found) => {
                self.entries[index].trouble = None;
                Ok(Some(found.unwrap_or(false)))
            }
            Err(error) if error.is_of_the_call() => {
                self.entries[index].trouble = Some(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets a switch, unless a pause came in between.
    async fn put(&mut self, work: &mut Work, key: &Key, on: bool) -> Result<(), Error> {
        let Some(index) = self.entries.iter().position(|entry| (entry.policy, &entry.switch) == (key.0, &key.1)) else {
            return Ok(());
        };
        if self.told.borrow().paused {
            return Ok(());
        }
        let entry = &mut self.entries[index];
        let (policy, switch) = (entry.policy, entry.switch.clone());
        match work.client.put_switch(&self.settings, policy, &entry.name, on).await {
            Ok(()) => {
                info!(policy, switch, on, "switched at MITIGATOR");
                if on { entry.is_set() } else { entry.done = Some(Outcome::PutBack) }
            }
            // What is not there any more cannot be put back.
            Err(Error::Refused { status: 404, .. }) if !on => entry.done = Some(Outcome::Left),
            Err(error) if error.is_of_the_call() => {
                warn!(policy, switch, on, "MITIGATOR does not let itself be switched: {error}");
                entry.trouble = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
        self.finish_done();
        self.write();
        self.publish(None);
        Ok(())
    }

    /// Lets go of what is done, and keeps in mind how it ended.
    fn finish_done(&mut self) {
        for entry in self.entries.extract_if(.., |entry| entry.done.is_some()) {
            let state = match entry.done {
                Some(Outcome::WasOn) => SwitchState::WasOn,
                Some(Outcome::Left) => SwitchState::Left,
                Some(Outcome::PutBack) | None => SwitchState::PutBack,
            };
            let done = |attack: &Uuid| (*attack, record(entry.policy, &entry.switch, state, ""));
            self.finished.extend(entry.attacks.iter().map(done));
        }
        let excess = self.finished.len().saturating_sub(FINISHED_MAX);
        self.finished.drain(..excess);
    }

    /// Has what is ours written, where it changed. Gives the number of the save that has it.
    fn write(&mut self) -> u64 {
        let text = as_text(&self.entries);
        if text != self.written {
            self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.entries);
            self.save = self.store.save(text.clone());
            self.written = text;
        }
        self.save
    }

    /// Waits until it is on record, for so long at most.
    async fn written_by(&self, save: u64, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        while self.store.settled() < save && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn has_trouble(&self) -> bool {
        self.unanswered || !self.troubles.is_empty() || self.entries.iter().any(|entry| entry.trouble.is_some())
    }

    /// Tells how things are.
    fn publish(&mut self, error: Option<&Error>) {
        self.connected = error.is_none();
        self.finished.make_contiguous();
        let sources = Sources {
            entries: &self.entries,
            plan: &self.plan,
            planned: self.planned,
            troubles: &self.troubles,
            finished: self.finished.as_slices().0,
            paused: self.told.borrow().paused,
            connected: self.connected,
        };
        let mut alarms = sources.alarms();
        if self.connected && self.settings.family.is_none() && Family::of_version(&self.version).is_none() {
            let version = &self.version;
            alarms.push(format!("MITIGATOR: unknown version \"{version}\": say in mitigator.names which names it has"));
        }
        let error = error.map(ToString::to_string);
        let node = self.client.as_ref().map(|client| client.node().to_owned());
        let (of_attacks, informed) = (sources.of_attacks(), self.informed);
        self.report.send_if_modified(|old| {
            if let Some(error) = error.as_ref().filter(|error| old.error.as_ref() != Some(error)) {
                warn!("MITIGATOR {error}; trying on");
            }
            let is_same = old.connected == error.is_none();
            let new = Report {
                connected: error.is_none(),
                since: if is_same { old.since } else { SystemTime::now() },
                node: node.unwrap_or_else(|| old.node.clone()),
                error,
                version: self.version.clone(),
                family: self.family,
                informed,
                held: self.entries.clone(),
                of_attacks,
                alarms,
            };
            let modified = *old != new;
            *old = new;
            modified
        });
    }
}

/// What one pass works with.
struct Work {
    client: Client,
    /// Look also at what should be well.
    look: bool,
    paused: bool,
    /// To be switched on, in this order.
    on: Vec<Key>,
    /// To be switched off, in this order.
    off: Vec<Key>,
}

fn as_text(entries: &[Entry]) -> String {
    serde_json::to_string(entries).unwrap_or_else(|_| "[]".to_owned())
}

/// That one call came to nothing is no reason to begin anew.
fn local(error: Error) -> Result<(), Error> {
    if error.is_of_the_call() { Ok(()) } else { Err(error) }
}

/// Never ready again once nobody can want anything new.
async fn changed(told: &mut watch::Receiver<Told>) {
    if told.changed().await.is_err() {
        std::future::pending().await
    }
}
