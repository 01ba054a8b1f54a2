//! Wrong configurations: `leveed check` and `leveed run` say where, what was found and what would be right, exit with 2, and
//! leave nothing behind. And starts that fail for other reasons.

mod support;

use std::os::unix::fs::PermissionsExt;

use support::daemon::{Leveed, Setup, cores};
use support::traffic;

fn leveed_with(device: &str) -> Leveed {
    let core = [cores()[0]];
    let ports: [(&str, &[usize]); 1] = [(device, &core)];
    let rest = "[groups.default.incoming]\nudp_pps = 1000\n";
    Leveed::prepare(&Setup { networks: &["198.18.0.0/24"], ports: &ports, rest, ..Setup::default() })
}

fn pcap_device() -> String {
    format!("net_pcap0,rx_pcap={}", traffic::capture("amp.UDP.isakmp.pcap").display())
}

/// Line and column of the first `text` in a file, as editors count.
fn place(file: &str, text: &str) -> (usize, usize) {
    let before = &file[..file.find(text).unwrap_or_else(|| panic!("no {text} in {file}"))];
    (before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1)
}

/// With `from` replaced by `to`, both commands point at `at`, name the key, and say what was found and what would be right.
#[track_caller]
fn assert_bad(from: &str, to: &str, at: &str, key: &str, found: &str, right: &str) {
    let leveed = leveed_with(&pcap_device());
    let good = std::fs::read_to_string(leveed.config()).unwrap();
    assert!(good.contains(from), "no {from} in {good}");
    let bad = good.replacen(from, to, 1);
    leveed.write_config(&bad);
    let (line, column) = place(&bad, at);
    for subcommand in ["check", "run"] {
        let output = leveed.run(subcommand);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{subcommand} with {to}: {errors}");
        let where_and_what = format!("{}:{line}:{column}: {key}: ", leveed.config().display());
        let finding = errors.split_once(&where_and_what);
        let (_, finding) = finding.unwrap_or_else(|| panic!("no {where_and_what} in {errors}"));
        let (what, shown) = finding.split_once('\n').expect("the line of the file follows");
        assert!(what.contains(found), "{subcommand} with {to}: {errors}");
        assert!(shown.contains('^') && shown.contains(right), "{subcommand} with {to}: {errors}");
        assert!(!leveed.socket().exists() && !leveed.state().exists(), "{subcommand} with {to} left something behind");
    }
}

#[test]
fn a_good_one_is_good() {
    let leveed = leveed_with(&pcap_device());
    let output = leveed.run("check");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(said.ends_with(&format!(" huge pages of 2 MiB\n{}: good\n", leveed.config().display())), "{said}");
    assert!(said.contains("(tables.ipv4_blocks)") && said.contains("in all"), "{said}");
    assert_eq!(errors, "");
    assert!(!leveed.socket().exists() && !leveed.state().exists(), "check only looks");
}

#[test]
fn a_file_that_is_not_there() {
    let leveed = leveed_with(&pcap_device());
    std::fs::remove_file(leveed.config()).unwrap();
    for subcommand in ["check", "run"] {
        let output = leveed.run(subcommand);
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with(&format!("{}: No such file", leveed.config().display())), "{errors}");
    }
}

#[test]
fn what_is_wrong_in_the_file_itself() {
    let network = "\"198.18.0.0/24\"";
    assert_bad("memory_mb", "memory", "memory =", "dpdk.memory", "unknown key `memory`", "did you mean `memory_mb`?");
    assert_bad("udp_pps", "upd_pps", "upd_pps", "groups.default.incoming.upd_pps", "unknown key", "`udp_pps`");
    assert_bad(network, "\"198.18.0.0/33\"", "\"198.18.0.0/33", "networks[0]", "is not a network", "0 to 32");
    assert_bad(network, "\"198.18.0.9/24\"", "\"198.18.0.9/24", "networks[0]", "bits set", "\"198.18.0.0/24\"");
    let twice = format!("{network},\n  {network}");
    assert_bad(
        network,
        &twice,
        &format!("{network}]"),
        "networks[1]",
        "198.18.0.0/24 twice",
        "take it out here or in line 1",
    );
    assert_bad("udp_pps", "udp", "1000", "groups.default.incoming.udp", "without a unit", "`udp_pps = 1000`");
    assert_bad("udp_pps = 1000", "udp_pps = 0", "0\n", "groups.default.incoming.udp_pps", "out of range", "from 1 to");
    let default = "[groups.default.incoming]";
    let inherit = |from: &str| format!("[groups.default]\ninherit = {from:?}\n{default}");
    let key = "groups.default.inherit";
    assert_bad(default, &inherit("web"), "\"web\"", key, "no group `web`", "known here: default");
    assert_bad(default, &inherit("default"), "\"default\"", key, "default → default", "take out `inherit` here");
    let families = format!("[groups.default]\nfamilies = [\"ipv4\", \"ip6\"]\n{default}");
    assert_bad(default, &families, "\"ip6\"", "groups.default.families[1]", "unknown value \"ip6\"", "`ipv6`?");
    let section = |lines: &str| format!("[notify.edge]\nscript = \"/bin/true\"\n{lines}\n{default}");
    let script = "[notify.edge]\nscript = \"notify.sh\"\n".to_owned() + default;
    assert_bad(default, &script, "\"notify.sh\"", "notify.edge.script", "is not an absolute path", "from the root");
    let layout = section("layout = \"1.2.5\"");
    assert_bad(default, &layout, "\"1.2.5\"", "notify.edge.layout", "unknown word \"1.2.5\"", "`1.2.");
    let hook = format!("[webhooks.chat]\nurl = \"http://192.0.2.1/x\"\n{default}");
    assert_bad(default, &hook, "\"http://192", "webhooks.chat.url", "no address of a webhook", "plain_http = true");
    assert_bad("huge_pages = \"never\"", "huge_pages = true", "true", "dpdk.huge_pages", "wrong type", "in quotes");
}

#[test]
fn what_does_not_fit_the_machine() {
    let (device, core) = (pcap_device(), cores()[0]);
    let listed = format!("cores = [{core}]");
    assert_bad(
        &listed,
        "cores = [1001]",
        "1001",
        "ports[0].cores[0]",
        "no core 1001",
        "this process may use the cores",
    );
    let with_file = |file: &str| format!("net_pcap0,rx_pcap={file}");
    let missing = with_file("/nowhere/at-all.pcap");
    let quoted = format!("\"{missing}");
    assert_bad(&device, &missing, &quoted, "ports[0].device", "no file /nowhere/at-all.pcap", "a capture that exists");
    let no_interface = "net_af_packet0,iface=nowhere0";
    let quoted = format!("\"{no_interface}");
    assert_bad(
        &device,
        no_interface,
        &quoted,
        "ports[0].device",
        "no interface nowhere0",
        "interfaces in this network",
    );
    assert_bad(
        &device,
        "0000:fe:1f.7",
        "\"0000:fe",
        "ports[0].device",
        "no PCI device",
        "network devices on the PCI bus",
    );
    // These show only when DPDK probes the port.
    assert_bad(&device, "net_wonder0", "\"net_wonder0", "ports[0].device", "DPDK does not find", "a driver, a number");
    let no_capture = with_file("/etc/passwd");
    let quoted = format!("\"{no_capture}");
    assert_bad(&device, &no_capture, &quoted, "ports[0].device", "DPDK does not find", "lines above say more");
    let cores = cores();
    assert!(cores.len() >= 2, "these tests need two cores");
    let (two, second) = (format!("cores = [{core}, {}]", cores[1]), format!("{}]", cores[1]));
    assert_bad(&listed, &two, &second, "ports[0].cores", "1 receive queues at most", "list 1 at most");
}

#[test]
fn what_does_not_fit_into_memory() {
    let (more, at) = ("mbufs = 65536", "128\nmbufs");
    assert_bad("mbufs = 4096", more, at, "dpdk.memory_mb", "65536 mbufs need", "write `memory_mb = ");
}

#[test]
fn another_daemon_on_the_same_socket() {
    let mut first = leveed_with(&pcap_device());
    first.start();
    let second = leveed_with(&pcap_device());
    let (own, taken) = (second.socket(), first.socket());
    let text = std::fs::read_to_string(second.config()).unwrap();
    second.write_config(&text.replace(&own.display().to_string(), &taken.display().to_string()));
    let output = second.run("run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&format!("another leveed serves {}", taken.display())), "{errors}");
    assert!(errors.contains("daemon.socket"), "{errors}");
    assert!(!second.state().exists());
    // The first one does not notice.
    assert_eq!(first.status().ports.len(), 1);
    assert_eq!(first.terminate().code(), Some(0));
}

#[test]
fn the_socket_is_for_owner_and_group() {
    let mut leveed = leveed_with(&pcap_device());
    leveed.start();
    let mode = std::fs::metadata(leveed.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    leveed.kill();
    assert!(leveed.socket().exists(), "a killed daemon leaves it there");
    leveed.start();
    assert_eq!(leveed.terminate().code(), Some(0));
    assert!(!leveed.socket().exists());
}

#[test]
fn a_damaged_state_is_put_aside() {
    let mut leveed = leveed_with(&pcap_device());
    let folder = leveed.state().parent().unwrap().to_owned();
    std::fs::create_dir(&folder).unwrap();
    let damaged = "this is no database, ".repeat(500);
    std::fs::write(leveed.state(), &damaged).unwrap();
    leveed.start();
    let alarms = leveed.alarms();
    let aside = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<_> = aside.filter(|path| path.to_string_lossy().contains("damaged")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(std::fs::read_to_string(&aside[0]).unwrap(), damaged, "nothing of it is lost");
    let name = aside[0].display().to_string();
    assert!(alarms.len() == 1 && alarms[0].contains("put aside") && alarms[0].contains(&name), "{alarms:?}");

    // The new one works, and holds what happens from now on.
    let id = leveed.ban("198.18.0.1", "test").expect("banned");
    leveed.terminate();
    leveed.start();
    assert!(leveed.alarms().is_empty());
    assert_eq!(leveed.attacks()[0].id, id);
}
