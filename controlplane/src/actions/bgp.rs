//! Makes what a GoBGP engine holds with our mark equal to the wanted Flow Spec rules and blackholes. Touches no
//! other route.
//!
//! [`run`] serves one engine: it connects, lists what carries the [`Mark`], adds what is missing, replaces what differs
//! and withdraws what is not wanted; again after every change of what is wanted, after every reconnect, and once a minute.
//! A rule counts as held only once the engine said so, and no longer than the connection lasts.

mod client;
mod engines;
#[cfg(test)]
pub(crate) mod fake;
mod path;
mod plan;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dataplane::rule::{Action, FlowRule};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tracing::{info, warn};
use uuid::Uuid;

use self::client::Client;
pub use self::client::Error;
pub use self::engines::Engines;
use self::path::Key;
pub use self::path::{Community, Mark, NextHops};
use self::plan::{Held, Targets, plan};
use crate::crash::Step;

/// See [`Engine::reconcile_period`].
const RECONCILE_PERIOD: Duration = Duration::from_secs(60);
/// Changes of a peer come by themselves; asking all the same shows an engine that hangs.
const PEERS_PERIOD: Duration = Duration::from_secs(5);
/// A restarted engine has lost all rules, so we look for it often: a refused connection costs nothing.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_millis(800);
/// A connection that lasted so long was a good one; looking for the engine begins anew.
const STEADY: Duration = Duration::from_secs(10);
/// How often [`withdraw_all`] looks again for paths that came in between.
const WITHDRAW_ROUNDS: usize = 3;

/// A GoBGP daemon, and what of ours it shall carry.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// As the operator calls it.
    pub name: String,
    /// `unix:///run/gobgp.sock` or `http://127.0.0.1:50051`.
    pub address: String,
    /// What makes a route ours.
    pub mark: Mark,
    /// Attached to every route, beside the mark.
    pub communities: Vec<Community>,
    /// Where blackholes lead.
    pub next_hops: NextHops,
    /// All that it holds is compared with what is wanted this often, also when nothing is known to have changed.
    pub reconcile_period: Duration,
}

impl Engine {
    /// Without communities of the operator's and without blackholes, and compared once a minute.
    pub fn new(name: &str, address: &str, mark: Mark) -> Engine {
        Engine {
            name: name.to_owned(),
            address: address.to_owned(),
            mark,
            communities: Vec::new(),
            next_hops: NextHops::default(),
            reconcile_period: RECONCILE_PERIOD,
        }
    }
}

/// A rule that shall stand at the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The rule's name in [`Report`].
    pub id: Uuid,
    /// What it matches.
    pub rule: FlowRule,
    /// What routers shall do.
    pub action: Action,
}

/// What an engine holds and how it does, as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The engine's name.
    pub engine: String,
    /// Whether it answers and has started.
    pub connected: bool,
    /// Since when it is, or is not, connected.
    pub since: SystemTime,
    /// Whether it was told what is wanted: before, that it holds nothing of it means nothing.
    pub informed: bool,
    /// Why it is not connected.
    pub error: Option<String>,
    /// Wanted rules that the engine holds, by its own word. Empty while it is not connected: it may hold them still, but
    /// nobody knows.
    pub held: Vec<Uuid>,
    /// Routes with our mark that are not wanted and not withdrawn yet.
    pub leftover: usize,
    /// Wanted rules that cannot be announced, and why.
    pub refused: Vec<(Uuid, String)>,
    /// The engine's peers, by address.
    pub peers: Vec<Peer>,
}

/// A BGP session of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The router's address.
    pub address: String,
    /// `established`, or which other state of RFC 4271 in lower case.
    pub state: &'static str,
    /// Since when it is established, or when it last fell; none if it never was.
    pub since: Option<SystemTime>,
}

/// What becomes of the announcements when Levee stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStop {
    /// They stay, and are reconciled at the next start.
    Keep,
    /// They are withdrawn.
    Withdraw,
}

/// The rules that are wanted. None until the store has been read: nothing may be withdrawn before it is known what is wanted.
pub type WantedRules = Option<Arc<Vec<Wanted>>>;

/// What engines are told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What they shall hold.
    pub wanted: WantedRules,
    /// Whether all actions are paused: engines are looked at, and stay as they are.
    pub paused: bool,
}

impl Report {
    /// Of an engine that nobody has tried to reach yet.
    pub fn new(engine: &Engine) -> Report {
        Report {
            engine: engine.name.clone(),
            connected: false,
            informed: false,
            since: SystemTime::now(),
            error: None,
            held: Vec::new(),
            leftover: 0,
            refused: Vec::new(),
            peers: Vec::new(),
        }
    }
}

/// Serves one engine until told to stop (or until `stop` has no sender any more, which keeps the announcements). Told
/// anything else there, it looks anew at what the engine holds. Fails only where it was told to withdraw at the end and could
/// not.
pub async fn run(
    engine: Engine,
    told: watch::Receiver<Told>,
    report: watch::Sender<Report>,
    mut stop: watch::Receiver<Option<AtStop>>,
) -> Result<(), Error> {
    let at_stop = loop {
        if let Some(at_stop) = *stop.borrow_and_update() {
            break at_stop;
        }
        tokio::select! {
            changed = stop.changed() => if changed.is_err() { break AtStop::Keep },
            never = serve(&engine, told.clone(), &report) => match never {},
        }
    };
    match at_stop {
        AtStop::Keep => Ok(()),
        AtStop::Withdraw if told.borrow().paused => {
            warn!(engine = engine.name, "all actions are paused: announcements stay");
            Ok(())
        }
        AtStop::Withdraw => {
            let withdrawn = withdraw_all(&engine).await?;
            info!(engine = engine.name, withdrawn, "withdrew all announcements");
            Ok(())
        }
    }
}

/// Takes everything with our mark out of the engine, and says how many routes that were.
pub async fn withdraw_all(engine: &Engine) -> Result<usize, Error> {
    let mut client = Client::connect(&engine.address).await?;
    let mut withdrawn = 0;
    for _ in 0..WITHDRAW_ROUNDS {
        let held = client.list(engine.mark, &engine.next_hops).await?;
        if held.is_empty() {
            return Ok(withdrawn);
        }
        for key in held.keys() {
            client.delete(key).await?;
        }
        withdrawn += held.len();
    }
    match client.list(engine.mark, &engine.next_hops).await?.len() {
        0 => Ok(withdrawn),
        left => Err(Error::NotWithdrawn(left)),
    }
}

async fn serve(engine: &Engine, told: watch::Receiver<Told>, report: &watch::Sender<Report>) -> Infallible {
    let mut back_off = BACK_OFF_MIN;
    loop {
        let start = Instant::now();
        let Err(error) = session(engine, told.clone(), report).await;
        let error = error.to_string();
        let known = report.borrow().error.as_ref() == Some(&error);
        if !known {
            warn!(engine = engine.name, error, "BGP engine cannot be used; trying on");
        }
        publish(report, Report { error: Some(error), ..Report::new(engine) });
        back_off = if start.elapsed() > STEADY { BACK_OFF_MIN } else { (back_off * 2).min(BACK_OFF_MAX) };
        tokio::time::sleep(back_off).await;
    }
}

async fn session(
    engine: &Engine,
    told: watch::Receiver<Told>,
    report: &watch::Sender<Report>,
) -> Result<Infallible, Error> {
    let client = Client::connect(&engine.address).await?;
    let mut session =
        Session { engine, client, told, targets: None, held: Held::new(), rejected: HashMap::new(), peers: vec![] };
    let mut events = session.client.watch_peers().await?;
    session.want();
    session.look().await?;
    session.apply().await?;
    session.publish(report);
    info!(engine = engine.name, "connected to BGP engine");

    let mut reconcile = interval_at(Instant::now() + engine.reconcile_period, engine.reconcile_period);
    let mut peers = interval(PEERS_PERIOD);
    for timer in [&mut reconcile, &mut peers] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
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
                event.ok_or(Error::Lost { call: Step::WatchEvent.name(), reason: "the engine closed it".to_owned() })?;
                session.look_at_peers().await?;
            }
            _ = peers.tick() => session.look_at_peers().await?,
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
        let new = Report { since, ..new };
        let modified = *old != new;
        *old = new;
        modified
    });
}

/// One connection to an engine, from its start to the first error.
struct Session<'a> {
    engine: &'a Engine,
    client: Client,
    told: watch::Receiver<Told>,
    /// None while nobody knows what is wanted.
    targets: Option<Targets>,
    held: Held,
    /// What the engine would not take, and why.
    rejected: HashMap<Key, String>,
    peers: Vec<Peer>,
}

impl Session<'_> {
    fn want(&mut self) {
        let told = self.told.borrow_and_update();
        self.targets = told.wanted.as_ref().map(|wanted| Targets::new(wanted, self.engine));
    }

    fn is_paused(&self) -> bool {
        self.told.borrow().paused
    }

    async fn look(&mut self) -> Result<(), Error> {
        self.held = self.client.list(self.engine.mark, &self.engine.next_hops).await?;
        Ok(())
    }

    async fn look_at_peers(&mut self) -> Result<(), Error> {
        self.peers = self.client.peers().await?;
        Ok(())
    }

    /// Makes the engine hold what is wanted, starting from what it was last seen to hold. A pause ends it before the next call.
    async fn apply(&mut self) -> Result<(), Error> {
        if self.is_paused() {
            return Ok(());
        }
        let Some(targets) = &self.targets else { return Ok(()) };
        let plan = plan(&self.held, &targets.announcements);
        let known = std::mem::take(&mut self.rejected);
        let (mut announced, mut withdrawn) = (0, 0);
        // First what protects.
        for announcement in &plan.adds {
            if self.is_paused() {
                return Ok(());
            }
            let key = announcement.key();
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
            if self.is_paused() {
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
        let mut new = Report { connected: true, peers: self.peers.clone(), ..Report::new(self.engine) };
        if let Some(targets) = &self.targets {
            new.informed = true;
            new.held = targets.held(&self.held);
            new.leftover = plan(&self.held, &targets.announcements).deletes.len();
            new.refused = targets.refused.clone();
            for (key, reason) in &self.rejected {
                new.refused.extend(targets.ids_of(key).map(|id| (id, format!("the engine refused it: {reason}"))));
            }
        }
        publish(report, new);
    }
}
