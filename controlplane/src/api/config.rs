//! The configuration in the types of `proto`.

use std::path::Path;
use std::time::UNIX_EPOCH;

use proto::v1;
use tonic::Status;

use crate::config::{Change, Leaf};
use crate::reload::{Diff, Error, Outcome, Step};

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let text = error.to_string();
        match error {
            Error::Bad(_) | Error::Edit(_) | Error::Unknown(_) => Status::invalid_argument(text),
            Error::NoAnswer => Status::unavailable(text),
            _ => Status::failed_precondition(text),
        }
    }
}

pub(super) fn shown(file: &Path, leaves: Vec<Leaf>) -> v1::GetConfigResponse {
    let keys = leaves.into_iter().map(|Leaf { key, values, is_list }| v1::ConfigKey { key, values, is_list });
    v1::GetConfigResponse { file: file.display().to_string(), keys: keys.collect() }
}

pub(super) fn changed(file: &Path, Outcome { changes, notes }: Outcome) -> v1::ConfigChanged {
    v1::ConfigChanged { file: file.display().to_string(), changes: changes.into_iter().map(change).collect(), notes }
}

pub(super) fn diff(file: &Path, diff: Diff) -> v1::ConfigDiff {
    let (changes, wrong) = changes(diff.file);
    let (candidate_changes, candidate_wrong) = self::changes(diff.candidate);
    v1::ConfigDiff {
        file: file.display().to_string(),
        changes,
        wrong,
        steps: diff.steps.into_iter().map(step).collect(),
        candidate_changes,
        candidate_wrong,
    }
}

/// The changes, or why there are none.
fn changes(result: Result<Vec<Change>, Error>) -> (Vec<v1::ConfigChange>, String) {
    match result {
        Ok(changes) => (changes.into_iter().map(change).collect(), String::new()),
        Err(error) => (Vec::new(), error.to_string()),
    }
}

fn change(Change { key, old, new, restart }: Change) -> v1::ConfigChange {
    v1::ConfigChange { key, old, new, restart: restart.unwrap_or_default() }
}

fn step(Step { edit, by, time }: Step) -> v1::ConfigStep {
    let time_ms = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    v1::ConfigStep { key: edit.key, value: edit.value, by, time_ms }
}
