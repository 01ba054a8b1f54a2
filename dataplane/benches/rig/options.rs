//! The rig's command line.

use crate::{Result, eal};

/// Which of both loops runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Bare,
    Levee,
}

/// How to measure, and what.
pub(crate) struct Options {
    /// Cases to run; none: all.
    cases: Vec<String>,
    /// Alternating pairs of runs.
    pub(crate) pairs: usize,
    /// Packets of a run.
    pub(crate) packets: u64,
    /// Core of whatever needs only one.
    pub(crate) core: usize,
    /// Huge pages for DPDK; tables take them where there are any.
    pub(crate) huge: bool,
    side: Side,
}

impl Options {
    /// Of this program's arguments; `known` are the names of cases.
    pub(crate) fn from_arguments(known: &[&str]) -> Result<Options> {
        let huge = eal::are_huge_pages_free();
        let mut options = Options { cases: Vec::new(), pairs: 9, packets: 20_000_000, core: 1, huge, side: Side::Both };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--case" => {
                    let name = value()?;
                    if !known.contains(&name.as_str()) {
                        return Err(format!("no case {name} (known: {})", known.join(", ")).into());
                    }
                    options.cases.push(name);
                }
                "--pairs" => options.pairs = value()?.parse::<usize>()?.max(1),
                "--millions" => options.packets = value()?.parse::<u64>()?.max(1) * 1_000_000,
                "--core" => options.core = value()?.parse()?,
                "--no-huge" => options.huge = false,
                "--only-bare" => options.side = Side::Bare,
                "--only-levee" => options.side = Side::Levee,
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(options)
    }

    /// Whether a case is to run.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|name| name == case)
    }

    /// Whether the bare loop runs.
    pub(crate) fn bare(&self) -> bool {
        self.side != Side::Levee
    }

    /// Whether the worker runs.
    pub(crate) fn levee(&self) -> bool {
        self.side != Side::Bare
    }

    /// Whether both run, so that there is something to compare.
    pub(crate) fn both(&self) -> bool {
        self.side == Side::Both
    }
}
