//! The file as it stands: every key optional, every value with its place. Says what is wrong with TOML, keys and types;
//! values are looked at in `check`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_path_to_error::Segment;
use serde_spanned::Spanned;

use super::diagnostics::{Diagnostics, Source};
use super::{HugePages, Log, OnShutdown, Tap};
use crate::group::Inseparable;

pub(super) type Text = Spanned<String>;
pub(super) type Number = Spanned<i64>;
/// Names are looked at in `check`, so that one run finds every bad one.
pub(super) type Thresholds = BTreeMap<Text, Spanned<toml::Value>>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    pub(super) daemon: Daemon,
    pub(super) dpdk: Dpdk,
    pub(super) ports: Vec<Port>,
    pub(super) tables: Tables,
    pub(super) networks: Vec<Text>,
    pub(super) profiles: BTreeMap<String, Spanned<Profile>>,
    pub(super) groups: BTreeMap<String, Spanned<Group>>,
    pub(super) detection: Detection,
    pub(super) whitelist: Whitelist,
    pub(super) history: History,
    #[serde(default)]
    pub(super) miner: Miner,
    pub(super) bgp: Option<Bgp>,
    pub(super) mitigator: Option<Mitigator>,
    pub(super) notify: BTreeMap<String, Spanned<Notify>>,
    pub(super) webhooks: BTreeMap<String, Spanned<Webhook>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Daemon {
    pub(super) socket: Option<Text>,
    pub(super) state: Option<Text>,
    pub(super) log: Option<Log>,
    pub(super) log_level: Option<Text>,
    pub(super) dry_run: Option<bool>,
    pub(super) on_shutdown: Option<OnShutdown>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Dpdk {
    pub(super) huge_pages: Option<HugePages>,
    pub(super) memory_mb: Option<Number>,
    pub(super) file_prefix: Option<Text>,
    pub(super) mbufs: Option<Number>,
    pub(super) burst_max: Option<Number>,
    pub(super) extra_args: Option<Vec<Text>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    pub(super) device: Text,
    pub(super) cores: Spanned<Vec<Number>>,
    pub(super) promiscuous: Option<bool>,
    pub(super) descriptors: Option<Number>,
    pub(super) mtu: Option<Number>,
    pub(super) decapsulate: Option<Vec<Text>>,
    pub(super) snap_length: Option<Number>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tables {
    pub(super) ipv4_blocks: Option<Spanned<toml::Value>>,
    pub(super) ipv6_hosts: Option<Number>,
    pub(super) ipv6_prefix_length: Option<Number>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Group {
    pub(super) networks: Option<Spanned<Vec<Text>>>,
    pub(super) inherit: Option<Text>,
    pub(super) directions: Option<Spanned<Vec<Text>>>,
    pub(super) families: Option<Spanned<Vec<Text>>>,
    pub(super) monitor_only: Option<bool>,
    pub(super) profile: Option<Text>,
    pub(super) inseparable: Option<Spanned<Inseparable>>,
    pub(super) last_resort: Option<Spanned<LastResort>>,
    pub(super) last_resort_mbps: Option<Number>,
    pub(super) incoming_action: Option<Text>,
    pub(super) outgoing_action: Option<Text>,
    pub(super) escalate_incoming: Thresholds,
    pub(super) escalate_outgoing: Thresholds,
    pub(super) incoming: Thresholds,
    pub(super) outgoing: Thresholds,
    pub(super) network_incoming: Thresholds,
    pub(super) network_outgoing: Thresholds,
    pub(super) group_incoming: Thresholds,
    pub(super) group_outgoing: Thresholds,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Profile {
    pub(super) like: Option<Text>,
    pub(super) without: Option<Vec<Text>>,
    pub(super) items_max: Option<Number>,
    pub(super) length_max: Option<Number>,
    pub(super) dont_fragment: Option<bool>,
    pub(super) redirect_as4: Option<bool>,
    pub(super) rules_per_target: Option<Number>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LastResort {
    Nothing,
    RateLimit,
    Blackhole,
    Divert,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Detection {
    pub(super) average_calculation_time_ms: Option<Number>,
    pub(super) check_period_ms: Option<Number>,
    pub(super) capture_packets: Option<Number>,
    pub(super) capture_flow_records: Option<Number>,
    pub(super) capture_timeout_s: Option<Number>,
    pub(super) captures_at_once: Option<Number>,
    pub(super) threshold_specific_ban_details: Option<bool>,
    pub(super) ban_time_s: Option<Number>,
    pub(super) ban_time_max_s: Option<Number>,
    pub(super) unban_only_if_attack_finished: Option<bool>,
    pub(super) tap: Option<Tap>,
    pub(super) probation_s: Option<Number>,
    pub(super) rules_per_target: Option<Number>,
    pub(super) rule_idle_s: Option<Number>,
    pub(super) rules_in_all: Option<Number>,
    pub(super) blackholes_in_all: Option<Number>,
    pub(super) attacks_at_once: Option<Number>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Whitelist {
    pub(super) networks: Vec<Text>,
    pub(super) remote_networks: Vec<Text>,
    pub(super) ignored: Vec<Text>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct History {
    pub(super) days: Option<Number>,
    pub(super) samples: Option<Text>,
    pub(super) samples_max: Option<Number>,
    pub(super) samples_mb: Option<Number>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Miner {
    pub(super) rules_per_sample: Option<Number>,
    pub(super) least_coverage_percent: Option<Number>,
    pub(super) most_collateral_permille: Option<Number>,
    pub(super) tap_per_second: Option<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bgp {
    pub(super) mark: Text,
    #[serde(default)]
    pub(super) blackhole_next_hops: Vec<Text>,
    #[serde(default)]
    pub(super) blackhole_communities: Vec<Text>,
    pub(super) blackhole_lengths: Option<Spanned<Vec<Number>>>,
    #[serde(default)]
    pub(super) divert_next_hops: Vec<Text>,
    #[serde(default)]
    pub(super) divert_communities: Vec<Text>,
    pub(super) divert_lengths: Option<Spanned<Vec<Number>>>,
    pub(super) shortest_lengths: Option<Spanned<Vec<Number>>>,
    #[serde(default)]
    pub(super) never_announce: Vec<Text>,
    pub(super) rules_per_second: Option<Number>,
    pub(super) engines: Vec<Engine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Engine {
    pub(super) name: Text,
    pub(super) address: Text,
    #[serde(default)]
    pub(super) communities: Vec<Text>,
    pub(super) profile: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mitigator {
    pub(super) addresses: Spanned<Vec<Text>>,
    pub(super) user: Text,
    pub(super) password_file: Option<Text>,
    pub(super) password_credential: Option<Text>,
    pub(super) ca_file: Option<Text>,
    pub(super) insecure: Option<bool>,
    pub(super) connect_timeout_ms: Option<Number>,
    pub(super) timeout_ms: Option<Number>,
    pub(super) back_off_max_s: Option<Number>,
    pub(super) check_period_s: Option<Number>,
    pub(super) names: Option<Text>,
    pub(super) token_header: Option<Text>,
    pub(super) by_inbound_packet: Option<bool>,
    pub(super) default_policy: Option<Number>,
    #[serde(default)]
    pub(super) policies: Vec<MitigatorPolicy>,
    pub(super) countermeasures: Option<Vec<MitigatorCountermeasures>>,
    #[serde(default)]
    pub(super) rename: BTreeMap<String, Text>,
    #[serde(default)]
    pub(super) paths: BTreeMap<Text, Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MitigatorPolicy {
    pub(super) networks: Vec<Text>,
    pub(super) policy: Number,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MitigatorCountermeasures {
    pub(super) classes: Vec<Text>,
    pub(super) directions: Option<Vec<Text>>,
    pub(super) groups: Vec<Text>,
    pub(super) switches: Vec<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    pub(super) script: Text,
    pub(super) layout: Option<Text>,
    pub(super) report_packets: Option<Number>,
    pub(super) timeout_s: Option<Number>,
    #[serde(default)]
    pub(super) groups: Vec<Text>,
    pub(super) acts: Option<bool>,
    pub(super) at_most: Option<Number>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Webhook {
    pub(super) url: Option<Text>,
    pub(super) url_file: Option<Text>,
    pub(super) secret_file: Option<Text>,
    pub(super) template: Option<Text>,
    pub(super) events: Option<Vec<Text>>,
    pub(super) groups: Vec<Text>,
    pub(super) acts: Option<bool>,
    pub(super) at_most: Option<Number>,
    pub(super) ca_file: Option<Text>,
    pub(super) plain_http: Option<bool>,
    pub(super) connect_timeout_ms: Option<Number>,
    pub(super) timeout_ms: Option<Number>,
    pub(super) back_off_max_s: Option<Number>,
    pub(super) give_up_after_s: Option<Number>,
}

/// Reads the text; the first error of syntax, key or type is the only one.
pub(super) fn read(source: &Source) -> Result<Config, Diagnostics> {
    let at = |error: &toml::de::Error| error.span().unwrap_or(0..0);
    let syntax = |error: toml::de::Error| {
        let hint = "this is not TOML; see https://toml.io for its few rules";
        source.finding(at(&error), "", error.message(), hint)
    };
    let document = toml::Deserializer::parse(&source.text).map_err(syntax)?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = dotted(error.path());
        let error = error.into_inner();
        let (found, hint) = explain(error.message());
        source.finding(at(&error), path, found, hint).into()
    })
}

fn dotted(path: &serde_path_to_error::Path) -> String {
    let mut dotted = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => dotted.push_str(&format!("[{index}]")),
            // `Spanned` passes its value through a field of its own.
            Segment::Map { key } if !key.starts_with("$__") => {
                let separator = if dotted.is_empty() { "" } else { "." };
                dotted.push_str(&format!("{separator}{key}"));
            }
            _ => {}
        }
    }
    dotted
}

/// Puts what serde says into the words of someone who writes a configuration: found, and what would be right.
fn explain(message: &str) -> (String, String) {
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    if let Some(field) = quoted(message).first().filter(|_| message.starts_with("unknown field")) {
        let hint = match *field {
            // The one list at the top is easily written below a section, and is then a key of that section.
            "networks" => "the list `networks` stands at the top, before the first section".to_owned(),
            field => suggestion(field, &known_keys(message)),
        };
        return (format!("unknown key `{field}`"), hint);
    }
    if let Some(field) = quoted(message).first().filter(|_| message.starts_with("missing field")) {
        return (format!("`{field}` is missing"), format!("add `{field} = …`"));
    }
    if found.starts_with("unknown variant") {
        let known: Vec<_> = known_keys(message).iter().map(|word| format!("\"{word}\"")).collect();
        return (found.replace("unknown variant", "unknown value"), format!("write {}", known.join(" or ")));
    }
    if message == "wanted string or table" {
        return ("wrong type".to_owned(), "write a word in quotes: \"…\"".to_owned());
    }
    let hint = match expected {
        "" => "see the shipped levee.toml".to_owned(),
        "i64" => "write a whole number, without quotes".to_owned(),
        "a boolean" => "write true or false, without quotes".to_owned(),
        "a sequence" => "write a list: [ … ]".to_owned(),
        "a string" => "write a text in quotes: \"…\"".to_owned(),
        other if other.starts_with("struct") || other == "a map" => "this is a section: [name] or [[name]]".to_owned(),
        other => format!("write {other}"),
    };
    (found.replace("invalid type: ", "wrong type: "), hint)
}

/// The names that serde lists after "expected".
pub(super) fn known_keys(message: &str) -> Vec<&str> {
    message.split_once(", expected ").map(|(_, expected)| quoted(expected)).unwrap_or_default()
}

fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

/// More names than these are not listed.
const KNOWN_MAX: usize = 32;

/// What a name was probably meant to be.
pub fn suggestion(name: &str, known: &[&str]) -> String {
    let likeness = |word: &str| strsim::jaro_winkler(name, word);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best.filter(|word| likeness(word) > 0.8) {
        Some(word) => format!("did you mean `{word}`?"),
        None if known.len() > KNOWN_MAX => format!("{} are known here", known.len()),
        None => format!("known here: {}", known.join(", ")),
    }
}
