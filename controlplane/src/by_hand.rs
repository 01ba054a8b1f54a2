//! What persons did: the pause of all actions, and the list of who did what. Values only.

use serde::{Deserialize, Serialize};

/// All actions stand still: outside systems stay exactly as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when, wall-clock milliseconds.
    pub since_ms: i64,
    /// Until when; none: until a person says so.
    pub until_ms: Option<i64>,
    /// Who.
    pub by: String,
    /// Why, in the person's words.
    pub reason: String,
    /// Whether they do not stand still, but have nothing of ours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// What a person did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When, wall-clock milliseconds.
    pub time_ms: i64,
    /// Who.
    pub by: String,
    /// "ban", "unban", "rule_add", "rule_remove", "pause", "withdraw_all" or "resume".
    pub act: String,
    /// What, and why.
    pub text: String,
}
