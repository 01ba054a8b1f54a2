//! What Levee does about an attack: one room for each outside system. They know nothing of each other.

pub mod bgp;
pub mod mitigator;
pub mod notify;
