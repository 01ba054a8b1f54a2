//! One engine, from connection to connection: what it holds is looked at and made equal to what is wanted.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use proto::gobgp::WatchEventResponse;
use proto::gobgp::peer_state::SessionState;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::bucket::Bucket;
use super::client::{Client, Error, peer_address};
use super::path::{Announcement, Key};
use super::plan::{Held, Targets, plan};
use super::suspects::Suspects;
use super::{Engine, Peer, Report, Told};
use crate::crash::Step;
use crate::record::SuspectRecord;

/// Changes of a peer come by themselves; asking all the same shows an engine that hangs.
const PEERS_PERIOD: Duration = Duration::from_secs(5);
/// A restarted engine has lost all rules, so we look for it often: a refused connection costs nothing.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_millis(800);
/// A connection that lasted so long was a good one; looking for the engine begins anew.
const STEADY: Duration = Duration::from_secs(10);
/// How often it is looked whether a suspect may be tried again.
const SUSPECTS_PERIOD: Duration = Duration::from_secs(1);

/// What outlasts a connection.
struct Memory {
    suspects: Suspects,
    /// Whether those are among them that were known when the daemon was started.
    knows_suspects: bool,
    /// The same moment by both clocks: one is for the record.
    epoch: (Instant, SystemTime),
    bucket: Bucket,
}

impl Memory {
    fn new(rules_per_second: u32) -> Memory {
        let epoch = (Instant::now(), SystemTime::now());
        let bucket = Bucket::new(rules_per_second, epoch.0);
        Memory { suspects: Suspects::default(), knows_suspects: false, epoch, bucket }
    }

    fn wall_ms(&self, at: Instant) -> i64 {
        let at = self.epoch.1 + at.saturating_duration_since(self.epoch.0);
        at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    /// None: that is over.
    fn instant(&self, wall_ms: i64) -> Option<Instant> {
        let left_ms = u64::try_from(wall_ms - self.wall_ms(Instant::now())).ok()?;
        Some(Instant::now() + Duration::from_millis(left_ms))
    }
}

pub(super) async fn serve(engine: &Engine, told: watch::Receiver<Told>, report: &watch::Sender<Report>) -> Infallible {
    let mut back_off = BACK_OFF_MIN;
    let mut memory = Memory::new(engine.rules_per_second);
    loop {
        let start = Instant::now();
        let Err(error) = session(engine, &mut memory, told.clone(), report).await;
        let error = error.to_string();
        let known = report.borrow().error.as_ref() == Some(&error);
        if !known {
            warn!(engine = engine.name, error, "BGP engine cannot be used; trying on");
        }
        let last_error = Some((SystemTime::now(), error.clone()));
        publish(report, Report { error: Some(error), last_error, ..Report::new(engine) });
        back_off = if start.elapsed() > STEADY { BACK_OFF_MIN } else { (back_off * 2).min(BACK_OFF_MAX) };
        tokio::time::sleep(back_off).await;
    }
}

async fn session(
    engine: &Engine,
    memory: &mut Memory,
    told: watch::Receiver<Told>,
    report: &watch::Sender<Report>,
) -> Result<Infallible, Error> {
    let (client, speaker) = Client::connect(&engine.address).await?;
    let mut session = Session {
        engine,
        memory,
        client,
        speaker,
        told,
        targets: None,
        held: Held::new(),
        rejected: HashMap::new(),
        waiting: 0,
        peers: vec![],
        up: BTreeMap::new(),
    };
    let mut events = session.client.watch_peers().await?;
    session.look_at_peers().await?;
    session.want();
    session.look().await?;
    session.apply().await?;
    session.publish(report);
    info!(engine = engine.name, "connected to BGP engine");

    let mut reconcile = interval_at(Instant::now() + engine.reconcile_period, engine.reconcile_period);
    let mut peers = interval(PEERS_PERIOD);
    let mut suspects = interval(SUSPECTS_PERIOD);
    for timer in [&mut reconcile, &mut peers, &mut suspects] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        let more = Instant::now() + session.memory.bucket.pause();
        tokio::select! {
            () = changed(&mut session.told) => {
                session.want();
                session.apply().await?;
            }
            _ = reconcile.tick() => {
                session.look().await?;
                session.apply().await?;
            }
            event = events.message() => {
                let event = event.map_err(|status| Error::of(Step::WatchEvent.name(), &status))?;
                let gone = Error::Lost { call: Step::WatchEvent.name(), reason: "the engine closed it".to_owned() };
                let fell = session.hear(event.ok_or(gone)?);
                session.look_at_peers().await?;
                if fell {
                    session.apply().await?;
                }
            }
            _ = peers.tick() => session.look_at_peers().await?,
            () = sleep_until(more), if session.waiting > 0 => session.apply().await?,
            _ = suspects.tick(), if !session.memory.suspects.is_empty() => {
                if session.memory.suspects.go_on(Instant::now()) {
                    session.apply().await?;
                }
            }
        }
        session.publish(report);
    }
}

/// Never ready again once nobody can want anything new: what is wanted then stays so.
async fn changed(told: &mut watch::Receiver<Told>) {
    if told.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Tells whoever watches, if there is something new.
fn publish(report: &watch::Sender<Report>, new: Report) {
    report.send_if_modified(|old| {
        let since = if new.connected == old.connected { old.since } else { new.since };
        let last_error = match (&old.last_error, new.last_error) {
            // The same again is no news, and neither is that there is none now.
            (Some(known), Some(error)) if known.1 == error.1 && !old.connected => Some(known.clone()),
            (known, None) => known.clone(),
            (_, error) => error,
        };
        let new = Report { since, last_error, ..new };
        let modified = *old != new;
        *old = new;
        modified
    });
}

/// One connection to an engine, from its start to the first error.
struct Session<'a> {
    engine: &'a Engine,
    memory: &'a mut Memory,
    client: Client,
    /// The engine's AS number and router id.
    speaker: (u32, String),
    told: watch::Receiver<Told>,
    /// None while nobody knows what is wanted.
    targets: Option<Targets>,
    held: Held,
    /// What the engine would not take, and why.
    rejected: HashMap<Key, String>,
    /// How many wait for their second.
    waiting: usize,
    peers: Vec<Peer>,
    /// Which peers are up, by the engine's own messages: no fall is missed, however short.
    up: BTreeMap<String, bool>,
}

impl Session<'_> {
    fn want(&mut self) {
        let own: Vec<IpAddr> = self.peers.iter().filter_map(|peer| peer.address.parse().ok()).collect();
        let told = self.told.borrow_and_update();
        self.targets = match (told.withdrawn, &told.wanted) {
            (true, _) => Some(Targets::default()),
            (false, wanted) => wanted.as_ref().map(|wanted| Targets::new(wanted, self.engine, &own)),
        };
        let Some(targets) = self.targets.as_ref().filter(|_| !told.withdrawn) else { return };
        self.memory.suspects.keep(|announcement| targets.announcements.contains(announcement));
        if !std::mem::replace(&mut self.memory.knows_suspects, true) {
            let own = told.suspects.iter().filter(|(_, suspect)| suspect.engine == self.engine.name);
            for (id, suspect) in own {
                let Some(not_before) = self.memory.instant(suspect.until_ms) else { continue };
                let now = Instant::now();
                targets.of(*id).for_each(|it| self.memory.suspects.restore(now, it, &suspect.why, not_before));
            }
        }
    }

    fn is_still(&self) -> bool {
        self.told.borrow().is_still()
    }

    async fn look(&mut self) -> Result<(), Error> {
        self.held = self.client.list(self.engine).await?;
        Ok(())
    }

    /// Rules that touch a peer are refused: a new peer has them looked at again.
    async fn look_at_peers(&mut self) -> Result<(), Error> {
        let peers = self.client.peers().await?;
        let are_others = !peers.iter().map(|peer| &peer.address).eq(self.peers.iter().map(|peer| &peer.address));
        self.peers = peers;
        if are_others && self.targets.is_some() {
            self.want();
            self.apply().await?;
        }
        Ok(())
    }

    /// What the engine says of a peer. Whether rules are held back since its session fell.
    fn hear(&mut self, event: WatchEventResponse) -> bool {
        let Some(peer) = event.peer.and_then(|event| event.peer) else { return false };
        let (address, state) = (peer_address(&peer), peer.state.unwrap_or_default().session_state());
        let is_up = state == SessionState::Established;
        let was_up = self.up.insert(address.clone(), is_up) == Some(true);
        if is_up {
            self.memory.suspects.is_up(Instant::now(), &address);
        }
        if is_up || !was_up {
            return false;
        }
        let stands = |announcement: &&Announcement| {
            self.held.contains_key(announcement.key()) && self.memory.suspects.why(announcement).is_none()
        };
        let announcements = self.targets.iter().flat_map(|targets| &targets.announcements);
        let standing: Vec<Announcement> = announcements.filter(stands).cloned().collect();
        let rules = self.memory.suspects.fell(Instant::now(), &address, &standing);
        match rules {
            0 => warn!(engine = self.engine.name, peer = address, "a BGP session fell"),
            _ => error!(
                engine = self.engine.name,
                peer = address,
                rules,
                "a BGP session fell over rules, it seems: they are held back"
            ),
        }
        rules > 0
    }

    /// Makes the engine hold what is wanted and not held back, starting from what it was last seen to hold. A pause ends it before
    /// the next call.
    async fn apply(&mut self) -> Result<(), Error> {
        if self.is_still() {
            return Ok(());
        }
        let Some(targets) = &self.targets else { return Ok(()) };
        let plan =
            plan(&self.held, targets.announcements.iter().filter(|&all| self.memory.suspects.why(all).is_none()));
        let known = std::mem::take(&mut self.rejected);
        let (mut announced, mut withdrawn) = (0, 0);
        let told = &self.told;
        let is_still = || told.borrow().is_still();
        self.waiting = 0;
        // First what protects.
        for (place, announcement) in plan.adds.iter().enumerate() {
            if is_still() {
                return Ok(());
            }
            if !self.memory.bucket.take(Instant::now()) {
                self.waiting = plan.adds.len() - place;
                break;
            }
            let key = announcement.key();
            self.memory.suspects.announced(Instant::now(), announcement);
            match self.client.add(announcement).await {
                Ok(()) => {
                    announced += 1;
                    self.held.insert(key.clone(), announcement.attributes().clone());
                }
                Err(Error::Refused { reason, .. }) => {
                    if known.get(key) != Some(&reason) {
                        let rules: Vec<Uuid> = targets.ids_of(key).collect();
                        warn!(engine = self.engine.name, ?rules, reason, "BGP engine does not take a rule");
                    }
                    self.rejected.insert(key.clone(), reason);
                }
                Err(error) => return Err(error),
            }
        }
        for key in &plan.deletes {
            if is_still() {
                return Ok(());
            }
            match self.client.delete(key).await {
                Ok(()) => {
                    withdrawn += 1;
                    self.held.remove(key);
                }
                Err(Error::Refused { reason, .. }) => {
                    warn!(engine = self.engine.name, reason, "BGP engine does not withdraw a rule");
                }
                Err(error) => return Err(error),
            }
        }
        if announced + withdrawn > 0 {
            info!(engine = self.engine.name, announced, withdrawn, "changed announcements");
        }
        Ok(())
    }

    fn publish(&self, report: &watch::Sender<Report>) {
        let (peers, speaker) = (self.peers.clone(), self.speaker.clone());
        let mut new = Report { connected: true, peers, speaker, waiting: self.waiting, ..Report::new(self.engine) };
        for key in self.held.keys() {
            *new.routes.entry(key.table_name()).or_default() += 1;
        }
        if let Some(targets) = &self.targets {
            new.informed = true;
            new.held = targets.held(&self.held);
            new.leftover = plan(&self.held, &targets.announcements).deletes.len();
            new.refused = targets.refused.clone();
            for (key, reason) in &self.rejected {
                new.refused.extend(targets.ids_of(key).map(|id| (id, format!("the engine refused it: {reason}"))));
            }
            let held_back = |announcement: &Announcement| {
                Some((announcement.clone(), self.memory.suspects.why(announcement)?.to_owned()))
            };
            for (announcement, why) in targets.announcements.iter().filter_map(held_back) {
                new.refused.extend(targets.ids_of(announcement.key()).map(|id| (id, why.clone())));
            }
            for (announcement, why, not_before) in self.memory.suspects.for_long(Instant::now()) {
                let (engine, until_ms) = (self.engine.name.clone(), self.memory.wall_ms(not_before));
                let suspect = SuspectRecord { engine, until_ms, why: why.to_owned() };
                new.suspects.extend(targets.ids_of(announcement.key()).map(|id| (id, suspect.clone())));
            }
            new.suspects.sort_by_key(|(id, _)| *id);
        }
        publish(report, new);
    }
}
