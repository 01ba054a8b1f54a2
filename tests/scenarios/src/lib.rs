//! Scenarios of attacks, and a judge of rules. Knows nothing of the miner but its command line and the JSON of rules.

pub mod attack;
pub mod captures;
pub mod catalog;
pub mod evaluate;
pub mod judge;
pub mod legit;
pub mod miner;
pub mod packet;
pub mod pcap;
pub mod random;
pub mod report;
pub mod scenario;
pub mod world;
