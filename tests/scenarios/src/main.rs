//! The command line of the scenarios: list them, write their files, or have all of them mined and judged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;

use scenarios::attack::Ideal;
use scenarios::captures::{self, Capture};
use scenarios::catalog;
use scenarios::evaluate::{COLLATERAL_MAX, Row, evaluate, timed};
use scenarios::miner::Miner;
use scenarios::pcap::{self, Frame};
use scenarios::report;
use scenarios::scenario::{Case, Scenario};

/// Sizes of samples, and shares of legitimate traffic, that scenarios of `VARIED` are run with.
const SAMPLES: [usize; 5] = [50, 200, 500, 2_000, 5_000];
const SHARES: [f64; 4] = [0.01, 0.05, 0.2, 0.4];

#[derive(Parser)]
#[command(about = "Attacks mixed with legitimate traffic, and a judge of the rules that were mined from them")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names and what they are.
    List,
    /// Writes attack.pcap, baseline.pcap, judge.pcap with its labels, and scenario.json for each scenario and seed.
    Generate {
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        which: Which,
    },
    /// Mines and judges. Fails when a bar is missed.
    Eval {
        #[command(flatten)]
        which: Which,
        /// The daemon whose `mine` is asked; or `ideal`, which knows the truth; or `destination`, which discards all.
        #[arg(long, default_value = "target/debug/leveed")]
        miner: String,
        /// Where results.json goes.
        #[arg(long, default_value = "target/eval")]
        out: PathBuf,
        /// Without other sizes of samples and other shares of legitimate traffic, and without bars of time.
        #[arg(long)]
        quick: bool,
        /// Print the results as JSON instead of the table.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Which {
    /// Seeds for each scenario.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Only scenarios with this in their names.
    #[arg(long)]
    only: Option<String>,
    /// The folder with real captures.
    #[arg(long, default_value = "tests/data")]
    captures: PathBuf,
}

/// A scenario of either kind.
enum Entry {
    Drawn(Scenario),
    Captured(Capture),
}

impl Entry {
    fn scenario(&self) -> Scenario {
        match self {
            Entry::Drawn(scenario) => scenario.clone(),
            Entry::Captured(capture) => capture.scenario(),
        }
    }

    fn case(&self, seed: u64, captures: &Path) -> io::Result<Case> {
        match self {
            Entry::Drawn(scenario) => Ok(scenario.case(seed)),
            Entry::Captured(capture) => capture.case(captures, seed),
        }
    }
}

impl Which {
    fn entries(&self) -> Vec<Entry> {
        let drawn = catalog::all().into_iter().map(Entry::Drawn);
        let entries = drawn.chain(captures::all().into_iter().map(Entry::Captured));
        entries.filter(|entry| self.takes(&entry.scenario().name)).collect()
    }

    fn takes(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }

    fn seeds(&self) -> std::ops::Range<u64> {
        self.first_seed..self.first_seed + self.seeds
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::List => list(),
        Command::Generate { out, which } => generate(&out, &which).map(|()| true),
        Command::Eval { which, miner, out, quick, json } => {
            let miner = match miner.as_str() {
                "ideal" => Miner::Ideal,
                "destination" => Miner::Destination,
                program => Miner::Leveed(program.into()),
            };
            eval(&which, &miner, &out, quick, json)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn list() -> io::Result<bool> {
    for scenario in catalog::all() {
        let vectors = scenario.floods.iter().map(|(_, flood)| match flood.ideal {
            Ideal::Rules(..) => flood.name.clone(),
            Ideal::None(_) => format!("~{}", flood.name),
        });
        let vectors: Vec<String> = vectors.collect();
        println!("{:<44} {:<9} {}", scenario.name, scenario.legit.name(), vectors.join(", "));
    }
    for capture in captures::all() {
        println!("{}", capture.scenario().name);
    }
    Ok(true)
}

fn generate(out: &Path, which: &Which) -> io::Result<()> {
    for entry in which.entries() {
        for seed in which.seeds() {
            let scenario = entry.scenario();
            let case = entry.case(seed, &which.captures)?;
            let folder = out.join(format!("{}-{seed}", scenario.name));
            fs::create_dir_all(&folder)?;
            pcap::write(&folder.join("attack.pcap"), &case.attack)?;
            pcap::write(&folder.join("baseline.pcap"), &case.baseline)?;
            let frames: Vec<Frame> = case.judged.iter().map(|(frame, _)| frame.clone()).collect();
            pcap::write(&folder.join("judge.pcap"), &frames)?;
            let labels: Vec<Option<usize>> = case.judged.iter().map(|(_, label)| *label).collect();
            fs::write(folder.join("judge.json"), json!({ "vector_of_each_packet": labels }).to_string())?;
            fs::write(folder.join("scenario.json"), format!("{:#}\n", scenario.describe(&case)))?;
        }
    }
    Ok(())
}

fn eval(which: &Which, miner: &Miner, out: &Path, quick: bool, as_json: bool) -> io::Result<bool> {
    fs::create_dir_all(out)?;
    let mut rows = Vec::new();
    for entry in which.entries() {
        for seed in which.seeds() {
            rows.push(run(&entry.scenario(), &entry.case(seed, &which.captures)?, seed, miner, out, !quick)?);
        }
    }
    if !quick {
        rows.extend(varied(miner, out, &rows)?);
    }
    let short = report::short(&rows);
    let results = json!({
        "holds": short.is_empty(), "short": short, "cases": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
    });
    fs::write(out.join("results.json"), format!("{results:#}\n"))?;
    if as_json {
        println!("{results:#}");
    } else {
        print!("{}", report::table(&rows));
        println!("~ nothing tells it from the host's own traffic: no bar for recall");
        for line in &short {
            println!("short: {line}");
        }
        for (name, of_size) in [("500", 500), ("5,000", 5_000)] {
            let mut times: Vec<f64> = rows.iter().filter(|row| row.setting.0 == of_size).map(|row| row.ms).collect();
            times.sort_by(f64::total_cmp);
            if let Some(worst) = times.last() {
                println!("{name} packets: median {:.1} ms, worst {worst:.1} ms", times[times.len() / 2]);
            }
        }
        println!("{} cases, {} short", rows.len(), short.len());
    }
    Ok(short.is_empty())
}

fn run(scenario: &Scenario, case: &Case, seed: u64, miner: &Miner, out: &Path, is_timed: bool) -> io::Result<Row> {
    let mut done = evaluate(scenario, case, seed, miner, out);
    if let (true, Ok(row)) = (is_timed, &mut done) {
        timed(row, case, miner, out)?;
    }
    done.map_err(|error| io::Error::new(error.kind(), format!("{} seed {seed}: {error}", scenario.name)))
}

/// Other samples and other shares: the bars are that collateral does not grow beyond twice what it was, and time.
fn varied(miner: &Miner, out: &Path, usual: &[Row]) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for scenario in catalog::all().into_iter().filter(|scenario| catalog::VARIED.contains(&scenario.name.as_str())) {
        for (sample, share) in SAMPLES.iter().flat_map(|&sample| SHARES.map(|share| (sample, share))) {
            for row in usual.iter().filter(|row| row.name == scenario.name) {
                let other = scenario.clone().sample(sample).share(share);
                let case = other.case(row.seed);
                let mut other = run(&other, &case, row.seed, miner, out, false)?;
                let most = (2.0 * row.score.collateral).max(COLLATERAL_MAX);
                let is_more = other.score.collateral > most;
                let more = format!("collateral {:.4} is over {most:.4}", other.score.collateral);
                other.short = is_more.then_some(more).into_iter().collect();
                timed(&mut other, &case, miner, out)?;
                other.name = format!("{} {sample} {:.0}%", scenario.name, share * 100.0);
                rows.push(other);
            }
        }
    }

    Ok(rows)
}
