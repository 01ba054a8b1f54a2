//! Switches of a MITIGATOR, as they concern one attack. Values only.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::AttackRecord;

/// A switch of a MITIGATOR, as it concerns one attack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRecord {
    /// The protection policy.
    pub policy: u64,
    /// "protection", or the countermeasure.
    pub switch: String,
    /// What became of it.
    pub state: SwitchState,
    /// In words, where there is more to say.
    pub text: String,
}

/// What became of a switch that an attack needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchState {
    /// It is to be switched on.
    Wanted,
    /// We switched it on.
    On,
    /// It was on before.
    WasOn,
    /// It is off again, as it was before.
    PutBack,
    /// Nobody needs it any more, and others still do, or it is to be off.
    Released,
    /// Somebody else changed it, and it was left so.
    Left,
    /// It cannot be switched.
    Failed,
    /// All actions are paused.
    Paused,
    /// It would be switched on, but for the dry run.
    DryRun,
    /// It would be, but the host group is only monitored.
    MonitorOnly,
}

impl SwitchState {
    /// The word for clients.
    pub fn as_str(self) -> &'static str {
        match self {
            SwitchState::Wanted => "wanted",
            SwitchState::On => "on",
            SwitchState::WasOn => "was_on",
            SwitchState::PutBack => "put_back",
            SwitchState::Released => "released",
            SwitchState::Left => "left",
            SwitchState::Failed => "failed",
            SwitchState::Paused => "paused",
            SwitchState::DryRun => "dry_run",
            SwitchState::MonitorOnly => "monitor_only",
        }
    }
}

impl fmt::Display for SwitchRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MITIGATOR policy {}: {}: ", self.policy, self.switch)?;
        f.write_str(match self.state {
            SwitchState::Wanted => "to be switched on",
            SwitchState::On => "on",
            SwitchState::WasOn => "on, as it was before",
            SwitchState::PutBack => "off again",
            SwitchState::Released => "not needed any more",
            SwitchState::Left => "changed by somebody else, and left so",
            SwitchState::Failed => "cannot be switched",
            SwitchState::Paused => "not switched: all actions are paused",
            SwitchState::DryRun => "not switched: dry run",
            SwitchState::MonitorOnly => "not switched: the group is only monitored",
        })?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

/// Switches that a record keeps: those of several policies.
const SWITCHES_MAX: usize = 64;

impl AttackRecord {
    /// Takes over what became of its switches. Gives those whose state is news.
    pub fn take_switches(&mut self, now: &[SwitchRecord]) -> Vec<SwitchRecord> {
        let mut news = Vec::new();
        for switch in now {
            let is_same = |known: &SwitchRecord| (known.policy, &known.switch) == (switch.policy, &switch.switch);
            match self.switches.iter().position(is_same) {
                Some(index) => {
                    let known = std::mem::replace(&mut self.switches[index], switch.clone());
                    // Other words for the same are no news.
                    if known.state == switch.state {
                        continue;
                    }
                }
                None if self.switches.len() < SWITCHES_MAX => self.switches.push(switch.clone()),
                None => continue,
            }
            news.push(switch.clone());
        }
        news
    }
}
