//! What a bad configuration is told, and that the shipped example is complete.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::miner::Limits;
use dataplane::packet::{Reading, Tunnel};

use crate::actions::bgp::Route;
use crate::attack::{Direction, Kind, Metric, Thresholds, Unit};
use crate::guard::Guard;
use crate::profile::Profile;

mod edit;
mod example;
mod groups;
mod mitigator;
mod notify;

const EXAMPLE: &str = include_str!("../../levee.toml");

/// The least that is valid; tests change one thing in it.
const SMALL: &str = r#"networks = ["198.18.0.0/24", "2001:db8::/32"]

[[ports]]
device = "net_pcap0,rx_pcap=/dev/null"
cores = [0]
"#;

fn small() -> Config {
    parse("levee.toml", SMALL.to_owned()).expect("the small configuration is valid")
}

/// The findings that `text` has.
fn findings(text: &str) -> Vec<Finding> {
    match parse("levee.toml", text.to_owned()) {
        Ok(_) => panic!("no finding in:\n{text}"),
        Err(diagnostics) => diagnostics.findings().to_vec(),
    }
}

/// Asserts that `text` has exactly one finding: its line, key, and parts of what was found and of the hint.
#[track_caller]
fn assert_finding(text: &str, line: usize, key: &str, found: &str, hint: &str) {
    let all = findings(text);
    let printed = all.iter().map(|finding| finding.to_string()).collect::<Vec<_>>().join("\n");
    assert_eq!(all.len(), 1, "{printed}");
    assert_eq!((all[0].line(), all[0].key()), (line, key), "{printed}");
    assert!(all[0].found().contains(found), "found: {printed}");
    assert!(all[0].hint().contains(hint), "hint: {printed}");
}

/// As [`assert_finding`] for lines after [`SMALL`], counted from 1.
#[track_caller]
fn assert_after_small(text: &str, line: usize, key: &str, found: &str, hint: &str) {
    assert_finding(&format!("{SMALL}{text}"), SMALL.lines().count() + line, key, found, hint);
}

#[test]
fn the_shipped_example_is_valid_and_shows_the_defaults() {
    let example = parse("levee.toml", EXAMPLE.to_owned()).unwrap_or_else(|error| panic!("{error}"));
    let small = small();
    assert_eq!(example.daemon, Daemon::default());
    assert_eq!(example.dpdk, Dpdk::default());
    assert_eq!(example.tables, Tables::default());
    assert_eq!(example.detection, Detection::default());
    assert_eq!((&example.whitelist, &small.whitelist), (&Whitelist::default(), &Whitelist::default()));
    assert_eq!((example.miner, small.miner), (Limits::default(), Limits::default()));
    assert_eq!((&example.history, &small.history), (&History::default(), &History::default()));
    let port = Port { device: "0000:03:00.0".into(), cores: vec![1, 2], ..Port::default() };
    assert_eq!(example.ports, [port]);
    assert_eq!(
        (&small.daemon, &small.dpdk, &small.tables, &small.detection, &small.bgp),
        (&example.daemon, &example.dpdk, &example.tables, &example.detection, &None)
    );
    let engine = Engine {
        name: "edge".into(),
        address: EngineAddress::Unix("/run/gobgp/gobgp.sock".into()),
        communities: Vec::new(),
        profile: Profile::default(),
    };
    assert_eq!(
        example.bgp,
        Some(Bgp {
            mark: crate::actions::bgp::Mark([64512, 7653, 1]),
            blackhole: Route::default(),
            divert: Route::default(),
            guard: Guard::default(),
            rules_per_second: 1000,
            engines: vec![engine]
        })
    );
    assert_eq!(example.networks.len(), 3);
    assert_eq!(example.groups.iter().map(|group| &*group.name).collect::<Vec<_>>(), ["default", "web"]);
}

#[test]
fn ports_say_how_their_frames_are_read() {
    let read = |lines: &str| parse("levee.toml", format!("{SMALL}{lines}\n")).unwrap().ports[0].reading;
    assert_eq!(read(""), Reading::default());
    let reading = read("decapsulate = [\"gtpu\", \"6in4\"]\nsnap_length = 65535");
    assert_eq!(reading.tunnels, [Tunnel::SixInFour, Tunnel::GtpU].into_iter().collect());
    assert_eq!(reading.snap_length, 65_535);
    let key = "ports[0].decapsulate[1]";
    assert_after_small("decapsulate = [\"gre\", \"vxlann\"]\n", 1, key, "unknown tunnel \"vxlann\"", "`vxlan`?");
    assert_after_small("decapsulate = [\"gre\", \"gre\"]\n", 1, key, "\"gre\" twice", "once");
    assert_after_small("decapsulate = [\"gre\", \"l2tp\"]\n", 1, key, "unknown tunnel", "gre, ipip, 6in4, vxlan, gtpu");
    assert_after_small("snap_length = 65536\n", 1, "ports[0].snap_length", "out of range", "from 0 to 65535");
    assert_after_small("decapsulate = \"gre\"\n", 1, "ports[0].decapsulate", "wrong type", "a list");
}

#[test]
fn thresholds_are_read_in_their_units() {
    let text = format!(
        "{SMALL}[groups.web]\nnetworks = [\"198.18.0.0/28\"]\n[groups.web.incoming]\nudp_mbps = 50\ntotal_pps = 7\n[groups.web.outgoing]\ntcp_syn_pps = 9"
    );
    let config = parse("levee.toml", text).unwrap();
    let [default, web] = &config.groups[..] else { panic!("two groups") };
    assert_eq!((&*default.name, default.networks.len()), (DEFAULT_GROUP, 0));
    assert!(default.thresholds.iter().all(Thresholds::is_empty));
    let metric = |kind, unit| Metric { kind, unit };
    assert_eq!(web.thresholds[0].get(metric(Kind::Udp, Unit::Bps)), Some(50_000_000));
    assert_eq!(web.thresholds[0].get(metric(Kind::Total, Unit::Pps)), Some(7));
    assert_eq!(web.thresholds[0].get(metric(Kind::Udp, Unit::Pps)), None);
    assert_eq!(web.thresholds[1].get(metric(Kind::TcpSyn, Unit::Pps)), Some(9));
}

#[test]
fn flows_have_a_threshold_without_packets_or_bits() {
    let text = |line: &str| format!("{SMALL}[groups.default.incoming]\n{line}");
    let config = parse("levee.toml", text("flows_per_second = 2000000")).unwrap();
    assert_eq!(config.groups[0].thresholds[0].get(Metric::FLOWS), Some(2_000_000));
    for (line, hint) in [
        (
            "flows_per_second = 2000001",
            "write a number from 1 to 2000000, or \"off\"; a threshold that is not set is off",
        ),
        ("flows = 5", "did you mean `flows_per_second`?"),
        ("flows_pps = 5", "did you mean `flows_per_second`?"),
    ] {
        let findings = parse("levee.toml", text(line)).unwrap_err().to_string();
        assert!(findings.contains(hint), "{findings}");
    }
}

#[test]
fn prints_as_compilers_do() {
    let text = format!("{SMALL}[groups.default.incoming]\ntotal = 20000");
    assert_eq!(
        parse("levee.toml", text).unwrap_err().to_string(),
        "levee.toml:7:9: groups.default.incoming.total: a threshold without a unit\n\
         \x20   7 | total = 20000\n\
         \x20     |         ^^^^^ write `total_pps = 20000` or `total_mbps = …`"
    );
}

#[test]
fn one_run_finds_everything() {
    let text = r#"networks = ["198.18.0.5/24", "198.18.1.0/24", "198.18.1.0/24"]

[daemon]
socket = "levee.sock"

[[ports]]
device = "eth0"
cores = [1, 1]

[groups.web]
networks = ["203.0.113.0/24"]
incoming = { total = 5, udp_pps = "20k", tpc_pps = 1 }
"#;
    let found: Vec<(usize, String)> = findings(text).iter().map(|f| (f.line(), f.key().to_owned())).collect();
    let expected = [
        (1, "networks[0]"),
        (1, "networks[2]"),
        (4, "daemon.socket"),
        (7, "ports[0].device"),
        (8, "ports[0].cores[1]"),
        (11, "groups.web.networks[0]"),
        (12, "groups.web.incoming.total"),
        (12, "groups.web.incoming.udp_pps"),
        (12, "groups.web.incoming.tpc_pps"),
    ];
    assert_eq!(found, expected.map(|(line, key)| (line, key.to_owned())));
}

#[test]
fn unknown_keys_name_the_closest_known_one() {
    assert_after_small(
        "[detection]\nbantime_s = 5",
        2,
        "detection.bantime_s",
        "unknown key `bantime_s`",
        "`ban_time_s`",
    );
    assert_after_small("[detektion]\n", 1, "detektion", "unknown key `detektion`", "`detection`");
    assert_after_small("mtuu = 1500", 1, "ports[0].mtuu", "unknown key `mtuu`", "`mtu`");
    assert_after_small("[groups.web]\nnetwork = []", 2, "groups.web.network", "unknown key", "`networks`");
    let key = "groups.default.incoming.udp_bps";
    assert_after_small("[groups.default.incoming]\nudp_bps = 5", 2, key, "unknown key `udp_bps`", "`udp_");
    let below = "[daemon]\nnetworks = []";
    assert_after_small(below, 2, "daemon.networks", "unknown key `networks`", "before the first section");
    assert_after_small("[daemon]\nxyz = 5", 2, "daemon.xyz", "unknown key `xyz`", "known here: socket, state");
}

#[test]
fn bad_networks() {
    let with = |list: &str| SMALL.replacen("\"198.18.0.0/24\"", list, 1);
    let host_bits = "write \"198.18.0.0/24\" for the network, or \"198.18.0.5/32\" for the host";
    assert_finding(&with("\"198.18.0.5/24\""), 1, "networks[0]", "bits set behind", host_bits);
    assert_finding(&with("\"198.18.0.0/33\""), 1, "networks[0]", "is not a network", "0 to 32");
    assert_finding(&with("\"2001:db8::/129\""), 1, "networks[0]", "is not a network", "0 to 128");
    assert_finding(&with("\"198.18.0.7\""), 1, "networks[0]", "no prefix length", "\"198.18.0.7/32\"");
    assert_finding(&with("\"example.net\""), 1, "networks[0]", "is not a network", "\"198.18.0.0/24\"");
    let twice = with("\"198.18.0.0/24\",\n \"198.18.7.0/24\",\n \"198.18.0.0/24\"");
    assert_finding(&twice, 3, "networks[2]", "198.18.0.0/24 twice", "line 1");
    let none = SMALL.replacen(r#"["198.18.0.0/24", "2001:db8::/32"]"#, "[]", 1);
    assert_finding(&none, 1, "networks", "no network to protect", "networks = [");
    let nested = with("\"198.18.0.0/15\", \"198.18.0.0/24\", \"198.18.0.1/32\", \"2001:db8::1/128\"");
    assert_eq!(parse("levee.toml", nested).unwrap().networks.len(), 5);
}

#[test]
fn no_network_is_a_part_of_a_host() {
    let with = |length: u8, list: &str| {
        let text = SMALL.replacen("\"198.18.0.0/24\"", list, 1);
        format!("{text}[tables]\nipv6_prefix_length = {length}\n")
    };
    let hint = "write \"2001:db8:1:2::/64\", or `tables.ipv6_prefix_length` of 80 or more";
    let part = "2001:db8:1:2::/80 is a part of the host 2001:db8:1:2::/64, as `tables.ipv6_prefix_length` is 64";
    assert_finding(&with(64, "\"2001:db8:1:2::/80\""), 1, "networks[0]", part, hint);
    let group = format!("{}[groups.a]\nnetworks = [\"2001:db8:1:2::/80\"]", with(64, "\"2001:db8:1::/48\""));
    assert_finding(&group, 9, "groups.a.networks[0]", part, hint);
    assert!(parse("levee.toml", group.replace("= 64", "= 80")).is_ok());
    let good = parse("levee.toml", with(64, "\"198.18.0.1/32\", \"2001:db8:1:2::/64\"")).unwrap();
    assert_eq!((good.tables.ipv6_prefix_length, good.networks.len()), (64, 3));
    assert_eq!(crate::plan::layout(&good).ipv6_prefix_length, 64);
    for bad in [31, 129] {
        let key = "tables.ipv6_prefix_length";
        assert_finding(&with(bad, "\"198.18.0.0/24\""), 7, key, &format!("{bad} is out of range"), "from 32 to 128");
    }
}

#[test]
fn networks_are_bounded() {
    let many = |count: u32| {
        let list = (0..count).map(|i| format!("\"198.18.{}.{}/32\"", i >> 8, i & 255)).collect::<Vec<_>>().join(",\n");
        SMALL.replacen("\"198.18.0.0/24\"", &list, 1)
    };
    assert_eq!(parse("levee.toml", many(31_999)).unwrap().networks.len(), 32_000);
    assert_finding(&many(32_000), 32_000, "networks", "32001 networks", "at most 32000");
}

#[test]
fn bad_groups() {
    let outside = "[groups.web]\nnetworks = [\"203.0.113.0/24\"]";
    assert_after_small(outside, 2, "groups.web.networks[0]", "not within the protected", "`networks` at the top");
    let wider = "[groups.web]\nnetworks = [\"198.18.0.0/23\"]";
    assert_after_small(wider, 2, "groups.web.networks[0]", "198.18.0.0/23 is not within", "`networks` at the top");
    let both = "[groups.a]\nnetworks = [\"198.18.0.0/28\"]\n[groups.b]\nnetworks = [\"198.18.0.0/28\"]";
    assert_after_small(both, 4, "groups.b.networks[0]", "twice", "line 7");
    assert_after_small("[groups.web]\n", 1, "groups.web", "without networks", "networks = [");
    let default = "[groups.default]\nnetworks = [\"198.18.0.0/28\"]";
    assert_after_small(default, 2, "groups.default.networks", "default group", "take it out");
    let name = "[groups.\"web servers\"]\nnetworks = [\"198.18.0.0/28\"]";
    assert_after_small(name, 1, "groups.web servers", "not a name", "letters, digits");
}

#[test]
fn bad_thresholds() {
    let key = "groups.default.incoming.udp_pps";
    let cases = [
        ("0", "0 is out of range", "or \"off\"; a threshold that is not set is off"),
        ("-1", "-1 is out of range", "from 1"),
        ("\"20k\"", "the text \"20k\"", "without quotes: 20000"),
        ("\"2 M\"", "the text \"2 M\"", "whole number, without quotes"),
        ("1.5", "1.5 is not a whole number", "whole number"),
        ("true", "true is not a whole number", "whole number"),
        ("\"none\"", "the text \"none\"", "without quotes, or \"off\""),
        ("[1]", "[1] is not a whole number", "whole number"),
    ];
    for (value, found, hint) in cases {
        assert_after_small(&format!("[groups.default.incoming]\nudp_pps = {value}"), 2, key, found, hint);
    }
}

#[test]
fn a_threshold_without_a_unit_is_shown_both() {
    for (name, value, hint) in [
        ("total", "20000", "`total_pps = 20000` or `total_mbps = …`"),
        ("tcp_syn", "\"20k\"", "`tcp_syn_pps = 20000` or `tcp_syn_mbps = …`"),
        ("icmp", "true", "`icmp_pps = …` or `icmp_mbps = …`"),
    ] {
        let text = format!("[groups.default.outgoing]\n{name} = {value}");
        assert_after_small(&text, 2, &format!("groups.default.outgoing.{name}"), "without a unit", hint);
    }
}

#[test]
fn bad_ports() {
    let with = |from: &str, to: &str| SMALL.replacen(from, to, 1);
    let device = "net_pcap0,rx_pcap=/dev/null";
    for bad in ["eth0", "03:00.0", "0000:03:00:0", "0000:03.00.0", ""] {
        assert_finding(&with(device, bad), 4, "ports[0].device", "is not a device", "\"0000:03:00.0\"");
    }
    assert!(parse("levee.toml", with(device, "0000:af:1f.7")).is_ok());
    assert_finding(&with("[0]", "[0, 1, 0]"), 5, "ports[0].cores[2]", "core 0 twice", "once for each port");
    assert_finding(&with("[0]", "[]"), 5, "ports[0].cores", "without a core", "cores = [1]");
    assert_finding(&with("[0]", "[-1]"), 5, "ports[0].cores[0]", "-1 is out of range", "0 to 1023");
    assert_finding(&with("[0]", "0"), 5, "ports[0].cores", "integer `0`", "write a list");
    assert_finding(&with("cores = [0]", ""), 3, "ports[0]", "`cores` is missing", "add `cores");
    assert_finding("networks = [\"198.18.0.0/24\"]", 1, "ports", "no port", "[[ports]]");
    let again = "[[ports]]\ndevice = \"net_pcap0,rx_pcap=other.pcap\"\ncores = [1]";
    assert_after_small(again, 2, "ports[1].device", "net_pcap0 twice", "line 4");
    assert_after_small("mtu = 100", 1, "ports[0].mtu", "100 is out of range", "1500 to 9600");
    assert_after_small("descriptors = 16384", 1, "ports[0].descriptors", "16384 mbufs", "mbufs = 32768");
}

#[test]
fn bad_values_of_other_sections() {
    let cases = [
        ("daemon", "log = \"syslog\"", "log", "unknown value `syslog`", "\"stderr\" or \"journald\""),
        ("daemon", "log_level = \"loud\"", "log_level", "unknown level", "warn, info"),
        ("daemon", "dry_run = \"yes\"", "dry_run", "wrong type", "true or false"),
        ("daemon", "socket = 5", "socket", "wrong type", "in quotes"),
        ("daemon", "state = \"levee.db\"", "state", "not an absolute path", "/var/lib/levee/levee.db"),
        ("daemon", "on_shutdown = \"drop\"", "on_shutdown", "unknown value", "\"keep\" or \"withdraw\""),
        ("dpdk", "burst_max = 257", "burst_max", "257 is out of range", "1 to 256"),
        ("dpdk", "mbufs = 1000", "mbufs", "1000 is out of range", "1024"),
        ("dpdk", "memory_mb = \"1G\"", "memory_mb", "string \"1G\"", "whole number, without quotes"),
        ("dpdk", "huge_pages = true", "huge_pages", "wrong type", "write"),
        ("dpdk", "file_prefix = \"a/b\"", "file_prefix", "not part of a file name", "letters"),
        ("dpdk", "extra_args = [\"--lcores=1\"]", "extra_args[0]", "Levee sets --lcores", "`ports.cores`"),
        ("tables", "ipv4_blocks = \"many\"", "ipv4_blocks", "not a number", "\"auto\""),
        ("tables", "ipv4_blocks = 64001", "ipv4_blocks", "out of range", "1 to 64000"),
        (
            "detection",
            "check_period_ms = 1001",
            "check_period_ms",
            "average_calculation_time_ms = 1000",
            "not be above",
        ),
        ("detection", "ban_time_max_s = 59", "ban_time_max_s", "ban_time_s = 60", "not be above"),
        ("detection", "rules_in_all = 9", "rules_in_all", "rules_per_target = 10", "not be above"),
        ("detection", "captures_at_once = 257", "captures_at_once", "257 is out of range", "1 to 256"),
        ("detection", "capture_flow_records = 0", "capture_flow_records", "0 is out of range", "1 to 100000"),
        ("detection", "capture_packets = 0", "capture_packets", "0 is out of range", "1 to 100000"),
        ("miner", "rules_per_sample = 0", "rules_per_sample", "0 is out of range", "1 to 64"),
        ("miner", "least_coverage_percent = 101", "least_coverage_percent", "out of range", "1 to 100"),
        ("miner", "tap_per_second = 100001", "tap_per_second", "out of range", "0 to 100000"),
        ("miner", "most_collateral_permille = 1001", "most_collateral_permille", "out of range", "0 to 1000"),
        ("history", "days = 0", "days", "0 is out of range", "1 to 3650"),
        ("history", "samples = \"samples\"", "samples", "not an absolute path", "/var/lib/levee/samples"),
        ("history", "samples_max = 0", "samples_max", "0 is out of range", "1 to 100000"),
        ("history", "samples_mb = 1000001", "samples_mb", "out of range", "1 to 1000000"),
        ("detection", "tap = \"after\"", "tap", "unknown value", "\"before_router\" or \"behind_router\""),
    ];
    for (section, line, key, found, hint) in cases {
        assert_after_small(&format!("[{section}]\n{line}"), 2, &format!("{section}.{key}"), found, hint);
    }
}

#[test]
fn bad_bgp() {
    let engine = "[[bgp.engines]]\nname = \"edge\"\naddress = \"unix:///run/gobgp.sock\"\n";
    for bad in ["64512:1", "0:1:1", "4294967295:1:1", "64512:1:4294967296", "64512:+1:1", "levee"] {
        let text = format!("[bgp]\nmark = \"{bad}\"\n{engine}");
        assert_after_small(&text, 2, "bgp.mark", "is not a large community", "64512:7653:1");
    }
    assert_after_small(&format!("[bgp]\n{engine}"), 1, "bgp", "`mark` is missing", "add `mark");
    let mark = "[bgp]\nmark = \"64512:7653:1\"\n";
    assert_after_small(&format!("{mark}engines = []"), 2, "bgp.engines", "without an engine", "[[bgp.engines]]");
    let twice = format!("{mark}{engine}{engine}");
    assert_after_small(&twice, 7, "bgp.engines[1].name", "\"edge\" twice", "line 9");
    for bad in ["tcp://127.0.0.1:1", "unix://gobgp.sock", "http://127.0.0.1", "http://:1", "127.0.0.1:50051"] {
        let text = format!("{mark}{}", engine.replace("unix:///run/gobgp.sock", bad));
        assert_after_small(&text, 5, "bgp.engines[0].address", "is not an address", "unix:///run/gobgp/gobgp.sock");
    }
    let key = "bgp.engines[0].communities[1]";
    let communities = format!("{mark}{engine}communities = [\"64512:1\", \"64512:65536\"]");
    assert_after_small(&communities, 6, key, "is not a community", "no-export");
}

#[test]
fn the_whitelist_is_read() {
    let text = r#"[whitelist]
networks = ["198.18.0.0/28", "198.16.0.0/12", "2001:db8:1::/48"]
remote_networks = ["203.0.113.0/24", "::/0"]
ignored = ['{"source_prefix": "203.0.113.0/24", "protocols": ["udp"]}', '{"ports": [179], "action_type": "discard"}']"#;
    let whitelist = parse("levee.toml", format!("{SMALL}{text}")).unwrap_or_else(|error| panic!("{error}")).whitelist;
    assert_eq!((whitelist.networks.len(), whitelist.remote_networks.len()), (3, 2));
    let rules: Vec<String> = whitelist.ignored.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["src 203.0.113.0/24 proto udp", "port 179"]);

    let own = |network: &str| format!("[whitelist]\nnetworks = [\n\"198.18.0.1/32\",\n\"{network}\"]");
    let key = "whitelist.networks[1]";
    assert_after_small(&own("203.0.113.0/24"), 4, key, "no part in the protected networks", "remote_networks");
    assert_after_small(&own("198.18.0.1/32"), 4, key, "twice", "in line 8");
    assert_after_small(&own("198.18.0.1/24"), 4, key, "bits set behind", "198.18.0.0/24");
    let parts = format!("{}\n[tables]\nipv6_prefix_length = 64", own("2001:db8::5/128"));
    assert_after_small(&parts, 4, key, "a part of the host 2001:db8::/64", "ipv6_prefix_length");
    assert_after_small(
        "[whitelist]\nremote_networks = [\"x\"]",
        2,
        "whitelist.remote_networks[0]",
        "not a network",
        "",
    );
    let many: Vec<String> = (0..1001).map(|index| format!("10.{}.{}.0/24", index / 256, index % 256)).collect();
    let many = format!("[whitelist]\nremote_networks = {many:?}");
    assert_after_small(&many, 2, "whitelist.remote_networks", "1001 networks", "at most 1000");

    let ignored = |rule: &str| format!("[whitelist]\nignored = ['{rule}']");
    let cases = [
        ("udp", "no JSON"),
        ("[]", "a rule is an object"),
        ("{}", "matches everything"),
        (r#"{"action_type": "discard"}"#, "matches everything"),
        (r#"{"protocol": ["udp"]}"#, "unknown key \"protocol\""),
        (r#"{"ports": [70000]}"#, "65535"),
        (r#"{"source_prefix": "203.0.113.0/24", "destination_prefix": "2001:db8::/32"}"#, "different families"),
    ];
    for (rule, found) in cases {
        assert_after_small(&ignored(rule), 2, "whitelist.ignored[0]", found, "source_prefix");
    }
    let many: Vec<String> = (0..65).map(|port| format!("'{{\"ports\": [{port}]}}'")).collect();
    let many = format!("[whitelist]\nignored = [{}]", many.join(", "));
    assert_after_small(&many, 2, "whitelist.ignored", "65 rules", "at most 64");
}

#[test]
fn communities_are_read() {
    let list = r#"communities = ["64512:100", "64512:100:1", "no-export", "blackhole"]"#;
    let bgp = format!(
        "[bgp]\nmark = \"64512:7653:1\"\n[[bgp.engines]]\nname = \"a\"\naddress = \"http://[::1]:50051\"\n{list}"
    );
    let engines = parse("levee.toml", format!("{SMALL}{bgp}")).unwrap().bgp.unwrap().engines;
    assert_eq!(engines[0].address, EngineAddress::Http("http://[::1]:50051".into()));
    let standard = |high: u32, low: u32| Community::Standard(high << 16 | low);
    let large = Community::Large([64512, 100, 1]);
    assert_eq!(engines[0].communities, [standard(64512, 100), large, standard(65535, 65281), standard(65535, 666)]);
}

#[test]
fn broken_toml_and_missing_files() {
    assert_finding("networks = [\n\"198.18.0.0/24\"\n[daemon]\n", 3, "", "", "not TOML");
    assert_after_small("[daemon]\nlog = \"stderr\"\nlog = \"stderr\"", 3, "", "duplicate key", "not TOML");
    let missing = load(Path::new("/nonexistent/levee.toml")).unwrap_err();
    assert_eq!(missing.findings()[0].line(), 0);
    assert!(missing.to_string().starts_with("/nonexistent/levee.toml: No such file"), "{missing}");
}

#[test]
fn a_file_is_loaded() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SMALL).unwrap();
    assert_eq!(load(file.path()).unwrap().ports[0].cores, [0]);
}

/// What holding `text` against a machine with cores 0 and 1 and a made-up sysfs finds.
fn on_machine(text: String) -> Result<(), Diagnostics> {
    let sys = tempfile::tempdir().unwrap();
    for (device, class) in [("0000:03:00.0", "0x020000"), ("0000:00:1f.0", "0x060100")] {
        let device = sys.path().join("bus/pci/devices").join(device);
        std::fs::create_dir_all(&device).unwrap();
        std::fs::write(device.join("class"), class).unwrap();
    }
    std::fs::create_dir_all(sys.path().join("class/net/span0")).unwrap();
    let config = parse("levee.toml", text).unwrap_or_else(|error| panic!("{error}"));
    machine::check(&config, BTreeSet::from([0, 1]), sys.path())
}

#[test]
fn what_the_machine_does_not_have() {
    let with = |device: &str, cores: &str| {
        on_machine(SMALL.replacen("net_pcap0,rx_pcap=/dev/null", device, 1).replacen("[0]", cores, 1))
    };
    for good in [
        "0000:03:00.0",
        "net_af_packet0,iface=span0",
        "net_pcap0,rx_iface=span0",
        "net_pcap0,rx_pcap=/dev/null",
        "net_null0",
    ] {
        assert_eq!(with(good, "[0, 1]"), Ok(()), "{good}");
    }
    let cases = [
        ("net_null0", "[1, 7]", 5, "ports[0].cores[1]", "no core 7", "0, 1"),
        ("0000:04:00.0", "[0]", 4, "ports[0].device", "no PCI device 0000:04:00.0", "bus: 0000:03:00.0; `dpdk-devbind"),
        ("net_af_packet0,iface=eth7", "[0]", 4, "ports[0].device", "no interface eth7", "namespace: span0"),
        ("net_pcap0,rx_iface=eth7", "[0]", 4, "ports[0].device", "no interface eth7", "namespace: span0"),
        ("net_pcap0,rx_pcap=/none.pcap", "[0]", 4, "ports[0].device", "no file /none.pcap", "path of a capture"),
    ];
    for (device, cores, line, key, found, hint) in cases {
        let all = with(device, cores).unwrap_err();
        let finding = &all.findings()[0];
        assert_eq!((all.findings().len(), finding.line(), finding.key()), (1, line, key), "{all}");
        assert!(finding.found().contains(found) && finding.hint().contains(hint), "{all}");
    }
}

#[test]
fn this_machine_has_a_core_but_not_a_thousand() {
    let first = core_affinity::get_core_ids().unwrap()[0].id;
    let with = |core| parse("levee.toml", SMALL.replacen("[0]", &format!("[{core}]"), 1)).unwrap();
    assert_eq!(check_machine(&with(first)), Ok(()));
    assert_eq!(check_machine(&with(1023)).unwrap_err().findings()[0].key(), "ports[0].cores[0]");
}

#[test]
fn a_port_that_dpdk_does_not_find_is_reported_at_its_line() {
    let device = || "net_pcap0".to_owned();
    let all = small().port_finding(0, &dpdk::Error::NoPort { device: device(), reason: "none".to_owned() });
    assert_eq!((all.findings()[0].line(), all.findings()[0].column()), (4, 10));
    assert!(all.to_string().starts_with("levee.toml:4:10: ports[0].device: DPDK does not find a port"), "{all}");

    let three = parse("levee.toml", SMALL.replacen("[0]", "[0, 1, 2]", 1)).expect("a valid configuration");
    let all = three.port_finding(0, &dpdk::Error::Queues { device: device(), has: 2, wanted: 3 });
    assert_eq!((all.findings()[0].line(), all.findings()[0].column()), (5, 16));
    assert_eq!(
        (all.findings()[0].key(), all.findings()[0].hint()),
        ("ports[0].cores", "each core needs a queue: list 2 at most")
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_explained(text in "\\PC{0,200}") {
        if let Err(all) = parse("levee.toml", text) {
            prop_assert!(!all.to_string().is_empty());
        }
    }

    #[test]
    fn a_damaged_example_is_read_or_explained(cut in 0..EXAMPLE.len(), length in 0usize..60, insert in "[\\PC\n\t]{0,8}") {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        bytes.splice(cut..(cut + length).min(EXAMPLE.len()), insert.bytes());
        if let Err(all) = parse("levee.toml", String::from_utf8_lossy(&bytes).into_owned()) {
            for finding in all.findings() {
                prop_assert!(finding.line() >= 1 && finding.column() >= 1);
                prop_assert!(!finding.hint().is_empty());
            }
            prop_assert!(!all.to_string().is_empty());
        }
    }
}
