//! Levee's control plane. `leveed` wires these rooms together; tests use them one by one.

pub mod attack;
pub mod miner;
pub mod rule_json;
