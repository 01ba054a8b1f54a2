//! The task against a stub: which requests it makes, and that what others do, faults and stops end with the right switches.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mitigator_stub::{Fault, PASSWORD, Stub};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use super::settings::{Class, Family, PasswordSource, Settings, samples};
use super::*;
use crate::attack::{Direction, Target};
use crate::record::SwitchState;
use crate::store::{Disk, Store, StoreHandle, spawn};

mod calls;

/// A stub, a store, and whoever serves the stub.
struct World {
    folder: TempDir,
    stub: Stub,
    settings: Settings,
    told: watch::Sender<Told>,
    mitigator: Mitigator,
    report: watch::Receiver<Report>,
    store: Option<StoreHandle>,
}

/// Settings for these nodes, with the certificate of the first and its password.
fn settings(folder: &TempDir, stubs: &[&Stub]) -> Settings {
    let (password, certificate) = (folder.path().join("password"), folder.path().join("certificate.pem"));
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    fs::write(&certificate, stubs.iter().map(|stub| stub.pem()).collect::<String>()).unwrap();
    let urls: Vec<String> = stubs.iter().map(|stub| stub.url()).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    Settings {
        password: PasswordSource::File(password),
        ca_file: Some(certificate),
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(2),
        back_off_max: Duration::from_millis(200),
        check_period: Duration::from_millis(200),
        ..samples::settings(&urls)
    }
}

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("levee.db")
}

fn open(folder: &TempDir) -> (StoreHandle, Option<String>) {
    let store = Store::open(&database(folder)).unwrap();
    let held = store.switches().unwrap();
    (spawn(Disk::new(store), Duration::from_secs(1_000)).unwrap(), held)
}

impl World {
    async fn start(version: &str, change: impl FnOnce(&mut Settings)) -> World {
        let (folder, stub) = (tempfile::tempdir().unwrap(), Stub::local(version));
        let mut settings = settings(&folder, &[&stub]);
        change(&mut settings);
        let (store, held) = open(&folder);
        let (told, theirs) = watch::channel(Told::default());
        let mut mitigator = Mitigator::new(theirs, store.ledger(), held.as_deref());
        let report = mitigator.set(Some(settings.clone())).await.unwrap();
        World { folder, stub, settings, told, mitigator, report, store: Some(store) }
    }

    /// Dies where it is, and lives again.
    async fn restart(&mut self) {
        self.mitigator.stop(AtStop::Keep).await;
        drop(self.store.take());
        let (store, held) = open(&self.folder);
        let theirs = self.told.subscribe();
        self.mitigator = Mitigator::new(theirs, store.ledger(), held.as_deref());
        self.report = self.mitigator.set(Some(self.settings.clone())).await.unwrap();
        self.store = Some(store);
    }

    fn ask<'a>(&self, asked: impl IntoIterator<Item = &'a Asked>) {
        let asked: Vec<Asked> = asked.into_iter().cloned().collect();
        self.told.send_modify(|told| told.asked = Some(Arc::new(asked)));
    }

    async fn until(&mut self, what: &str, is_so: impl Fn(&Stub, &Report) -> bool) {
        for _ in 0..500 {
            if is_so(&self.stub, &self.report.borrow()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never came: {what}: {:?}, {:?}", self.stub.state().all_on(), self.report.borrow());
    }

    async fn until_on(&mut self, on: &[&str]) {
        self.until(&format!("{on:?}"), |stub, _| stub.state().all_on() == on).await;
    }

    /// How a switch is to an attack.
    fn state(&self, attack: Uuid, switch: &str) -> Option<SwitchState> {
        let report = self.report.borrow();
        report.of_attacks.get(&attack)?.iter().find(|known| known.switch == switch).map(|known| known.state)
    }

    async fn until_state(&mut self, attack: Uuid, switch: &str, state: SwitchState) {
        for _ in 0..500 {
            if self.state(attack, switch) == Some(state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {state:?}: {switch} is {:?}", self.report.borrow().of_attacks);
    }

    /// Requests but for what only sees whether it is there.
    fn calls(&self) -> Vec<String> {
        let requests = self.stub.state().requests.clone();
        let calls = requests.iter().filter(|request| !request.path.ends_with("backend/ping"));
        calls.map(|request| format!("{} {} {}", request.method, request.path, request.body).trim().to_owned()).collect()
    }
}

fn asked(host: u8, classes: &[Class]) -> Asked {
    Asked {
        attack: Uuid::now_v7(),
        target: Target { prefix: format!("198.18.0.{host}/32").parse().unwrap(), direction: Direction::Incoming },
        group: "web".into(),
        classes: classes.to_vec(),
        held_back: None,
    }
}

const TWO: Duration = Duration::from_millis(600);

#[tokio::test]
async fn every_request_of_an_attack_in_both_families() {
    for (version, tcp) in [("v21.04", "tcp"), ("v20.06", "tcpFloodProt")] {
        let mut world = World::start(version, |_| ()).await;
        world.until("log-in", |_, report| report.connected).await;
        let password = serde_json::Value::from(PASSWORD);
        let hello = [
            format!("POST /api/v4/users/session {{\"username\":\"levee\",\"password\":{password}}}"),
            "GET /api/v4/backend/version".to_owned(),
        ];
        assert_eq!(world.calls(), hello, "{version}: before anything is wanted");
        world.stub.state().forget();
        let attack = asked(1, &[Class::TcpSyn]);
        world.ask([&attack]);
        world.until_state(attack.attack, "tcp", SwitchState::On).await;
        let on = [
            "GET /api/v4/toggle/switch?policy=1".to_owned(),
            format!("GET /api/v4/{tcp}/switch?policy=1"),
            "PUT /api/v4/toggle/switch?policy=1 {\"switch\":1}".to_owned(),
            format!("PUT /api/v4/{tcp}/switch?policy=1 {{\"switch\":1}}"),
        ];
        assert_eq!(world.calls()[..4], on, "{version}");
        world.ask([]);
        world.until_state(attack.attack, "protection", SwitchState::PutBack).await;
        let puts = [
            "/api/v4/toggle/switch?policy=1 {\"switch\":1}".to_owned(),
            format!("/api/v4/{tcp}/switch?policy=1 {{\"switch\":1}}"),
            format!("/api/v4/{tcp}/switch?policy=1 {{\"switch\":0}}"),
            "/api/v4/toggle/switch?policy=1 {\"switch\":0}".to_owned(),
        ];
        assert_eq!(world.stub.puts(), puts, "{version}: in reverse order");
        for request in &world.stub.state().requests {
            assert_eq!(
                (request.token.as_str(), request.content_type.as_str()),
                ("token-1-of-the-stub", "application/json")
            );
        }
        let report = world.report.borrow().clone();
        assert_eq!((report.version.as_str(), report.family), (version, Family::of_version(version)));
        assert!(report.alarms.is_empty() && report.held.is_empty(), "{report:?}");
    }
}

#[tokio::test]
async fn two_attacks_in_one_policy_and_what_was_on_before() {
    let mut world = World::start("v21.04", |_| ()).await;
    world.stub.state().flip(1, "tcp", true);
    let (syn, ping) = (asked(1, &[Class::TcpSyn]), asked(2, &[Class::Icmp]));
    world.ask([&syn, &ping]);
    world.until_on(&["1 acl", "1 tcp", "1 toggle"]).await;
    world.until_state(syn.attack, "tcp", SwitchState::WasOn).await;
    world.ask([&ping]);
    world.until_state(syn.attack, "protection", SwitchState::Released).await;
    tokio::time::sleep(TWO).await;
    assert_eq!(world.stub.state().all_on(), ["1 acl", "1 tcp", "1 toggle"], "the other one needs the protection");
    world.ask([]);
    world.until_on(&["1 tcp"]).await;
    assert!(!world.stub.puts().iter().any(|put| put.contains("tcp")), "{:?}", world.stub.puts());
}

#[tokio::test]
async fn what_somebody_flips_is_left_and_told() {
    let mut world = World::start("v21.04", |_| ()).await;
    let attack = asked(1, &[Class::Udp]);
    world.ask([&attack]);
    world.until_on(&["1 sorb", "1 toggle"]).await;
    world.stub.state().flip(1, "sorb", false);
    world.until_state(attack.attack, "sorb", SwitchState::Left).await;
    let alarm = "MITIGATOR policy 1: sorb: somebody switched it off while attacks need it; it is left so";
    assert_eq!(world.report.borrow().alarms, [alarm]);
    // Another attack that needs it does not fight that person either.
    let other = asked(2, &[Class::Udp]);
    world.ask([&attack, &other]);
    world.until_state(other.attack, "sorb", SwitchState::Left).await;
    // On again by hand: it is theirs now.
    world.stub.state().flip(1, "sorb", true);
    world.until_state(attack.attack, "sorb", SwitchState::On).await;
    world.ask([]);
    world.until_on(&["1 sorb"]).await;
    world.until_state(other.attack, "sorb", SwitchState::Left).await;
    assert_eq!(world.stub.puts().iter().filter(|put| put.contains("sorb")).count(), 1);
    // The next attack begins afresh.
    let next = asked(3, &[Class::Udp]);
    world.ask([&next]);
    world.until_state(next.attack, "sorb", SwitchState::WasOn).await;
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_and_puts_back_what_ended_meanwhile() {
    let mut world = World::start("v21.04", |_| ()).await;
    let attack = asked(1, &[Class::Icmp]);
    world.ask([&attack]);
    world.until_state(attack.attack, "acl", SwitchState::On).await;
    world.restart().await;
    world.until_state(attack.attack, "acl", SwitchState::On).await;
    assert_eq!(world.stub.puts().len(), 2, "nothing is said twice");
    world.mitigator.stop(AtStop::Keep).await;
    world.ask([]);
    world.restart().await;
    world.until_on(&[]).await;
    world.until_state(attack.attack, "acl", SwitchState::PutBack).await;
}

#[tokio::test]
async fn another_configuration_and_the_end() {
    let mut world = World::start("v21.04", |_| ()).await;
    let attack = asked(1, &[Class::Icmp]);
    world.ask([&attack]);
    world.until_on(&["1 acl", "1 toggle"]).await;
    // Another policy on the same cluster: the one goes, the other comes.
    let other = Settings { default_policy: Some(42), ..world.settings.clone() };
    world.report = world.mitigator.set(Some(other)).await.unwrap();
    world.until_on(&["42 acl", "42 toggle"]).await;
    assert!(world.mitigator.set(None).await.is_none());
    assert_eq!(world.stub.state().all_on(), [""; 0], "no MITIGATOR, no switches of ours");
    world.report = world.mitigator.set(Some(world.settings.clone())).await.unwrap();
    world.until_on(&["1 acl", "1 toggle"]).await;
    world.mitigator.stop(AtStop::PutBack).await;
    assert_eq!(world.stub.state().all_on(), [""; 0]);
}

#[tokio::test]
async fn nothing_is_set_in_a_pause_nor_in_a_dry_run() {
    let mut world = World::start("v21.04", |_| ()).await;
    let (attack, dry) =
        (asked(1, &[Class::Icmp]), Asked { held_back: Some(HeldBack::DryRun), ..asked(2, &[Class::Udp]) });
    world.told.send_modify(|told| told.paused = true);
    world.ask([&attack, &dry]);
    world.until_state(attack.attack, "acl", SwitchState::Paused).await;
    world.until_state(dry.attack, "sorb", SwitchState::DryRun).await;
    tokio::time::sleep(TWO).await;
    assert!(world.stub.puts().is_empty());
    world.told.send_modify(|told| told.paused = false);
    world.until_on(&["1 acl", "1 toggle"]).await;
    world.told.send_modify(|told| told.paused = true);
    world.ask([]);
    tokio::time::sleep(TWO).await;
    assert_eq!(world.stub.state().all_on(), ["1 acl", "1 toggle"], "nothing is put back in a pause");
    world.mitigator.stop(AtStop::PutBack).await;
    assert_eq!(world.stub.state().all_on(), ["1 acl", "1 toggle"], "nor at a stop");
}

#[tokio::test]
async fn one_switch_that_fails_holds_up_no_other() {
    let mut world = World::start("v21.04", |_| ()).await;
    world.stub.state().fault(
        "PUT /api/v4/acl",
        usize::MAX,
        Fault::Status(500, "{\"error\": [1, {\"a\": null}]}".into()),
    );
    let (ping, syn) = (asked(1, &[Class::Icmp]), asked(2, &[Class::TcpSyn]));
    world.ask([&ping]);
    world.until_state(ping.attack, "acl", SwitchState::Failed).await;
    world.ask([&ping, &syn]);
    world.until_on(&["1 tcp", "1 toggle"]).await;
    let alarms = world.report.borrow().alarms.clone();
    assert!(
        alarms.len() == 1
            && alarms[0].contains("acl: PUT acl/switch?policy=1: it failed: ")
            && alarms[0].contains("500")
    );
    world.stub.state().heal();
    world.until_on(&["1 acl", "1 tcp", "1 toggle"]).await;
    world.until_state(ping.attack, "acl", SwitchState::On).await;
    world.ask([]);
    world.until_on(&[]).await;
}

#[tokio::test]
async fn every_fault_on_every_call_ends_with_the_right_switches() {
    let faults = [
        Fault::Status(500, "boom".into()),
        Fault::Status(503, String::new()),
        Fault::Status(401, "{\"error\": null}".into()),
        Fault::Status(403, "{\"error\": {\"why\": [\"no\"]}}".into()),
        Fault::Body("not JSON".into()),
        Fault::Body("{\"data\": null}".into()),
        Fault::Body("{\"error\": 7}".into()),
        Fault::Drop,
        Fault::Garbage,
        Fault::Slow(Duration::from_millis(700)),
        Fault::Misdirected(String::new()),
    ];
    let calls = [
        "users/session",
        "backend/version",
        "GET /api/v4/toggle",
        "GET /api/v4/acl",
        "PUT /api/v4/toggle",
        "PUT /api/v4/acl",
    ];
    let mut lives = tokio::task::JoinSet::new();
    for fault in faults {
        for call in
            calls.into_iter().filter(|call| *call != "users/session" || !matches!(fault, Fault::Status(401 | 403, _)))
        {
            let fault = fault.clone();
            lives.spawn(async move {
                let mut world = World::start("v21.04", |settings| settings.timeout = Duration::from_millis(400)).await;
                let fault = match fault {
                    Fault::Misdirected(_) => Fault::Misdirected("https://127.0.0.1:1/".into()),
                    other => other,
                };
                world.stub.state().fault(call, 1, fault.clone());
                let attack = asked(1, &[Class::Icmp]);
                world.ask([&attack]);
                // A log-in that came to nothing is not tried again at once.
                for _ in 0..8 {
                    if world.stub.state().all_on() == ["1 acl", "1 toggle"]
                        && world.state(attack.attack, "acl") == Some(SwitchState::On)
                    {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(900)).await;
                }
                assert_eq!(world.stub.state().all_on(), ["1 acl", "1 toggle"], "{call} {fault:?}");
                world.stub.state().fault(call, 1, fault.clone());
                world.ask([]);
                world
                    .until(&format!("{call} {fault:?}"), |stub, report| {
                        stub.state().all_on().is_empty() && report.held.is_empty() && report.alarms.is_empty()
                    })
                    .await;
                let report = world.report.borrow().clone();
                assert!(report.connected && report.alarms.is_empty(), "{call} {fault:?}: {report:?}");
            });
        }
    }
    lives.join_all().await;
}

#[tokio::test]
async fn a_target_without_a_policy_and_one_that_mitigator_knows() {
    let change = |settings: &mut Settings| (settings.by_inbound_packet, settings.default_policy) = (true, None);
    let mut world = World::start("v21.04", change).await;
    world.stub.state().by_address.insert("198.18.0.1".into(), 42);
    let (known, stranger) = (asked(1, &[Class::Udp]), asked(2, &[Class::Icmp]));
    world.ask([&known, &stranger]);
    world.until_on(&["42 sorb", "42 toggle"]).await;
    world.until("alarm", |_, report| report.alarms.iter().any(|alarm| alarm.contains("no policy"))).await;
    let asked_for: Vec<String> = world.calls().into_iter().filter(|call| call.contains("by_inbound")).collect();
    let query = |host: u8, protocol: &str| {
        let path = "GET /api/v4/policies/by_inbound_packet?src_address=192.0.2.1";
        format!("{path}&dst_address=198.18.0.{host}&src_port=1024&dst_port=80&protocol={protocol}")
    };
    assert_eq!(asked_for, [query(1, "UDP"), query(2, "TCP")], "each once");
}
