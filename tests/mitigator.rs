//! MITIGATOR and the whole daemon: floods of a real generator, paced and live, a stub that records all it is asked, kills between
//! any two requests, and the doctor. Needs root, for namespaces.
//!
//! ```text
//!   hping3, tcpreplay ──veth── leveed ──TLS over loopback── the stub
//!          out0                tap0
//! ```

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;
use std::time::Duration;

use controlplane::crash::Step;
use mitigator_stub::{Fault, PASSWORD, Stub};
use proto::v1;
use support::daemon::{Leveed, Setup, core, cores};
use support::deaths::{live_all, orders};
use support::netns::{Netns, veth};
use support::traffic::{self, Amount, Player, VICTIM};
use support::{Process, wait_until};

const SOON: Duration = Duration::from_secs(30);
const OTHER: &str = "198.18.78.2";
/// As the page has it: limits on all traffic alone.
const TOTALS: &str = "[groups.default.incoming]\ntotal_pps = 1000\ntotal_mbps = 1000\n";

/// Everything in the drawing.
struct Site {
    outside: Netns,
    inside: Netns,
    stub: Stub,
    leveed: Leveed,
    core: usize,
}

impl Site {
    /// The stub runs, `leveed` does not.
    fn prepare(version: &str, core: usize) -> Site {
        let (outside, inside) = (Netns::silent(), Netns::silent());
        veth((&outside, "out0"), (&inside, "tap0"));
        outside.address("out0", "198.18.79.1/24");
        outside.run("ip route add 198.18.78.0/24 dev out0");
        let tap = inside.run("cat /sys/class/net/tap0/address");
        for host in [&VICTIM.to_string(), OTHER] {
            outside.run(&format!("ip neighbour add {host} lladdr {} dev out0", tap.trim()));
        }
        let stub = Stub::start(inside.listener(), version);
        let leveed = Leveed::prepare(&Setup { networks: &["198.18.78.0/24"], ..Setup::default() });
        Site { outside, inside, stub, leveed, core }
    }

    fn configure(&self, daemon: &str, detection: &str, mitigator: &str) {
        let (password, certificate) = (self.leveed.path("password"), self.leveed.path("certificate.pem"));
        fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        fs::write(&certificate, self.stub.pem()).unwrap();
        sh_chmod(&password);
        let address = self.stub.url();
        let rest = format!(
            "{detection}[detection]\nban_time_s = 2\ncapture_packets = 100\nprobation_s = 0\n[mitigator]\naddresses = [{address:?}]\n\
             user = \"levee\"\npassword_file = {password:?}\nca_file = {certificate:?}\ndefault_policy = 1\n{mitigator}"
        );
        let device = "net_af_packet0,iface=tap0,blocksz=65536,framesz=2048,framecnt=4096";
        let ports: [(&str, &[usize]); 1] = [(device, &[self.core])];
        self.leveed.configure(&Setup { networks: &["198.18.78.0/24"], ports: &ports, daemon, rest: &rest });
    }

    fn start(version: &str, detection: &str, mitigator: &str) -> Site {
        let mut site = Site::prepare(version, core());
        site.configure("", detection, mitigator);
        site.leveed.start_in(&site.inside);
        site
    }

    /// A flood to a host, for as long as what comes back lives.
    fn flood(&self, host: &str, arguments: &[&str]) -> Process {
        let mut command = self.outside.command("hping3");
        command.args(arguments).arg(host);
        Process::start("hping3", &mut command, self.leveed.path("hping3.log"))
    }

    #[track_caller]
    fn wait_on(&self, on: &[&str]) {
        wait_until(SOON, &format!("switches {on:?}"), || (self.stub.state().all_on() == on).then_some(()));
    }

    /// The newest attack, once each of its switches is in this state.
    #[track_caller]
    fn wait_switches(&self, state: &str) -> v1::Attack {
        wait_until(SOON, &format!("switches {state}"), || {
            let attack = self.leveed.try_attacks()?.into_iter().next()?;
            let all = !attack.switches.is_empty() && attack.switches.iter().all(|switch| switch.state == state);
            all.then_some(attack)
        })
    }

    fn doctor(&self, arguments: &[&str]) -> Output {
        let mut command = self.inside.command(env!("CARGO_BIN_EXE_leveed"));
        command.args(["doctor", "mitigator"]).arg(self.leveed.config()).args(arguments);
        command.output().expect("run leveed")
    }

    /// The journal of an attack.
    fn journal(&self, id: &str) -> Vec<v1::Entry> {
        let request = v1::ListAttacksRequest { id: id.to_owned(), ..v1::ListAttacksRequest::default() };
        let found = self.leveed.ask(async |mut api| api.list_attacks(request).await).expect("attacks");
        found.attacks.into_iter().next().expect("the attack").journal
    }
}

fn sh_chmod(path: &std::path::Path) {
    support::sh("chmod", ["600".to_owned(), path.display().to_string()]);
}

/// The page's own "checking work", and the rest of its map, up to v20.06 and after.
#[test]
fn floods_switch_on_what_the_page_says_and_their_end_puts_it_back() {
    let floods: [(&[&str], &str, &str); 3] = [
        (&["--icmp", "--flood"], "acl", "icmp"),
        (&["-S", "-p", "80", "-i", "u200"], "tcp", "tcp_syn"),
        (&["--udp", "-p", "53", "-i", "u200"], "sorb", "udp"),
    ];
    let site = Site::start("v21.04", TOTALS, "");
    for (arguments, switch, class) in floods {
        site.stub.state().forget();
        let flood = site.flood(&VICTIM.to_string(), arguments);
        let mut both = [format!("1 {switch}"), "1 toggle".to_owned()];
        both.sort();
        site.wait_on(&both.each_ref().map(String::as_str));
        let attack = site.wait_switches("on");
        assert_eq!(attack.classes, [class], "{switch}");
        // One that is over before its sample is full may have been none: that is another story.
        wait_until(SOON, "a sample", || {
            site.leveed.attacks().into_iter().find(|now| now.id == attack.id && now.captured >= 100)
        });
        drop(flood);
        site.wait_on(&[]);
        let ended = site.wait_switches("put_back");
        assert_eq!(ended.id, attack.id);
        assert!(ended.ending_ms >= ended.detected_ms + 2_000, "not before ban_time");
        let put = |name: &str, on: u8| format!("/api/v4/{name}/switch?policy=1 {{\"switch\":{on}}}");
        assert_eq!(site.stub.puts(), [put("toggle", 1), put(switch, 1), put(switch, 0), put("toggle", 0)]);
        let journal = site.journal(&attack.id);
        let told: Vec<_> =
            journal.iter().filter(|entry| entry.kind == "switched").map(|entry| entry.text.as_str()).collect();
        let line = |switch: &str, state: &str| format!("MITIGATOR policy 1: {switch}: {state}");
        let right =
            [line("protection", "on"), line(switch, "on"), line(switch, "off again"), line("protection", "off again")];
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(right.iter().all(|line| told.contains(&line.as_str())), "{told:?}");
    }
}

/// Two hosts in one policy; names of before v20.08; a person who switches something off.
#[test]
fn two_hosts_of_one_policy_and_a_person_in_between() {
    let site =
        Site::start("v20.06", "[groups.default.incoming]\ntcp_syn_pps = 500\nudp_pps = 500\n", "check_period_s = 1\n");
    let syn = site.flood(&VICTIM.to_string(), &["-S", "-p", "80", "-i", "u500"]);
    site.wait_on(&["1 tcpFloodProt", "1 toggle"]);
    let udp = site.flood(OTHER, &["--udp", "-p", "53", "-i", "u500"]);
    site.wait_on(&["1 sourceLimiter", "1 tcpFloodProt", "1 toggle"]);
    wait_until(SOON, "samples", || {
        (site.leveed.attacks().iter().filter(|attack| attack.captured >= 100).count() == 2).then_some(())
    });
    drop(syn);
    site.wait_on(&["1 sourceLimiter", "1 toggle"]);
    site.stub.state().flip(1, "sourceLimiter", false);
    let is_left = |switch: &v1::AttackSwitch| switch.switch == "sorb" && switch.state == "left";
    let attack = wait_until(SOON, "a switch that is left", || {
        site.leveed.attacks().into_iter().find(|attack| attack.switches.iter().any(is_left))
    });
    assert_eq!(attack.target, format!("{OTHER}/32"));
    assert!(
        site.journal(&attack.id)
            .iter()
            .any(|entry| entry.kind == "alarm" && entry.text.contains("changed by somebody else"))
    );
    let status = site.leveed.status();
    assert!(
        status.alarms.iter().any(|alarm| alarm.contains("policy 1: sorb: somebody switched it off")),
        "{:?}",
        status.alarms
    );
    let mitigator = status.mitigator.expect("one");
    assert!(mitigator.connected && mitigator.version == "v20.06" && mitigator.node == site.stub.url());
    assert_eq!(
        mitigator.switches.iter().map(|switch| (switch.switch.as_str(), switch.state.as_str())).collect::<Vec<_>>(),
        [("protection", "set"), ("sorb", "left")]
    );
    drop(udp);
    site.wait_on(&[]);
    let on = site.stub.puts().iter().filter(|put| put.contains("sourceLimiter")).count();
    assert_eq!(on, 1, "nobody fights that person");
    wait_until(SOON, "no alarm", || {
        site.leveed.status().alarms.iter().all(|alarm| !alarm.contains("MITIGATOR")).then_some(())
    });
}

/// The password is in no log, no argument and no error, whatever the peer does with it.
#[test]
fn the_password_is_nowhere() {
    let mut site = Site::prepare("v21.04", core());
    site.configure("", TOTALS, "");
    let text = fs::read_to_string(site.leveed.config()).unwrap();
    site.leveed.write_config(&text.replace("debug,h2=info,hyper=info,tower=info", "trace"));
    site.stub.state().user.1 = "another".into();
    site.leveed.start_in(&site.inside);
    let alarm = wait_until(SOON, "an alarm", || {
        site.leveed.status().alarms.into_iter().find(|alarm| alarm.contains("cannot log in"))
    });
    let error = site.leveed.status().mitigator.expect("one").error;
    let doctor = site.doctor(&[]);
    assert_eq!(doctor.status.code(), Some(1));
    let said = format!("{}{}", String::from_utf8_lossy(&doctor.stdout), String::from_utf8_lossy(&doctor.stderr));
    assert!(said.contains("user or password refused") && said.contains("***"), "{said}");
    let pid = site.leveed.pid();
    let arguments = ["cmdline", "environ"]
        .map(|name| String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{name}")).unwrap()).into_owned());
    // It goes on with the right one; then the log has seen tokens, too.
    site.stub.state().user.1 = PASSWORD.into();
    wait_until(SOON, "a log-in", || site.leveed.status().mitigator.filter(|mitigator| mitigator.connected));
    site.stub.state().fault(
        "backend/ping",
        1,
        Fault::Status(500, format!("{{\"error\":\"token-1-of-the-stub {}\"}}", "of \\\"word\\\"")),
    );
    let log = site.leveed.log();
    assert!(log.contains("TRACE"), "the log is as loud as can be");
    for text in [&alarm, &error, &said, &arguments[0], &arguments[1], &log] {
        for secret in ["\"word\"", "\\\"word", "20% tests", "20%25", "-of-the-stub"] {
            let at = text.find(secret);
            assert!(
                at.is_none(),
                "{secret} in {}",
                &text[at.unwrap_or(0).saturating_sub(200)..][..400.min(text.len())]
            );
        }
    }
}

#[test]
fn the_doctor_says_all_and_changes_nothing() {
    let site = Site::prepare("v21.04", core());
    let policies = "[[mitigator.policies]]\nnetworks = [\"198.18.78.2/32\"]\npolicy = 42\n\
                    [[mitigator.policies]]\nnetworks = [\"198.18.78.3/32\"]\npolicy = 77\n";
    site.configure("", TOTALS, policies);
    {
        let mut state = site.stub.state();
        state.monitored.insert(42);
        state.automatic.insert(42);
        state.autodetection = true;
        state.flip(42, "tcp", true);
        state.switches.insert((None, "router".to_owned()), false);
    }
    let output = site.doctor(&["--host", OTHER, "--class", "tcp_syn"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = [
        "good  password ",
        "its certificate is in ca_file; SHA-256 ",
        "levee is logged in",
        "v21.04: names from v20.08",
        "WARN  general protection",
        "WARN  autodetection",
        "good  policy 1 ",
        "\"web\"",
        "takes part in autodetection",
        "in monitor mode",
        "now: protection off, tcp on, acl off, sorb off",
        "BAD   policy 77",
        "there is no such policy",
        "by mitigator.policies: protection on (PUT toggle/switch?policy=42, now off), then tcp on (PUT tcp/switch?policy=42, now on)",
    ];
    for line in lines {
        assert!(said.contains(line), "no {line} in\n{said}");
    }
    assert_eq!(output.status.code(), Some(1), "policy 77 is bad");
    let methods: BTreeMap<String, usize> =
        site.stub.state().requests.iter().fold(BTreeMap::new(), |mut count, request| {
            *count.entry(request.method.clone()).or_default() += 1;
            count
        });
    assert_eq!((methods.keys().map(String::as_str).collect::<Vec<_>>(), methods["POST"]), (vec!["GET", "POST"], 1));
    site.configure("", TOTALS, "");
    let output = site.doctor(&["--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        found["findings"].as_array().is_some_and(|findings| findings.len() > 10) && output.status.success(),
        "{found}"
    );
    site.leveed.write_config(
        &fs::read_to_string(site.leveed.config()).unwrap().replace(&site.stub.url(), "https://127.0.0.1:1"),
    );
    let output = site.doctor(&[]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("cannot be reached") && output.status.code() == Some(1));
}

/// How a life with a kill in it ends.
struct Life {
    attack: v1::Attack,
    died: bool,
    puts: Vec<String>,
    log: String,
}

/// One attack from its begin to its end. Where `order` kills the daemon, another one takes over.
fn live(site: &mut Site, order: Option<&str>) -> Life {
    site.leveed = Leveed::prepare(&Setup { networks: &["198.18.78.0/24"], ..Setup::default() });
    let detection = "[groups.default.incoming]\nudp_pps = 500\n";
    site.configure("", detection, "check_period_s = 60\n");
    let text = fs::read_to_string(site.leveed.config()).unwrap().replace("ban_time_s = 2", "ban_time_s = 1");
    site.leveed.write_config(&text);
    site.stub.state().forget();
    site.leveed.start_mortal(&site.inside, order);
    let file = site.leveed.path("isakmp.pcap");
    traffic::retarget(&traffic::capture("amp.UDP.isakmp.pcap"), VICTIM, &file);
    let mut player = Some(Player::start(&site.outside, "out0", &file, 2_000, Amount::Seconds(100)));
    let mut died = false;
    let attack = wait_until(SOON, &format!("a whole life with {order:?}"), || {
        if site.leveed.has_died() {
            assert!(!died && order.is_some(), "it died by itself");
            died = true;
            site.leveed.start_in(&site.inside);
        }
        let attack = site.leveed.try_attacks()?.into_iter().next()?;
        let all =
            |state: &str| attack.switches.len() == 2 && attack.switches.iter().all(|switch| switch.state == state);
        if player.is_some() && all("on") && attack.captured >= 100 {
            assert_eq!(site.stub.state().all_on(), ["1 sorb", "1 toggle"], "{order:?}");
            player = None;
        }
        (attack.state == "ended" && all("put_back")).then_some(attack)
    });
    assert_eq!(site.stub.state().all_on(), [""; 0], "{order:?}");
    let held = site.leveed.status().mitigator.expect("one").switches;
    assert!(held.is_empty(), "{order:?}: {held:?}");
    let log = site.leveed.log();
    site.leveed.kill();
    Life { attack, died, puts: site.stub.puts(), log }
}

#[test]
fn killed_between_any_two_requests() {
    let steps = [Step::MitigatorLogin, Step::MitigatorVersion, Step::MitigatorGetSwitch, Step::MitigatorPutSwitch];
    let cores = cores();
    let mut sites: Vec<Site> = (0..2).map(|lane| Site::prepare("v21.04", cores[lane % cores.len()])).collect();
    let undisturbed = live(&mut sites[0], None);
    let put = |name: &str, on: u8| format!("/api/v4/{name}/switch?policy=1 {{\"switch\":{on}}}");
    let right = [put("toggle", 1), put("sorb", 1), put("sorb", 0), put("toggle", 0)];
    assert_eq!(undisturbed.puts, right);
    let orders = orders(&undisturbed.log, &steps, usize::MAX);
    let count = orders.len();
    let deaths = live_all(&mut sites, orders, |site, order| {
        let life = live(site, Some(order));
        assert_eq!(life.puts, right, "{order}");
        assert_eq!(life.attack.target, undisturbed.attack.target, "{order}");
        life.died
    });
    assert_eq!(deaths, count, "every point was passed");
}
