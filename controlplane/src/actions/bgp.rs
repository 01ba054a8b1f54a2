//! Makes what a GoBGP engine holds with our mark equal to the wanted Flow Spec rules and blackholes. Touches no
//! other route.
//!
//! [`run`] serves one engine: it connects, lists what carries the [`Mark`], adds what is missing, replaces what differs
//! and withdraws what is not wanted; again after every change of what is wanted, after every reconnect, and once a minute.
//! A rule counts as held only once the engine said so, and no longer than the connection lasts.

mod bucket;
mod client;
mod community;
mod engines;
#[cfg(test)]
pub(crate) mod fake;
mod path;
mod plan;
mod report;
mod session;
mod split;
mod suspects;

use std::sync::Arc;
use std::time::Duration;

use dataplane::rule::{Action, FlowRule};
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use self::client::Client;
pub use self::client::Error;
pub use self::community::{Community, Mark, NextHops, Route};
pub use self::engines::Engines;
pub use self::report::{Peer, Report};
use crate::profile::Profile;
use crate::record::SuspectRecord;

/// See [`Engine::reconcile_period`].
const RECONCILE_PERIOD: Duration = Duration::from_secs(60);
/// See [`Engine::rules_max`].
const RULES_MAX: usize = 1000;
/// See [`Engine::rules_per_second`].
const RULES_PER_SECOND: u32 = 1000;
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
    /// How blackholes are announced.
    pub blackhole: Route,
    /// How diversions are.
    pub divert: Route,
    /// What its routers take.
    pub profile: Profile,
    /// Most routes at the same time.
    pub rules_max: usize,
    /// Most routes announced within a second.
    pub rules_per_second: u32,
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
            blackhole: Route::default(),
            divert: Route::default(),
            profile: Profile::default(),
            rules_max: RULES_MAX,
            rules_per_second: RULES_PER_SECOND,
            reconcile_period: RECONCILE_PERIOD,
        }
    }

    /// How an action is announced that is a route in place of a rule, and the key of the configuration that has its next hops.
    fn route(&self, action: &Action) -> Option<(&'static str, &Route)> {
        match action {
            Action::Blackhole => Some(("blackhole_next_hops", &self.blackhole)),
            Action::Divert => Some(("divert_next_hops", &self.divert)),
            Action::Discard | Action::RateBps(_) | Action::RatePps(_) | Action::Pass(_) => None,
        }
    }

    /// Whether any route can be announced in place of a rule.
    fn has_next_hops(&self) -> bool {
        [&self.blackhole, &self.divert].iter().any(|route| !route.next_hops.is_empty())
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
    /// Whether everything is withdrawn, whatever is wanted.
    pub withdrawn: bool,
    /// Rules that engines held back when this daemon was started. Comes with what is wanted first.
    pub suspects: Arc<Vec<(Uuid, SuspectRecord)>>,
}

impl Told {
    /// Whether engines stay as they are.
    fn is_still(&self) -> bool {
        self.paused && !self.withdrawn
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
            never = session::serve(&engine, told.clone(), &report) => match never {},
        }
    };
    match at_stop {
        AtStop::Keep => Ok(()),
        AtStop::Withdraw if told.borrow().is_still() => {
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
    let (mut client, _) = Client::connect(&engine.address).await?;
    let mut withdrawn = 0;
    for _ in 0..WITHDRAW_ROUNDS {
        let held = client.list(engine).await?;
        if held.is_empty() {
            return Ok(withdrawn);
        }
        for key in held.keys() {
            client.delete(key).await?;
        }
        withdrawn += held.len();
    }
    match client.list(engine).await?.len() {
        0 => Ok(withdrawn),
        left => Err(Error::NotWithdrawn(left)),
    }
}
