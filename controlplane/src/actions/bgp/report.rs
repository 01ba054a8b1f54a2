//! What an engine says of itself: values for records, clients and alarms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::Engine;
use crate::record::SuspectRecord;

/// Refused rules that have an alarm each; of more, how many.
const REFUSED_SHOWN: usize = 10;

/// What an engine holds and how it does, as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The engine's name.
    pub engine: String,
    /// What all its routers take: the profile's name.
    pub profile: Arc<str>,
    /// Whether it answers and has started.
    pub connected: bool,
    /// Since when it is, or is not, connected.
    pub since: SystemTime,
    /// Whether it was told what is wanted: before, that it holds nothing of it means nothing.
    pub informed: bool,
    /// Why it is not connected.
    pub error: Option<String>,
    /// Why it was last lost or not reached, and when: also after it is connected again.
    pub last_error: Option<(SystemTime, String)>,
    /// Its AS number and router id; 0 and empty while that is not known.
    pub speaker: (u32, String),
    /// Wanted rules that the engine holds, by its own word. Empty while it is not connected: it may hold them still, but
    /// nobody knows.
    pub held: Vec<Uuid>,
    /// Routes with our mark that are not wanted and not withdrawn yet.
    pub leftover: usize,
    /// Routes with our mark, by table.
    pub routes: BTreeMap<&'static str, usize>,
    /// Wanted rules that cannot be announced, or that are held back, and why.
    pub refused: Vec<(Uuid, String)>,
    /// Those of them that are held back for long, since a router's session fell over each.
    pub suspects: Vec<(Uuid, SuspectRecord)>,
    /// Wanted rules that wait, since only so many are announced within a second.
    pub waiting: usize,
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
    /// Its AS number.
    pub asn: u32,
    /// The tables that it is configured for.
    pub families: Vec<&'static str>,
    /// Routes that were sent to it, of anyone.
    pub advertised: u32,
    /// How often its session fell, and how many of its notifications came: a router that dislikes something says so by one.
    pub falls: u32,
    /// See above.
    pub notifications: u64,
}

impl Report {
    /// Of an engine that nobody has tried to reach yet.
    pub fn new(engine: &Engine) -> Report {
        Report {
            engine: engine.name.clone(),
            profile: Arc::clone(&engine.profile.name),
            connected: false,
            informed: false,
            since: SystemTime::now(),
            error: None,
            last_error: None,
            speaker: (0, String::new()),
            held: Vec::new(),
            leftover: 0,
            routes: BTreeMap::new(),
            refused: Vec::new(),
            suspects: Vec::new(),
            waiting: 0,
            peers: Vec::new(),
        }
    }

    /// What an operator should look at.
    pub fn alarms(&self) -> Vec<String> {
        let (engine, mut alarms) = (&self.engine, Vec::new());
        if !self.connected {
            let why = self.error.as_deref().unwrap_or("not reached yet");
            alarms.push(format!("engine {engine}: {why}"));
        }
        if self.waiting > 0 {
            let waiting = self.waiting;
            alarms.push(format!("engine {engine}: {waiting} routes wait: no more a second (bgp.rules_per_second)"));
        }
        let shown = self.refused.iter().take(REFUSED_SHOWN);
        alarms.extend(shown.map(|(id, reason)| format!("engine {engine}: rule {id} refused: {reason}")));
        let more = self.refused.len().saturating_sub(REFUSED_SHOWN);
        if more > 0 {
            alarms.push(format!("engine {engine}: {more} more rules refused: see `leveectl bgp`"));
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;

    #[test]
    fn what_an_operator_should_look_at_and_no_more_of_it_than_is_read() {
        let engine = Engine::new("edge", "unix:///nowhere", Mark([64_512, 7_653, 1]));
        let new = Report::new(&engine);
        assert_eq!(new.alarms(), ["engine edge: not reached yet"]);
        let well = Report { connected: true, ..new.clone() };
        assert!(well.alarms().is_empty());
        let refused = |many: u128| (0..many).map(|id| (Uuid::from_u128(id), "too long".to_owned())).collect::<Vec<_>>();
        let of = |many| Report { refused: refused(many), ..well.clone() }.alarms();
        assert_eq!(of(1), [format!("engine edge: rule {} refused: too long", Uuid::nil())]);
        assert_eq!(of(REFUSED_SHOWN as u128).len(), REFUSED_SHOWN);
        let many = of(1_000);
        assert_eq!(many.len(), REFUSED_SHOWN + 1);
        assert_eq!(many.last().unwrap(), "engine edge: 990 more rules refused: see `leveectl bgp`");
        let busy = Report { waiting: 5, error: Some("gone".into()), ..new }.alarms();
        assert_eq!(busy, ["engine edge: gone", "engine edge: 5 routes wait: no more a second (bgp.rules_per_second)"]);
    }
}
