//! What a MITIGATOR holds of ours and how it does, for the control thread. Values only.

use std::collections::BTreeMap;
use std::time::SystemTime;

use uuid::Uuid;

use super::ledger::{Entry, Phase};
use super::plan::{HeldBack, Plan, Wanted};
use super::settings::Family;
use crate::record::{SwitchRecord, SwitchState};

/// As last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it answers.
    pub connected: bool,
    /// Since when it does, or does not.
    pub since: SystemTime,
    /// The node that answered last.
    pub node: String,
    /// Why it does not answer.
    pub error: Option<String>,
    /// Such as "v21.04"; empty: not known yet.
    pub version: String,
    /// Which names it is called by.
    pub family: Option<Family>,
    /// Whether it was told what is wanted, and has been seen to since: before, what is missing here means nothing.
    pub informed: bool,
    /// The switches that are ours now.
    pub held: Vec<Entry>,
    /// What became of switches, by attack.
    pub of_attacks: BTreeMap<Uuid, Vec<SwitchRecord>>,
    /// What an operator should look at.
    pub alarms: Vec<String>,
}

impl Default for Report {
    fn default() -> Report {
        Report {
            connected: false,
            since: SystemTime::now(),
            node: String::new(),
            error: None,
            version: String::new(),
            family: None,
            informed: false,
            held: Vec::new(),
            of_attacks: BTreeMap::new(),
            alarms: Vec::new(),
        }
    }
}

/// A switch that could not even be looked at: policy, our name, and why.
pub(super) type Trouble = (u64, String, String);

/// What the report of attacks is made of.
pub(super) struct Sources<'a> {
    /// What is ours.
    pub(super) entries: &'a [Entry],
    /// What is wanted.
    pub(super) plan: &'a Plan,
    /// Whether that is known.
    pub(super) planned: bool,
    /// What went wrong.
    pub(super) troubles: &'a [Trouble],
    /// What came to its end, the oldest first.
    pub(super) finished: &'a [(Uuid, SwitchRecord)],
    /// Whether all actions are paused.
    pub(super) paused: bool,
    /// Whether MITIGATOR answers.
    pub(super) connected: bool,
}

/// What a switch is to those who need it.
pub(super) fn record(policy: u64, switch: &str, state: SwitchState, text: &str) -> SwitchRecord {
    SwitchRecord { policy, switch: switch.to_owned(), state, text: text.to_owned() }
}

const OUT_OF_REACH: &str = "MITIGATOR cannot be reached";
const TAKEN_BACK: &str = "somebody switched it off and on again: it will be left as it is";

impl Sources<'_> {
    /// By attack.
    pub(super) fn of_attacks(&self) -> BTreeMap<Uuid, Vec<SwitchRecord>> {
        let mut of_attacks: BTreeMap<Uuid, Vec<SwitchRecord>> = BTreeMap::new();
        let mut put = |attack: Uuid, switch: SwitchRecord| {
            let list = of_attacks.entry(attack).or_default();
            match list.iter_mut().find(|known| (known.policy, &known.switch) == (switch.policy, &switch.switch)) {
                Some(known) => *known = switch,
                None => list.push(switch),
            }
        };
        self.finished.iter().for_each(|(attack, switch)| put(*attack, switch.clone()));
        for (Wanted { policy, switch, attacks }, why) in &self.plan.held_back {
            let state = match why {
                HeldBack::DryRun => SwitchState::DryRun,
                HeldBack::MonitorOnly => SwitchState::MonitorOnly,
            };
            attacks.iter().for_each(|attack| put(*attack, record(*policy, switch, state, "")));
        }
        for wanted in &self.plan.wanted {
            let (state, text) = self.of_wanted(wanted);
            wanted.attacks.iter().for_each(|attack| put(*attack, record(wanted.policy, &wanted.switch, state, text)));
        }
        for entry in self.entries.iter().filter(|entry| self.planned && !self.is_wanted(entry)) {
            let (state, text) = match &entry.trouble {
                Some(trouble) => (SwitchState::Failed, trouble.as_str()),
                None => (SwitchState::Released, ""),
            };
            entry.attacks.iter().for_each(|attack| put(*attack, record(entry.policy, &entry.switch, state, text)));
        }
        of_attacks
    }

    fn of_wanted(&self, wanted: &Wanted) -> (SwitchState, &str) {
        let same = |entry: &&Entry| (entry.policy, &entry.switch) == (wanted.policy, &wanted.switch);
        let entry = self.entries.iter().find(same);
        let trouble =
            self.troubles.iter().find(|(policy, switch, _)| (policy, switch) == (&wanted.policy, &wanted.switch));
        match (entry, trouble) {
            (Some(Entry { trouble: Some(trouble), .. }), _) => (SwitchState::Failed, trouble),
            (Some(entry), _) if entry.foreign && entry.seen == Some(false) => (SwitchState::Left, ""),
            (Some(entry), _) if entry.foreign => (SwitchState::On, TAKEN_BACK),
            (Some(entry), _) if entry.phase == Phase::Set && entry.before => (SwitchState::WasOn, ""),
            (Some(entry), _) if entry.phase == Phase::Set => (SwitchState::On, ""),
            (None, Some((.., why))) => (SwitchState::Failed, why),
            _ if self.paused => (SwitchState::Paused, ""),
            _ if !self.connected => (SwitchState::Failed, OUT_OF_REACH),
            _ => (SwitchState::Wanted, ""),
        }
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        self.plan.wanted.iter().any(|wanted| (wanted.policy, &wanted.switch) == (entry.policy, &entry.switch))
    }

    /// What an operator should look at.
    pub(super) fn alarms(&self) -> Vec<String> {
        let mut alarms = Vec::new();
        for entry in self.entries {
            let Entry { policy, switch, .. } = entry;
            if let Some(trouble) = &entry.trouble {
                alarms.push(format!("MITIGATOR policy {policy}: {switch}: {trouble}"));
            } else if entry.foreign && entry.seen == Some(false) {
                let text = "somebody switched it off while attacks need it; it is left so";
                alarms.push(format!("MITIGATOR policy {policy}: {switch}: {text}"));
            }
        }
        for (policy, switch, why) in self.troubles {
            alarms.push(format!("MITIGATOR policy {policy}: {switch}: {why}"));
        }
        if !self.plan.homeless.is_empty() {
            let many = self.plan.homeless.len();
            alarms
                .push(format!("MITIGATOR: no policy for the targets of {many} attacks: nothing is switched for them"));
        }
        alarms
    }
}
