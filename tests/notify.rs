//! Scripts and webhooks, and the whole daemon: real floods, scripts of FastNetMon's kind and every bad kind, a server that takes webhooks,
//! kills and restarts. The first part needs root, for namespaces.
//!
//! ```text
//!   tcpreplay ──veth── leveed ── scripts of the test
//!      out0      tap0         └─ TLS over loopback ── the server
//! ```

mod support;
#[path = "notify/webhooks.rs"]
mod webhooks;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use controlplane::crash::Step;
use proto::v1;
use support::daemon::{Leveed, Setup, cores};
use support::netns::{Netns, veth};
use support::traffic::{Amount, Player};
use support::{deaths, never, pcap, wait_until};

const SOON: Duration = Duration::from_secs(30);
const NETWORKS: [&str; 2] = ["198.18.0.0/16", "2001:db8::/48"];
/// As FastNetMon's own example does: what it is called with, and all of its input, by the time.
const KEEPER: &str =
    "n=$(date +%s%N)-$$\nprintf '%s\\n' \"$@\" >\"$D/$n.args\"\ncat >\"$D/$n.stdin\"\nmv \"$D/$n.args\" \"$D/$n\"\n";

/// A daemon with scripts.
struct Site {
    leveed: Leveed,
}

/// What a script was called with, and read.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    arguments: Vec<String>,
    input: String,
}

impl Site {
    fn prepare() -> Site {
        Site { leveed: Leveed::prepare(&Setup { networks: &NETWORKS, ..Setup::default() }) }
    }

    /// A shell script in a folder of its own, which is `$D` there.
    fn script(&self, name: &str, lines: &str) -> PathBuf {
        let folder = self.leveed.path(name);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("notify.sh");
        let text = format!("#!/bin/bash\nexport D={}\n{lines}\n", folder.display());
        fs::write(folder.join("new"), text).unwrap();
        fs::set_permissions(folder.join("new"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(folder.join("new"), &path).unwrap();
        path
    }

    /// A section for it.
    fn section(&self, name: &str, lines: &str, more: &str) -> String {
        format!("[notify.{name}]\nscript = {:?}\n{more}\n", self.script(name, lines))
    }

    /// Without traffic worth mentioning.
    fn configure(&self, daemon: &str, sections: &str) {
        let file = self.leveed.path("silence.pcap");
        let at = |address: &str| -> SocketAddr { address.parse().unwrap() };
        pcap::write(&file, &[pcap::udp(at("203.0.113.1:53"), at("198.18.0.10:1000"), 20)]);
        let device = format!("net_pcap0,rx_pcap={}", file.display());
        let rest = format!("[groups.default.incoming]\nicmp_pps = 1000000\n{sections}");
        let ports: [(&str, &[usize]); 1] = [(&device, &[cores()[0]])];
        self.leveed.configure(&Setup { networks: &NETWORKS, ports: &ports, daemon, rest: &rest });
    }

    /// Another word on dry run, and other sections, while it runs.
    #[track_caller]
    fn reload(&self, daemon: &str, sections: &str) {
        let text = fs::read_to_string(self.leveed.config()).unwrap();
        let (head, _) = text.split_once("[notify.").expect("sections");
        let head = head.replace("dry_run = true\n", "").replacen("[dpdk]", &format!("{daemon}[dpdk]"), 1);
        self.leveed.write_config(&format!("{head}{sections}"));
        self.leveed.reload().expect("a reload");
    }

    /// What the keeper of that name was called with, the oldest call first.
    fn calls(&self, name: &str) -> Vec<Call> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.leveed.path(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_none());
        files.sort();
        let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
        let call = |path: &PathBuf| Call {
            arguments: read(path).lines().map(str::to_owned).collect(),
            input: read(&path.with_extension("stdin")),
        };
        files.iter().map(call).collect()
    }

    /// Lines of a file that a script appends to.
    fn lines(&self, name: &str, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.leveed.path(name).join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn wait_lines(&self, name: &str, file: &str, count: usize) -> Vec<String> {
        wait_until(SOON, &format!("{count} lines in {name}/{file}"), || {
            let lines = self.lines(name, file);
            (lines.len() >= count).then_some(lines)
        })
    }

    fn subscriber(&self, name: &str) -> v1::Subscriber {
        let found = self.leveed.status().subscribers.into_iter().find(|subscriber| subscriber.name == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    /// Once nothing waits for it any more.
    #[track_caller]
    fn wait_idle(&self, name: &str) -> v1::Subscriber {
        wait_until(SOON, &format!("nothing waits for {name}"), || {
            Some(self.subscriber(name)).filter(|subscriber| subscriber.waiting == 0)
        })
    }

    #[track_caller]
    fn attack(&self, id: &str) -> v1::Attack {
        let request = v1::ListAttacksRequest { id: id.to_owned(), ..v1::ListAttacksRequest::default() };
        let found = self.leveed.ask(async |mut api| api.list_attacks(request).await).expect("attacks");
        found.attacks.into_iter().next().expect("the attack")
    }

    /// What a subscriber was told of an attack, once the record has it.
    #[track_caller]
    fn wait_notified(&self, id: &str, subscriber: &str, what: &str) -> v1::Notified {
        wait_until(SOON, &format!("{subscriber} is told {what}"), || {
            let is_it = |told: &v1::Notified| told.subscriber == subscriber && told.what == what;
            self.attack(id).notified.into_iter().find(is_it)
        })
    }

    #[track_caller]
    fn ban(&self, host: &str) -> String {
        self.leveed.ban(host, "test").expect("a ban")
    }

    #[track_caller]
    fn unban(&self, host: &str) {
        assert_eq!(self.leveed.unban(host).expect("an end").len(), 1, "{host}");
    }
}

/// All but figures, addresses and times: what of a report is FastNetMon's.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for c in line.chars() {
        let c = if c.is_ascii_digit() { '9' } else { c };
        if !(c == '9' && shape.ends_with('9')) {
            shape.push(c);
        }
    }
    shape
}

fn real(name: &str) -> Vec<String> {
    let path = support::traffic::capture(name);
    fs::read_to_string(path).unwrap().lines().map(shape).collect()
}

/// The order of a packet's parts, without what differs from packet to packet.
fn assert_packet_line(line: &str, real: &str, what: &str) {
    let words = |line: &str| -> Vec<String> {
        line.split(' ').filter(|word| word.ends_with(':') || word.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(words(line), words(real), "{what}: {line}");
}

/// Floods of ICMP, as the one that FastNetMon's own reports are of, to hosts of both families at once; three scripts, one for each layout.
#[test]
fn scripts_of_fastnetmon_s_kind_run_unchanged_for_both_families() {
    let mut site = Site::prepare();
    let (outside, inside) = (Netns::silent(), Netns::silent());
    veth((&outside, "out0"), (&inside, "tap0"));
    let (v4, v6) = ("198.18.7.7", "2001:db8::7");
    let frames = [("203.0.113.9", v4), ("2001:db8:ffff::9", v6)]
        .map(|(source, host)| pcap::icmp(source.parse().unwrap(), host.parse().unwrap(), 18));
    let file = site.leveed.path("icmp.pcap");
    pcap::write(&file, &frames);
    let mut rest = "[groups.default.incoming]\nicmp_pps = 500\n[detection]\nban_time_s = 1\ncapture_packets = 100\nprobation_s = 0\n".to_owned();
    rest += &site.section("classic", KEEPER, "layout = \"1.2.4\"\nreport_packets = 20");
    rest += &site.section("newer", KEEPER, "layout = \"1.2.6\"\nreport_packets = 7");
    rest += &site.section("json", KEEPER, "layout = \"advanced\"");
    let device = "net_af_packet0,iface=tap0,blocksz=65536,framesz=2048,framecnt=4096";
    let ports: [(&str, &[usize]); 1] = [(device, &[*cores().last().unwrap()])];
    site.leveed.configure(&Setup { networks: &NETWORKS, ports: &ports, daemon: "", rest: &rest });
    site.leveed.start_in(&inside);
    let player = Player::start(&outside, "out0", &file, 4_000, Amount::Seconds(60));
    wait_until(SOON, "both samples", || {
        (site.leveed.attacks().iter().filter(|attack| attack.captured >= 100).count() == 2).then_some(())
    });
    wait_until(SOON, "details", || (site.calls("classic").len() >= 4).then_some(()));
    player.stop();
    wait_until(SOON, "the end of both", || {
        (site.leveed.attacks().iter().filter(|attack| attack.state == "ended").count() == 2).then_some(())
    });
    for name in ["notify.classic", "notify.newer", "notify.json"] {
        let told = site.wait_idle(name);
        assert_eq!((told.failed, told.given_up, told.failing), (0, 0, false), "{told:?}");
    }
    for host in [v4, v6] {
        let of = |name: &str| -> Vec<Call> {
            site.calls(name).into_iter().filter(|call| call.arguments.iter().any(|word| word == host)).collect()
        };
        let actions = |calls: &[Call]| -> Vec<String> { calls.iter().map(|call| call.arguments[3].clone()).collect() };
        let classic = of("classic");
        assert_eq!(actions(&classic), ["ban", "attack_details", "unban"], "{host}");
        for call in &classic {
            let [ip, direction, pps, _] = &call.arguments[..] else { panic!("four arguments: {call:?}") };
            assert!(ip == host && direction == "incoming" && pps.parse::<u32>().is_ok_and(|pps| pps > 500), "{call:?}");
        }
        // Line by line; an address of IPv6 has another shape, and that alone.
        let lines =
            |call: &Call| -> Vec<String> { call.input.replace(host, "198.18.7.7").lines().map(shape).collect() };
        assert_eq!(lines(&classic[0]), real("fastnetmon-1.2.4-ban.stdin.txt"), "{host}");
        let (details, right) = (lines(&classic[1]), real("fastnetmon-1.2.4-attack_details.stdin.txt"));
        let begin = right.iter().position(|line| line.starts_with("9-9-9 ")).expect("packets");
        assert_eq!(details[..begin], right[..begin], "{host}");
        let packets: Vec<&str> = classic[1].input.lines().skip(begin).filter(|line| !line.is_empty()).collect();
        assert_eq!(packets.len(), 20, "{host}");
        let real_packet =
            fs::read_to_string(support::traffic::capture("fastnetmon-1.2.4-attack_details.stdin.txt")).unwrap();
        let real_packet = real_packet.lines().nth(begin).unwrap().to_owned();
        for packet in packets {
            assert!(packet.contains(&format!("> {host}:0 protocol: icmp")) || host == v6, "{packet}");
            assert_packet_line(packet, &real_packet, host);
        }
        assert!(classic[0].input.contains("Attack type: icmp_flood\n") && classic[2].input.is_empty(), "{host}");

        let newer = of("newer");
        assert_eq!(actions(&newer), ["ban", "unban"], "{host}: the ban waits for its sample");
        assert!(newer[0].input.starts_with(&format!("IP: {host}\n")) && newer[1].input.is_empty(), "{:?}", newer[0]);
        let (_, dump) = newer[0].input.split_once("\n\n\nAttack traffic dump\n\n").expect("a dump");
        let (packets, rest) = dump.split_once("\n\nFlow dump\n\n").expect("no flows");
        assert_eq!((packets.trim_end_matches('\n').lines().count(), rest), (7, ""), "{host}");

        let json = of("json");
        let documents: Vec<serde_json::Value> =
            json.iter().map(|call| serde_json::from_str(&call.input).expect("JSON")).collect();
        let told: Vec<&str> = documents.iter().map(|document| document["action"].as_str().unwrap()).collect();
        assert_eq!((told.first(), told.last()), (Some(&"ban"), Some(&"unban")), "{host}: {told:?}");
        assert_eq!(documents[0]["ip"], host);
        assert_eq!(documents[0]["packet_dump"].as_array().map(Vec::len), Some(20), "{host}");
        assert_eq!(documents[0]["attack_details"]["attack_direction"], "incoming");
    }
    let attack = site.leveed.attacks().remove(0);
    let ban = site.wait_notified(&attack.id, "notify.classic", "ban");
    assert_eq!((ban.state.as_str(), ban.text.as_str(), ban.times, ban.failures), ("delivered", "exit status 0", 1, 0));
    let journal = site.attack(&attack.id).journal;
    let told = journal.iter().filter(|entry| entry.kind == "notified" && entry.text.starts_with("notify.classic: "));
    let told: Vec<&str> = told.map(|entry| entry.text.as_str()).collect();
    assert_eq!(
        told,
        ["ban", "attack_details", "unban"].map(|action| format!("notify.classic: {action}: delivered: exit status 0"))
    );
}

/// Every bad kind at once, and a good one beside them.
#[test]
fn bad_scripts_hold_up_nobody_and_are_told() {
    let mut site = Site::prepare();
    let hang = "echo begun\n(bash -c 'echo $$ >$D/child; sleep 300 & echo $! >$D/grandchild; wait' &)\nsleep 300";
    let giant = "echo first\nhead -c 1000000000 /dev/zero\ncat /proc/$PPID/status | grep VmRSS >$D/rss";
    let mut sections = site.section("hang", hang, "timeout_s = 1");
    sections += &site.section("fail", "echo no router >&2\nexit 3", "");
    sections += &site.section("deaf", "echo deaf", "layout = \"advanced\"");
    sections += &site.section("giant", giant, "timeout_s = 30");
    sections += &site.section("good", KEEPER, "");
    sections += "[notify.none]\nscript = \"/nonexistent/notify.sh\"\n";
    site.configure("", &sections);
    let checked = site.leveed.run("check");
    let errors = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        checked.status.success() && errors.contains("notify.none.script: /nonexistent/notify.sh: No such file"),
        "{errors}"
    );
    site.leveed.start();
    let started = Instant::now();
    let id = site.ban("198.18.0.1");
    wait_until(SOON, "the good one", || (site.calls("good").len() == 1).then_some(()));
    assert!(started.elapsed() < Duration::from_secs(10), "others held it up for {:?}", started.elapsed());
    assert_eq!(site.calls("good")[0].arguments, ["198.18.0.1", "other", "0", "ban"]);
    let told = |name: &str| {
        let told = site.wait_notified(&id, &format!("notify.{name}"), "ban");
        (told.state, told.text)
    };
    let is = |state: &str, text: &str| (state.to_owned(), text.to_owned());
    assert_eq!(told("fail"), is("failed", "exit status 3: no router"));
    assert_eq!(told("deaf"), is("delivered", "exit status 0: deaf"));
    assert_eq!(told("none"), is("failed", "cannot be started: No such file or directory (os error 2)"));
    assert_eq!(told("hang"), is("failed", "not done after 1 s: killed, with all of its process group: begun"));
    for name in ["child", "grandchild"] {
        let pid = site.wait_lines("hang", name, 1).remove(0);
        wait_until(SOON, "its end", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
        });
    }
    // Behind it are zeroes.
    assert_eq!(told("giant"), is("delivered", "exit status 0: first"));
    // All of the daemon, at the end of a gigabyte.
    let rss = site.wait_lines("giant", "rss", 1).remove(0);
    let kilobytes: u64 = rss.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 600_000, "{rss}");
    let alarms = site.leveed.alarms();
    for words in ["notify.fail (", "notify.none (/nonexistent", "notify.hang ("] {
        assert!(alarms.iter().any(|alarm| alarm.starts_with(words)), "{alarms:?}");
    }
    assert!(
        !alarms.iter().any(|alarm| alarm.starts_with("notify.good") || alarm.starts_with("notify.deaf")),
        "{alarms:?}"
    );
    // What failed is not tried again; what is mended is well again with the next.
    assert_eq!(site.attack(&id).notified.iter().map(|told| told.times).max(), Some(1));
    site.script("fail", "true");
    site.unban("198.18.0.1");
    let end = site.wait_notified(&id, "notify.fail", "unban");
    assert_eq!((end.state.as_str(), site.subscriber("notify.fail").failing), ("delivered", false));
}

/// Two hundred attacks at once, with a bound that the script itself sees kept, and a worker's core that it never sees.
#[test]
fn two_hundred_attacks_at_once_each_in_order_and_no_more_than_so_many_at_a_time() {
    const HOSTS: usize = 200;
    const AT_MOST: usize = 6;
    let mut site = Site::prepare();
    let lines = "echo \"+ $1 $4\" >>$D/log; grep Cpus_allowed_list /proc/self/status >>$D/cores; sleep 0.05; echo \"- $1 $4\" >>$D/log";
    let sections = site.section("edge", lines, &format!("at_most = {AT_MOST}"));
    site.configure("", &sections);
    site.leveed.start();
    let hosts: Vec<String> = (0..HOSTS).map(|host| format!("198.18.{}.{}", host / 100, host % 100 + 1)).collect();
    for host in &hosts {
        site.ban(host);
        site.unban(host);
    }
    let log = site.wait_lines("edge", "log", 4 * HOSTS);
    let (mut running, mut most) = (0usize, 0);
    let mut by_host: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in &log {
        let [sign, host, action] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        running = if sign == "+" { running + 1 } else { running - 1 };
        most = most.max(running);
        by_host.entry(host).or_default().push(format!("{sign}{action}"));
    }
    assert!(most <= AT_MOST && most > 1, "{most} at once");
    assert_eq!(by_host.len(), HOSTS);
    for (host, calls) in by_host {
        assert_eq!(calls, ["+ban", "-ban", "+unban", "-unban"], "{host}");
    }
    let told = site.wait_idle("notify.edge");
    assert_eq!((told.delivered, told.failed, told.running), (2 * HOSTS as u64, 0, 0));
    let worker = cores()[0].to_string();
    let seen = site.lines("edge", "cores");
    let rest: Vec<String> = cores()[1..].iter().map(ToString::to_string).collect();
    if !rest.is_empty() {
        let on_it = seen.iter().find(|line| line.split(['\t', ',', '-']).any(|core| core == worker));
        assert_eq!(on_it, None, "the worker's core is {worker}");
    }
}

/// Killed while scripts run and more wait: what was due comes after the restart, each ban before its unban, nothing lost, and nothing
/// told a second time but what was on its way.
#[test]
fn what_was_due_is_told_after_a_kill() {
    let mut site = Site::prepare();
    let sections = site.section("edge", "echo \"$1 $4\" >>$D/log; sleep 0.2", "at_most = 2");
    site.configure("", &sections);
    site.leveed.start();
    let hosts: Vec<String> = (1..=12).map(|host| format!("198.18.0.{host}")).collect();
    let ids: Vec<String> = hosts.iter().map(|host| site.ban(host)).collect();
    hosts.iter().for_each(|host| site.unban(host));
    site.wait_lines("edge", "log", 6);
    site.leveed.kill();
    let before = site.lines("edge", "log").len();
    assert!(before < 20, "{before}: some are still due");
    site.leveed.start();
    wait_until(SOON, "what is due", || (site.subscriber("notify.edge").waiting > 0).then_some(()));
    site.wait_idle("notify.edge");
    let mut by_host: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in site.lines("edge", "log") {
        let (host, action) = line.split_once(' ').unwrap();
        by_host.entry(host.to_owned()).or_default().push(action.to_owned());
    }
    let twice = by_host.values().map(|actions| actions.len() - 2).sum::<usize>();
    assert!(twice <= 4, "only what was on its way, or not on record yet: {by_host:?}");
    for (host, mut actions) in by_host {
        actions.dedup();
        assert_eq!(actions, ["ban", "unban"], "{host}");
    }
    for id in &ids {
        site.wait_notified(id, "notify.edge", "ban");
        site.wait_notified(id, "notify.edge", "unban");
    }
    // A stop waits for what is on its way, and tells nothing twice.
    site.ban("198.18.0.50");
    let many = site.wait_lines("edge", "log", 25 + twice).len();
    assert!(site.leveed.terminate().success());
    site.leveed.start();
    site.wait_idle("notify.edge");
    assert_eq!(site.lines("edge", "log").len(), many);
}

/// Dies before and after each write and each call: every action is told, in order.
#[test]
fn killed_at_every_step() {
    let steps = [Step::Write, Step::Commit, Step::NotifyScript];
    let live = |netns: &mut Netns, order: Option<&str>| -> (bool, String) {
        let mut site = Site::prepare();
        site.configure("", &site.section("edge", "echo $4 >>$D/log", ""));
        site.leveed.start_mortal(netns, order);
        let mut died = false;
        let mut revive = |site: &mut Site| {
            if site.leveed.has_died() {
                assert!(!died, "{order:?}: it died by itself");
                died = true;
                site.leveed.start_in(netns);
            }
        };
        let host = "198.18.0.1";
        let alive = |site: &Site| {
            let attacks = site.leveed.try_attacks()?;
            Some(attacks.iter().any(|attack| ["detected", "mitigating"].contains(&attack.state.as_str())))
        };
        wait_until(SOON, &format!("{order:?}: a ban"), || {
            revive(&mut site);
            // What a person was answered may not be on record yet.
            if !alive(&site)? {
                site.leveed.ban(host, "test").ok()?;
            }
            site.lines("edge", "log").first().map(|_| ())
        });
        wait_until(SOON, &format!("{order:?}: an end"), || {
            revive(&mut site);
            if alive(&site)? {
                site.leveed.unban(host).ok()?;
            }
            site.lines("edge", "log").iter().any(|line| line == "unban").then_some(())
        });
        wait_until(SOON, &format!("{order:?}: an empty outbox"), || {
            revive(&mut site);
            let status = site.leveed.ask(async |mut api| api.get_status(v1::GetStatusRequest {}).await).ok()?;
            let is_told = |attack: &v1::Attack| attack.notified.iter().any(|told| told.what == "unban");
            let is_told = site.leveed.try_attacks()?.iter().any(is_told);
            (status.subscribers.first()?.waiting == 0 && is_told).then_some(())
        });
        let mut told = site.lines("edge", "log");
        assert!(told.len() <= 3, "{order:?}: only what was on its way comes once more: {told:?}");
        told.dedup();
        assert_eq!(told, ["ban", "unban"], "{order:?}");
        (died, site.leveed.log())
    };
    let mut netns = [Netns::silent(), Netns::silent()];
    let (_, log) = live(&mut netns[0], None);
    let orders = deaths::orders(&log, &steps, 4);
    let count = orders.len();
    let died = deaths::live_all(&mut netns, orders, |netns, order| live(netns, Some(order)).0);
    // How many records go into one transaction is a matter of luck.
    assert!(died * 2 >= count, "only {died} of {count} were passed");
}

/// Dry run and pause hold for what acts, and not for what only tells; a ban that was told has its unban in any case.
#[test]
fn dry_run_and_a_pause_hold_for_what_acts() {
    let mut site = Site::prepare();
    let log = "echo \"$1 $4\" >>$D/log";
    let sections = site.section("edge", log, "") + &site.section("chat", log, "acts = false");
    site.configure("", &sections);
    site.leveed.start();
    site.ban("198.18.0.1");
    site.wait_lines("edge", "log", 1);
    site.reload("dry_run = true\n", &sections);
    let id = site.ban("198.18.0.2");
    assert_eq!(site.wait_notified(&id, "notify.edge", "ban").state, "dry_run");
    site.unban("198.18.0.2");
    site.unban("198.18.0.1");
    assert_eq!(site.wait_lines("edge", "log", 2), ["198.18.0.1 ban", "198.18.0.1 unban"]);
    assert_eq!(site.wait_lines("chat", "log", 4).len(), 4);

    site.reload("", &sections);
    let pause = v1::PauseRequest { seconds: 0, reason: "works".to_owned() };
    site.leveed.ask(async |mut api| api.pause(pause).await).expect("a pause");
    site.ban("198.18.0.3");
    site.unban("198.18.0.3");
    assert_eq!(site.wait_lines("chat", "log", 6).len(), 6);
    let held = site.subscriber("notify.edge");
    assert_eq!((held.paused, held.waiting), (true, 2));
    never(Duration::from_millis(500), "a call in a pause", || site.lines("edge", "log").get(2).cloned());
    site.leveed.ask(async |mut api| api.resume(v1::ResumeRequest::default()).await).expect("an end");
    assert_eq!(site.wait_lines("edge", "log", 4)[2..], ["198.18.0.3 ban", "198.18.0.3 unban"]);

    // Another subscriber after a reload; one that goes has nothing more to wait for.
    let chat = site.section("chat", log, "acts = false");
    site.reload("", &chat);
    site.ban("198.18.0.4");
    site.wait_lines("chat", "log", 7);
    assert_eq!(site.leveed.status().subscribers.len(), 1);
    assert_eq!(site.lines("edge", "log").len(), 4);
}
