//! What a MITIGATOR has of ours, in the types of `proto`.

use proto::v1;

use super::millis;
use crate::actions::mitigator::{Entry, Phase, Report};
use crate::record::SwitchRecord;

pub(super) fn status(report: &Report) -> v1::Mitigator {
    v1::Mitigator {
        connected: report.connected,
        since_ms: millis(report.since),
        error: report.error.clone().unwrap_or_default(),
        node: report.node.clone(),
        version: report.version.clone(),
        names: report.family.map(|family| family.to_string()).unwrap_or_default(),
        switches: report.held.iter().map(held).collect(),
    }
}

fn held(entry: &Entry) -> v1::HeldSwitch {
    let state = match entry.phase {
        _ if entry.trouble.is_some() => "failed",
        _ if entry.foreign => "left",
        Phase::Setting => "setting",
        Phase::Set => "set",
        Phase::Releasing => "releasing",
    };
    v1::HeldSwitch {
        policy: entry.policy,
        switch: entry.switch.clone(),
        name: entry.name.clone(),
        state: state.to_owned(),
        was_on: entry.before,
        attack_ids: entry.attacks.iter().map(ToString::to_string).collect(),
        since_ms: entry.since_ms,
        text: entry.trouble.clone().unwrap_or_default(),
    }
}

pub(super) fn switch(record: &SwitchRecord) -> v1::AttackSwitch {
    let SwitchRecord { policy, switch, state, text } = record.clone();
    v1::AttackSwitch { policy, switch, state: state.as_str().to_owned(), text }
}
