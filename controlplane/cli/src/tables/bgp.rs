//! BGP engines, their sessions and what they hold, as tables; and what a pause of all actions says.

use std::fmt::Write;

use proto::v1::{ActionPause, Engine, HeldRule, ListEnginesResponse, Peer, RefusedRule, Rule};

use super::{facts, table};
use crate::units::{age, count, duration};

/// Part of `leveectl status`.
pub(super) fn overview(engines: &[Engine], now_ms: i64) -> String {
    let peers = |engine: &Engine| {
        let peers: Vec<_> = engine.peers.iter().map(|peer| format!("{} {}", peer.address, peer.state)).collect();
        peers.join(", ")
    };
    let row = |engine: &Engine| {
        vec![
            engine.name.clone(),
            if engine.connected { "up" } else { "down" }.to_owned(),
            age(engine.since_ms, now_ms),
            engine.held.to_string(),
            engine.wanted.to_string(),
            peers(engine),
            engine.error.clone(),
        ]
    };
    table(&["ENGINE", "STATE", "SINCE", ">HELD", ">WANTED", "PEERS", "ERROR"], engines.iter().map(row))
}

/// `leveectl bgp`.
pub(crate) fn engines(list: &ListEnginesResponse, now_ms: i64) -> String {
    if list.engines.is_empty() {
        return "no engines: the configuration has no section [bgp]\n".to_owned();
    }
    let pause = list.pause.as_ref().map(|pause| paused(pause, now_ms));
    let engines = list.engines.iter().map(|one| engine(one, now_ms));
    pause.into_iter().chain(engines).collect::<Vec<_>>().join("\n")
}

fn engine(engine: &Engine, now_ms: i64) -> String {
    let state = if engine.connected { "up" } else { "down" };
    let speaker = if engine.asn > 0 { format!("AS {}, {}", engine.asn, engine.router_id) } else { String::new() };
    let tables: Vec<String> =
        engine.tables.iter().map(|table| format!("{} in {}", count(table.routes.into()), table.family)).collect();
    let last_error = match engine.last_error_ms {
        0 => String::new(),
        at => format!("{}, {}", engine.last_error, age(at, now_ms)),
    };
    let mut text = facts(&[
        ("engine", engine.name.clone()),
        ("state", format!("{state}, {}", age(engine.since_ms, now_ms))),
        ("speaker", speaker),
        ("profile", engine.profile.clone()),
        ("wanted", count(engine.wanted.into())),
        ("routes", if tables.is_empty() { "none of ours".to_owned() } else { tables.join(", ") }),
        ("waiting", if engine.waiting > 0 { count(engine.waiting.into()) } else { String::new() }),
        ("last error", last_error),
    ]);
    let peer = |peer: &Peer| {
        vec![
            peer.address.clone(),
            if peer.asn > 0 { peer.asn.to_string() } else { "-".to_owned() },
            peer.state.clone(),
            if peer.since_ms > 0 { age(peer.since_ms, now_ms) } else { "never".to_owned() },
            count(peer.advertised.into()),
            count(peer.falls.into()),
            count(peer.notifications),
            peer.families.join(", "),
        ]
    };
    let columns = ["PEER", "AS", "STATE", "SINCE", ">SENT", ">FALLS", ">NOTIFIED", "FAMILIES"];
    if !engine.peers.is_empty() {
        text += &table(&columns, engine.peers.iter().map(peer));
    }
    let held = |rule: &HeldRule| vec![rule.text.clone(), age(rule.since_ms, now_ms)];
    if !engine.rules.is_empty() {
        text += &table(&["HOLDS", "SINCE"], engine.rules.iter().map(held));
    }
    for RefusedRule { text: rule, why, id } in &engine.refused {
        let rule = if rule.is_empty() { id } else { rule };
        let _ = writeln!(text, "NOT ANNOUNCED  {rule}: {why}");
    }
    text
}

/// The engines that hold a rule, and since when.
pub(super) fn holders(rule: &Rule, now_ms: i64) -> String {
    let engines = rule.engines.iter().map(|engine| format!("{}, {}", engine.name, age(engine.since_ms, now_ms)));
    engines.collect::<Vec<_>>().join("; ")
}

/// What makes a rule unlike others.
pub(super) fn kind(rule: &Rule) -> &'static str {
    match (rule.last_resort, rule.escalated) {
        (true, true) => "last resort, over the second threshold",
        (true, false) => "last resort",
        (false, _) => "",
    }
}

/// Who paused all actions, since when, for how long, and why.
pub(super) fn pause_facts(pause: &ActionPause, now_ms: i64) -> String {
    let until = match pause.until_ms {
        0 => "until `leveectl resume`".to_owned(),
        until_ms => format!("for another {}", duration(until_ms - now_ms)),
    };
    let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
    format!("by {}, {}, {until}{reason}", pause.by, age(pause.since_ms, now_ms))
}

/// `leveectl pause` and `leveectl withdraw-all`.
pub(crate) fn paused(pause: &ActionPause, now_ms: i64) -> String {
    let facts = pause_facts(pause, now_ms);
    match pause.withdrawn {
        true => format!("everything is WITHDRAWN {facts}\nnothing is announced; detection goes on\n"),
        false => format!("all actions are PAUSED {facts}\nnothing is announced or withdrawn; detection goes on\n"),
    }
}

/// `leveectl resume`.
pub(crate) fn resumed(pause: &ActionPause, now_ms: i64) -> String {
    format!(
        "actions go on; they were {} for {} by {}\n",
        if pause.withdrawn { "withdrawn" } else { "paused" },
        duration(now_ms - pause.since_ms),
        pause.by
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    #[test]
    fn an_engine_shows_sessions_rules_and_what_is_not_announced() {
        let peer = Peer {
            address: "192.0.2.2".into(),
            state: "established".into(),
            since_ms: NOW - 90_000,
            asn: 65002,
            families: vec!["ipv4-flowspec".into(), "ipv6-flowspec".into()],
            advertised: 3,
            falls: 1,
            notifications: 1,
        };
        let engine = Engine {
            name: "edge".into(),
            connected: true,
            since_ms: NOW - 60_000,
            wanted: 2,
            peers: vec![peer, Peer { address: "192.0.2.3".into(), state: "active".into(), ..Peer::default() }],
            asn: 65001,
            router_id: "192.0.2.1".into(),
            profile: "strict".into(),
            tables: vec![proto::v1::Table { family: "ipv4-flowspec".into(), routes: 1 }],
            rules: vec![HeldRule { id: "1".into(), text: "dst 198.18.0.1/32 discard".into(), since_ms: NOW - 5_000 }],
            refused: vec![RefusedRule {
                id: "2".into(),
                text: "dst 198.18.0.2/32 discard".into(),
                why: "held back: it fell".into(),
            }],
            last_error: "connection lost".into(),
            last_error_ms: NOW - 70_000,
            ..Engine::default()
        };
        let shown = engines(&ListEnginesResponse { engines: vec![engine], pause: None }, NOW);
        for part in [
            "speaker     AS 65001, 192.0.2.1",
            "routes      1 in ipv4-flowspec",
            "last error  connection lost, 1 min 10 s ago",
            "192.0.2.2  65002  established",
            "192.0.2.3  -      active       never",
            "dst 198.18.0.1/32 discard  5 s ago",
            "NOT ANNOUNCED  dst 198.18.0.2/32 discard: held back: it fell",
        ] {
            assert!(shown.contains(part), "{part:?} in\n{shown}");
        }
        assert!(!shown.contains("waiting"), "{shown}");
    }

    #[test]
    fn a_withdrawal_is_told_from_a_pause_and_the_end_of_it_too() {
        let pause = ActionPause { since_ms: NOW - 5_000, by: "ann".into(), withdrawn: true, ..ActionPause::default() };
        assert!(paused(&pause, NOW).starts_with("everything is WITHDRAWN by ann"));
        assert!(resumed(&pause, NOW).contains("were withdrawn for 5 s by ann"));
        let list = ListEnginesResponse { engines: vec![Engine::default()], pause: Some(pause) };
        assert!(engines(&list, NOW).starts_with("everything is WITHDRAWN"));
    }
}
