//! How soon a router does as it is told: from the moment that a rule is wanted to the router's own table, one rule at a time; and a
//! thousand rules in and out. The whole daemon, a real gobgpd, and a real BIRD in a namespace of its own, whose stamp of each rule
//! is taken. Needs root.
//!
//! `cargo bench -p controlplane --bench routers -- [--quick]` writes `target/bench/routers.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use support::daemon::{Leveed, Setup, cores, now_ms};
use support::routers::{ALL, Lab, Options, Router, bird};
use support::{orders, wait_until};

#[path = "../../tests/support/mod.rs"]
mod support;

/// Rules one at a time, and rules at once.
const RULES: [usize; 2] = [100, 1_000];
const QUICK: [usize; 2] = [5, 50];
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> std::io::Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let [singles, many] = if quick { QUICK } else { RULES };
    let mut lab = Lab::prepare(&ALL[..1], Options::default());
    lab.gobgpd.start(&lab.engine);
    let router = &mut lab.routers[0];
    // Its stamps in milliseconds since 1970, as ours.
    router.edit_config(|config| config.replace("timeformat route iso long ms;", "timeformat route \"%s%3f\";"));
    router.start();
    lab.wait_established(&["BIRD"]);
    let leveed = start(&lab);

    let singles = one_at_a_time(&leveed, &lab.routers[0], singles);
    let (there_ms, gone_ms) = at_once(&leveed, &lab.routers[0], many);
    let results = json!({
        "rule_to_router": { "median_ms": singles[singles.len() / 2], "worst_ms": singles[singles.len() - 1], "rules": singles.len() },
        "rules_in_and_out": { "there_ms": there_ms, "gone_ms": gone_ms, "rules": many },
    });
    println!("{}", serde_json::to_string_pretty(&results)?);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench/routers.json");
    std::fs::create_dir_all(path.with_file_name(""))?;
    std::fs::write(&path, serde_json::to_string_pretty(&results)? + "\n")?;
    Ok(())
}

/// Without traffic: what is measured is the way out.
fn start(lab: &Lab) -> Leveed {
    let rest = format!(
        "[detection]\nrules_in_all = 2000\nattacks_at_once = 10000\n[bgp]\nmark = \"64512:7653:1\"\nrules_per_second = 10000\n\
         [[bgp.engines]]\nname = \"edge\"\naddress = \"{}\"\n",
        lab.gobgpd.address()
    );
    let core = [*cores().last().expect("a core")];
    let ports: [(&str, &[usize]); 1] = [("net_ring0", &core)];
    let setup = Setup { networks: &["198.18.0.0/16"], ports: &ports, daemon: "", rest: &rest };
    let mut leveed = Leveed::prepare(&setup);
    leveed.start();
    leveed
}

/// Milliseconds from "wanted" to the router's table, sorted.
fn one_at_a_time(leveed: &Leveed, router: &Router, rules: usize) -> Vec<i64> {
    let mut wanted_ms = Vec::new();
    for index in 0..rules {
        // At any moment of whatever the daemon does by the clock.
        std::thread::sleep(Duration::from_millis(20 + index as u64 * 7 % 41));
        wanted_ms.push(orders::add(leveed, &[rule(index)])[0].wanted_ms);
    }
    wait_until(PATIENCE, "all rules", || (stamps(router).len() == rules).then_some(()));
    let stamps = stamps(router);
    let mut delays: Vec<i64> = (0..rules).map(|index| stamps[&host(index)] - wanted_ms[index]).collect();
    delays.sort_unstable();
    delays
}

/// Milliseconds from the first request to the last rule in the router's table, then from the first request to the last one gone.
fn at_once(leveed: &Leveed, router: &Router, rules: usize) -> (i64, u128) {
    let already = stamps(router).len();
    let start_ms = now_ms();
    let added = orders::add(leveed, &(already..already + rules).map(rule).collect::<Vec<_>>());
    wait_until(PATIENCE, "all rules", || (stamps(router).len() == already + rules).then_some(()));
    let there_ms = stamps(router).into_values().max().expect("a rule") - start_ms;

    let start = Instant::now();
    orders::remove(leveed, &added);
    wait_until(PATIENCE, "no rule", || (stamps(router).len() == already).then_some(()));
    (there_ms, start.elapsed().as_millis())
}

fn host(index: usize) -> String {
    format!("198.18.{}.{}/32", index / 250, index % 250)
}

fn rule(index: usize) -> String {
    let ports = json!({ "destination_prefix": host(index), "protocols": ["udp"], "source_ports": [53], "action_type": "discard" });
    ports.to_string()
}

/// When the router took in each rule, by destination: `flow4 { dst 198.18.0.1/32; …; }  [levee 1795328978017 from 192.0.2.1] …`.
fn stamps(router: &Router) -> BTreeMap<String, i64> {
    let listed = bird::birdc(router, "show route table flowtab4").expect("BIRD answers");
    let rules = listed.lines().filter_map(|line| {
        let (destination, rest) = line.strip_prefix("flow4 { dst ")?.split_once(';')?;
        let (stamp, _) = rest.split_once("[levee ")?.1.split_once(' ')?;
        Some((destination.to_owned(), stamp.parse().expect("a time")))
    });
    rules.collect()
}
