//! Levee's control plane. `leveed` wires these rooms together; tests use them one by one.

pub mod actions;
pub mod api;
pub mod attack;
pub mod baseline;
pub mod by_hand;
pub mod capture_file;
pub mod config;
pub mod control;
pub mod crash;
pub mod detector;
pub mod group;
pub mod guard;
pub mod interface;
pub mod meter;
pub mod miner;
pub mod mitigation;
pub mod narrow;
pub mod offline;
pub mod plan;
pub mod profile;
pub mod record;
pub mod reload;
pub mod replay;
pub mod rule_json;
pub mod samples;
pub mod search;
#[cfg(test)]
mod simulation;
pub mod store;
mod tls;
pub mod whitelist;
