//! Levee's control plane. `leveed` wires these rooms together; tests use them one by one.

pub mod attack;
pub mod detector;
pub mod mitigation;
pub mod record;
pub mod rule_json;
pub mod store;
