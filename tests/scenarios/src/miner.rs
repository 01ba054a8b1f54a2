//! Who finds the rules: the daemon's command line, or one of two that show what the bars mean.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::pcap;
use crate::scenario::Case;

/// A miner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miner {
    /// `leveed mine`.
    Leveed(PathBuf),
    /// Knows the truth: what is possible.
    Ideal,
    /// Discards all that the target gets: what must not pass.
    Destination,
}

/// What it found.
#[derive(Clone, Debug)]
pub struct Mined {
    /// The rules.
    pub rules: Vec<Value>,
    /// How long that took, milliseconds: as the miner says, or else the whole run of its process.
    pub ms: f64,
}

impl Miner {
    /// Writes the case's files into the folder and finds rules.
    ///
    /// # Errors
    /// When files cannot be written, or the miner fails or prints what is not understood.
    pub fn mine(&self, case: &Case, folder: &Path) -> io::Result<Mined> {
        let program = match self {
            Miner::Leveed(program) => program,
            Miner::Ideal => {
                let rules = case.vectors.iter().filter_map(|vector| vector.ideal.clone()).flatten().collect();
                return Ok(Mined { rules, ms: 0.0 });
            }
            Miner::Destination => {
                let rule = json!({"destination_prefix": case.world.target.to_string(), "action_type": "discard"});
                return Ok(Mined { rules: vec![rule], ms: 0.0 });
            }
        };
        let (attack, baseline) = (folder.join("attack.pcap"), folder.join("baseline.pcap"));
        pcap::write(&attack, &case.attack)?;
        pcap::write(&baseline, &case.baseline)?;
        let host = match case.world.hosts.len() {
            1 => case.world.hosts[0].to_string(),
            _ => case.world.target.to_string(),
        };
        let mut command = Command::new(program);
        command.arg("mine").arg("--attack").arg(attack).arg("--baseline").arg(baseline);
        let start = Instant::now();
        let output = command.args(["--host", &host, "--json"]).output()?;
        let took = start.elapsed().as_secs_f64() * 1000.0;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("{}: {}", output.status, said.trim())));
        }
        let said: Value = serde_json::from_slice(&output.stdout)?;
        let Some(rules) = said["rules"].as_array() else { return Err(io::Error::other("no list of rules")) };
        Ok(Mined { rules: rules.clone(), ms: said["elapsed_ms"].as_f64().unwrap_or(took) })
    }
}
