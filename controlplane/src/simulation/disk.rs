//! A disk with records of attacks, in a mood.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::record::AttackRecord;
use crate::store::lost_sight_of;

/// How the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Well.
    Well,
    /// It can be read, and not written.
    Full,
    /// It answers nothing.
    Stuck,
    /// It can be neither read nor written.
    Gone,
}

/// The disk.
pub(super) struct Disk {
    pub(super) records: BTreeMap<Uuid, Arc<AttackRecord>>,
    pub(super) mood: Mood,
    /// What is alive by its word was not read at the start of the daemon that writes now.
    unread: bool,
}

impl Disk {
    pub(super) fn new() -> Disk {
        Disk { records: BTreeMap::new(), mood: Mood::Well, unread: false }
    }

    /// What a start reads: the alive, as they come back from their JSON.
    pub(super) fn take_up(&mut self) -> Vec<AttackRecord> {
        self.unread = self.mood == Mood::Gone;
        let alive = self.records.values().filter(|record| record.state.is_alive() && !self.unread);
        let read = alive.map(|record| {
            let json = serde_json::to_string(&**record).unwrap();
            serde_json::from_str(&json).unwrap()
        });
        read.collect()
    }

    /// Writes all or nothing. `None`: no answer.
    pub(super) fn save(
        &mut self,
        batch: &BTreeMap<Uuid, Arc<AttackRecord>>,
        now_ms: i64,
    ) -> Option<Result<(), String>> {
        match self.mood {
            Mood::Stuck => return None,
            Mood::Full | Mood::Gone => return Some(Err(format!("{:?}", self.mood))),
            Mood::Well => (),
        }
        if std::mem::take(&mut self.unread) {
            for record in self.records.values_mut().filter(|record| record.state.is_alive()) {
                *record = Arc::new(lost_sight_of((**record).clone(), now_ms));
            }
        }
        self.records.extend(batch.iter().map(|(id, record)| (*id, Arc::clone(record))));
        Some(Ok(()))
    }
}
