//! The real `leveectl` against a server with fixed answers, over a Unix socket.

mod fixtures;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto::v1::levee_server::{Levee, LeveeServer};
use proto::v1::*;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response};

type Answer<T> = Result<Response<T>, tonic::Status>;

/// Answers with the fixtures, and remembers what was asked.
#[derive(Clone, Default)]
struct Daemon {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    fn asked(&self, request: impl std::fmt::Debug) {
        self.asked.lock().unwrap().push(format!("{request:?}"));
    }
}

fn config_changes() -> Vec<ConfigChange> {
    let (old, new) = (Some("60".into()), Some("30".into()));
    vec![ConfigChange { key: "detection.ban_time_s".into(), old, new, restart: String::new() }]
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[tonic::async_trait]
impl Levee for Daemon {
    type WatchEventsStream = ReceiverStream<Result<Event, tonic::Status>>;

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<Status> {
        Ok(Response::new(fixtures::status(now_ms())))
    }

    async fn list_hosts(&self, request: Request<ListHostsRequest>) -> Answer<ListHostsResponse> {
        self.asked(request.into_inner());
        Ok(Response::new(fixtures::hosts()))
    }

    async fn get_totals(&self, _: Request<GetTotalsRequest>) -> Answer<Totals> {
        Ok(Response::new(fixtures::totals()))
    }

    async fn get_config(&self, request: Request<GetConfigRequest>) -> Answer<GetConfigResponse> {
        let key = request.into_inner().key;
        let keys = vec![ConfigKey { key, values: vec!["60".into()], is_list: false }];
        Ok(Response::new(GetConfigResponse { file: "levee.toml".into(), keys }))
    }

    async fn diff_config(&self, _: Request<DiffConfigRequest>) -> Answer<ConfigDiff> {
        Ok(Response::new(ConfigDiff { file: "levee.toml".into(), changes: config_changes(), ..ConfigDiff::default() }))
    }

    async fn reload_config(&self, request: Request<ReloadConfigRequest>) -> Answer<ConfigChanged> {
        self.asked(request.into_inner());
        Err(tonic::Status::invalid_argument("nothing was changed: the configuration is wrong"))
    }

    async fn set_config(&self, request: Request<SetConfigRequest>) -> Answer<ConfigChanged> {
        self.asked(request.into_inner());
        Ok(Response::new(ConfigChanged { changes: config_changes(), ..ConfigChanged::default() }))
    }

    async fn commit_config(&self, request: Request<CommitConfigRequest>) -> Answer<ConfigChanged> {
        self.asked(request.into_inner());
        let notes = vec!["a restart makes room".into()];
        Ok(Response::new(ConfigChanged { file: "levee.toml".into(), changes: config_changes(), notes }))
    }

    async fn rollback_config(&self, request: Request<RollbackConfigRequest>) -> Answer<RollbackConfigResponse> {
        self.asked(request.into_inner());
        Ok(Response::new(RollbackConfigResponse { candidate_dropped: true, changed: None }))
    }

    async fn list_groups(&self, _: Request<ListGroupsRequest>) -> Answer<ListGroupsResponse> {
        Ok(Response::new(fixtures::groups()))
    }

    async fn list_attacks(&self, request: Request<ListAttacksRequest>) -> Answer<ListAttacksResponse> {
        let request = request.into_inner();
        let mut attacks = vec![fixtures::attack_by_hand(now_ms()), fixtures::attack(now_ms())];
        attacks.retain(|attack| attack.id.starts_with(&request.id));
        let incomplete = if request.host == "192.0.2.1" { "the disk is gone" } else { "" };
        self.asked(request);
        let next_page = "5:id".into();
        Ok(Response::new(ListAttacksResponse { attacks, next_page, incomplete: incomplete.into() }))
    }

    async fn get_sample(&self, request: Request<GetSampleRequest>) -> Answer<Sample> {
        let id = request.into_inner().attack_id;
        match id == fixtures::attack(0).id {
            true => Ok(Response::new(Sample { pcap: vec![0xd4, 0xc3, 0xb2, 0xa1, 0, 255] })),
            false => Err(tonic::Status::not_found(format!("no sample of attack {id}"))),
        }
    }

    async fn list_rules(&self, _: Request<ListRulesRequest>) -> Answer<ListRulesResponse> {
        Ok(Response::new(ListRulesResponse { rules: vec![fixtures::rule(now_ms())] }))
    }

    async fn ban(&self, request: Request<BanRequest>) -> Answer<BanResponse> {
        self.asked(request.get_ref());
        if request.get_ref().host == "203.0.113.1" {
            return Err(tonic::Status::invalid_argument("203.0.113.1 is in no protected network"));
        }
        Ok(Response::new(BanResponse { attack_id: "id-1".into(), host: "2001:db8::/64".into() }))
    }

    async fn unban(&self, request: Request<UnbanRequest>) -> Answer<UnbanResponse> {
        self.asked(request.into_inner());
        let attack_ids = vec!["id-1".into(), "id-2".into()];
        Ok(Response::new(UnbanResponse { attack_ids, host: "198.18.0.7".into() }))
    }

    async fn add_rule(&self, request: Request<AddRuleRequest>) -> Answer<AddRuleResponse> {
        self.asked(request.into_inner());
        Ok(Response::new(AddRuleResponse { rule: Some(fixtures::rule(now_ms())) }))
    }

    async fn remove_rule(&self, request: Request<RemoveRuleRequest>) -> Answer<RemoveRuleResponse> {
        self.asked(request.into_inner());
        Ok(Response::new(RemoveRuleResponse { attack_id: "id-1".into(), text: "dst 198.18.0.7/32 discard".into() }))
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Answer<PauseResponse> {
        self.asked(request.into_inner());
        Ok(Response::new(PauseResponse { pause: Some(fixtures::pause(now_ms())) }))
    }

    async fn withdraw_all(&self, request: Request<WithdrawAllRequest>) -> Answer<WithdrawAllResponse> {
        assert_eq!(request.into_inner().reason, "all wrong");
        let pause = ActionPause { withdrawn: true, ..fixtures::pause(now_ms()) };
        Ok(Response::new(WithdrawAllResponse { pause: Some(pause) }))
    }

    async fn list_engines(&self, _: Request<ListEnginesRequest>) -> Answer<ListEnginesResponse> {
        let engines = fixtures::status(now_ms()).engines.into_iter().map(|engine| Engine { held: 0, ..engine });
        Ok(Response::new(ListEnginesResponse { engines: engines.collect(), pause: None }))
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Answer<ResumeResponse> {
        self.asked(request.into_inner());
        Ok(Response::new(ResumeResponse { pause: Some(fixtures::pause(now_ms())) }))
    }

    async fn list_acts(&self, request: Request<ListActsRequest>) -> Answer<ListActsResponse> {
        self.asked(request.into_inner());
        let act =
            |act: &str, text: &str| Act { time_ms: 1_000, by: "alice".into(), act: act.into(), text: text.into() };
        let acts = vec![act("pause", "all actions for 600 s: router works"), act("ban", "198.18.0.7 incoming")];
        Ok(Response::new(ListActsResponse { acts }))
    }

    /// Two events, then silence, as from a daemon without attacks.
    async fn watch_events(&self, _: Request<WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(async move {
            for time_ms in [1_000, 2_000] {
                let _ = sender.send(Ok(fixtures::event(time_ms))).await;
            }
            sender.closed().await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn set_log_level(&self, request: Request<SetLogLevelRequest>) -> Answer<SetLogLevelResponse> {
        self.asked(request.into_inner());
        Ok(Response::new(SetLogLevelResponse { previous: "info".into() }))
    }
}

/// A running server; it ends with the runtime.
struct Server {
    daemon: Daemon,
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Self {
        let daemon = Daemon::default();
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _context = runtime.enter();
        let listener = tokio::net::UnixListener::bind(directory.path().join("levee.sock")).unwrap();
        let service = LeveeServer::new(daemon.clone());
        let serve = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(serve.serve_with_incoming(UnixListenerStream::new(listener)));
        Server { daemon, directory, _runtime: runtime }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("levee.sock")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        leveectl(&self.socket()).args(arguments).output().unwrap()
    }

    /// What a successful call prints.
    #[track_caller]
    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{arguments:?}");
        text(&output.stdout)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(arguments)).unwrap()
    }

    fn last_asked(&self) -> String {
        self.daemon.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn leveectl(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveectl"));
    command.arg("--socket").arg(socket);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn tables_by_default() {
    let server = Server::start();
    let status = server.text(&["status"]);
    assert!(status.contains("0.1.0, DPDK 22.11.11") && status.contains("ALARM: port"), "{status}");
    assert!(status.contains("0000:03:00.0  net_ixgbe  up, 10.0 Gbps"), "{status}");
    let unparsed = server.text(&["status", "--unparsed"]);
    assert!(unparsed.contains("not_ip        1,234") && unparsed.contains("\n0000  02 00 00"), "{unparsed}");
    assert!(server.text(&["totals"]).contains("incoming  1,234,567   123 MB"));
    assert!(server.text(&["hosts"]).contains("198.18.0.7   web    1.48 Mpps  1.18 Gbps"));
    let groups = server.text(&["groups"]);
    assert!(groups.contains("group          default\n") && groups.contains("inherits from  default\n"), "{groups}");
    let web = server.text(&["groups", "web"]);
    assert!(web.starts_with("group          web\n") && !web.contains("every host"), "{web}");
    assert!(server.text(&["rules"]).contains("held, 1 min"));
    let attacks = server.text(&["attacks"]);
    assert!(attacks.contains("udp_pps 310 kpps > 100 kpps") && attacks.contains("by root"), "{attacks}");
    let one = server.text(&["attacks", "show", "019aa0c2-7a10"]);
    assert!(one.contains("198.18.0.7/32 incoming") && one.contains("rule      destination"), "{one}");
}

#[test]
fn json_before_and_after_the_command() {
    let server = Server::start();
    let hosts = server.json(&["hosts", "--json"]);
    assert_eq!(hosts, server.json(&["--json", "hosts"]));
    assert_eq!(hosts["active"], 65_536);
    assert_eq!(hosts["hosts"][0]["incoming"]["udp_pps"], 1_480_000.0);
    assert_eq!(server.json(&["status", "--json"])["ports"][0]["missed"], 4);
    let unparsed = server.json(&["status", "--unparsed", "--json"]);
    assert_eq!(unparsed.as_object().unwrap().keys().collect::<Vec<_>>(), ["unparsed"]);
    assert_eq!(unparsed["unparsed"][1]["worker_packets"], json!([1_200, 34]));
    assert!(unparsed["unparsed"][1]["example"]["data"].is_string(), "{unparsed}");
    assert_eq!(server.json(&["totals", "--json"])["counted"]["unparsed_reasons"][0]["name"], "truncated");
    let web = &server.json(&["groups", "web", "--json"])["groups"];
    assert_eq!((web.as_array().unwrap().len(), &web[0]["monitor_only"]), (1, &json!(true)));
    assert_eq!(web[0]["incoming"][0], json!({"metric": "udp_pps", "value": 100_000.0}));
    let flow_spec = json!({"destination_prefix": "198.18.0.7/32", "protocols": ["udp"]});
    assert_eq!(server.json(&["rules", "--json"])["rules"][0]["flow_spec"], flow_spec);
    assert_eq!(server.json(&["attacks", "--json"])["attacks"][0]["direction"], "outgoing");
    let one = server.json(&["attacks", "show", "019aa0c2", "--json"]);
    assert_eq!((&one["direction"], &one["rules"][0]["flow_spec"]), (&json!("incoming"), &flow_spec));
    let banned = json!({"attack_id": "id-1", "host": "2001:db8::/64"});
    assert_eq!(server.json(&["ban", "2001:db8::/64", "--json"]), banned);
    let unbanned = json!({"attack_ids": ["id-1", "id-2"], "host": "198.18.0.7"});
    assert_eq!(server.json(&["--json", "unban", "198.18.0.7"]), unbanned);
    assert_eq!(server.json(&["log-level", "debug", "--json"]), json!({"previous": "info"}));
}

#[test]
fn the_configuration_is_shown_and_changed() {
    let server = Server::start();
    assert_eq!(server.text(&["config", "show", "detection.ban_time_s"]), "detection.ban_time_s = 60\n");
    let change = "  detection.ban_time_s: 60 → 30\n";
    assert_eq!(server.text(&["config", "diff"]), format!("from what runs to levee.toml:\n{change}"));
    assert_eq!(server.json(&["config", "diff", "--json"])["changes"][0]["new"], "30");
    let set = server.text(&["config", "set", "detection.ban_time_s", "30"]);
    assert_eq!(set, format!("set; `leveectl config commit` would change:\n{change}"));
    assert_eq!(server.last_asked(), "SetConfigRequest { key: \"detection.ban_time_s\", value: Some(\"30\") }");
    server.text(&["config", "unset", "groups.web"]);
    assert_eq!(server.last_asked(), "SetConfigRequest { key: \"groups.web\", value: None }");
    let committed = server.text(&["config", "commit", "--force"]);
    assert_eq!(committed, format!("levee.toml is written and taken over:\n{change}note: a restart makes room\n"));
    assert_eq!(server.last_asked(), "CommitConfigRequest { force: true }");
    assert_eq!(server.text(&["config", "rollback"]), "what was set is dropped; what runs is as before\n");
    let refused = server.run(&["config", "reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused.stderr), "leveectl: nothing was changed: the configuration is wrong\n");
}

#[test]
fn options_reach_the_daemon() {
    let server = Server::start();
    server.text(&["hosts", "--limit", "5", "--by", "incoming-bps", "--prefix", "198.18.0.0/24"]);
    let order = "order: IncomingBps, prefix: \"198.18.0.0/24\"";
    assert_eq!(server.last_asked(), format!("ListHostsRequest {{ limit: 5, {order} }}"));
    server.text(&["attacks", "--alive", "--limit", "7"]);
    let rest = "since_ms: 0, until_ms: 0, kinds: [], page: \"\"";
    let alive = format!("ListAttacksRequest {{ alive_only: true, limit: 7, id: \"\", host: \"\", {rest} }}");
    assert_eq!(server.last_asked(), alive);
    let search = ["--host", "198.18.0.7", "--until", "2026-11-21", "--kind", "udp,by_hand", "--page", "5:id"];
    let rest = "since_ms: 0, until_ms: 1795219200000, kinds: [\"udp\", \"by_hand\"], page: \"5:id\"";
    let searched =
        format!("ListAttacksRequest {{ alive_only: false, limit: 100, id: \"\", host: \"198.18.0.7\", {rest} }}");
    for arguments in [&["attacks"][..], &["attacks", "list"]] {
        let listed = server.text(&[arguments, &search[..]].concat());
        assert!(listed.ends_with("\nthere are more: the same with --page 5:id\n"), "{listed}");
        assert_eq!(server.last_asked(), searched);
    }
    server.text(&["attacks", "--since", "2h"]);
    let asked = server.last_asked();
    let since_ms: i64 = asked.split("since_ms: ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!((0..60_000).contains(&(now_ms() - 7_200_000 - since_ms)), "{asked}");
    let banned = server.text(&["ban", "2001:db8::1", "--direction", "outgoing", "--seconds", "90", "--reason", "test"]);
    assert_eq!(banned, "2001:db8::/64 is banned: attack id-1\n");
    let request = "host: \"2001:db8::1\", direction: Outgoing, seconds: 90, reason: \"test\"";
    assert_eq!(server.last_asked(), format!("BanRequest {{ {request} }}"));
    let unbanned = server.text(&["unban", "198.18.0.7", "--reason", "over"]);
    assert_eq!(unbanned, "198.18.0.7 is unbanned: ended id-1, id-2\n");
    assert_eq!(server.last_asked(), "UnbanRequest { host: \"198.18.0.7\", reason: \"over\" }");
    assert_eq!(server.text(&["log-level", "debug"]), "log level: debug (was info)\n");
    assert_eq!(server.last_asked(), "SetLogLevelRequest { level: \"debug\" }");
}

#[test]
fn what_persons_order_reaches_the_daemon() {
    let server = Server::start();
    server.text(&["ban", "198.18.0.7", "--for", "2h"]);
    assert!(server.last_asked().contains("seconds: 7200"), "{}", server.last_asked());
    let rule = r#"{"destination_prefix": "198.18.0.7/32", "action_type": "discard"}"#;
    let file = server.directory.path().join("rule.json");
    std::fs::write(&file, rule).unwrap();
    for given in [rule, file.to_str().unwrap()] {
        let added = server.text(&["rules", "add", given, "--for", "10m", "--reason", "test"]);
        assert_eq!(added, "held: destination 198.18.0.7/32, udp: discard\nid 019aa0c2-8f00-7000-8000-0000000000aa\n");
        let asked = AddRuleRequest { flow_spec_json: rule.into(), seconds: 600, reason: "test".into() };
        assert_eq!(server.last_asked(), format!("{asked:?}"));
    }
    assert_error(&server.run(&["rules", "add", "/nowhere/rule"]), 1, &["cannot read /nowhere/rule"]);
    assert_eq!(server.text(&["rules", "remove", "019aa"]), "removed: dst 198.18.0.7/32 discard\n");
    assert_eq!(server.last_asked(), "RemoveRuleRequest { id: \"019aa\", reason: \"\" }");
    assert_eq!(server.text(&["rules", "list"]), server.text(&["rules"]));

    let paused = server.text(&["pause", "--for", "10m", "--reason", "router works"]);
    assert!(paused.starts_with("all actions are PAUSED by alice, 1 min 0 s ago, for another "), "{paused}");
    assert!(paused.contains(": router works\nnothing is announced or withdrawn"), "{paused}");
    assert_eq!(server.last_asked(), "PauseRequest { seconds: 600, reason: \"router works\" }");
    let resumed = server.text(&["resume", "--reason", "done"]);
    assert_eq!(resumed, "actions go on; they were paused for 1 min 0 s by alice\n");
    assert_eq!(server.last_asked(), "ResumeRequest { reason: \"done\" }");
    let audit = server.text(&["audit", "--limit", "5"]);
    assert!(audit.contains("alice  pause  all actions for 600 s: router works"), "{audit}");
    assert_eq!(server.last_asked(), "ListActsRequest { limit: 5 }");
    let status = server.text(&["status"]);
    assert!(status.contains("PAUSED     by alice, 1 min 0 s ago, for another "), "{status}");
}

#[test]
fn a_sample_goes_to_a_file_or_to_a_pipe() {
    let server = Server::start();
    let expected = [0xd4, 0xc3, 0xb2, 0xa1, 0, 255];
    let piped = server.run(&["attacks", "pcap", "019aa0c2"]);
    assert_eq!((piped.status.code(), &piped.stdout[..], &piped.stderr[..]), (Some(0), &expected[..], &b""[..]));
    let file = server.directory.path().join("sample.pcap");
    assert_eq!(server.text(&["attacks", "pcap", "019aa0c2-7a10", file.to_str().unwrap()]), "");
    assert_eq!(std::fs::read(&file).unwrap(), expected);
    assert_error(&server.run(&["attacks", "pcap", "019aa0c3"]), 1, &["no sample of attack 019aa0c3-0000"]);
    assert_error(&server.run(&["attacks", "pcap", "019aa0c2", "/nowhere/file"]), 1, &["cannot write /nowhere/file"]);
}

#[test]
fn a_listing_that_is_not_complete_says_so() {
    let output = Server::start().run(&["attacks", "--host", "192.0.2.1"]);
    assert_eq!(text(&output.stderr), "leveectl: older attacks may be missing: the disk is gone\n");
    assert!(output.status.success() && text(&output.stdout).contains("198.18.0.7/32"));
}

#[track_caller]
fn assert_error(output: &Output, status: i32, words: &[&str]) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{error}");
    assert_eq!(text(&output.stdout), "");
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    assert!(status == 2 || error.lines().count() == 1, "more than a line: {error}");
}

#[test]
fn errors_are_one_line_and_status_1() {
    let server = Server::start();
    let refused = server.run(&["ban", "203.0.113.1"]);
    assert_error(&refused, 1, &["leveectl: 203.0.113.1 is in no protected network"]);
    assert_error(&server.run(&["groups", "none"]), 1, &["no group none", "`leveectl groups`"]);
    assert_error(&server.run(&["attacks", "show", "ffff"]), 1, &["no attack ffff", "`leveectl attacks`"]);
    assert_error(&server.run(&["attacks", "show", "019aa0c"]), 1, &["2 attacks begin with 019aa0c"]);
}

#[test]
fn a_daemon_out_of_reach_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("levee.sock");
    let run = || leveectl(&socket).arg("status").output().unwrap();
    let name = socket.to_str().unwrap();
    assert_error(&run(), 1, &[name, "is leveed running?"]);
    // A socket that nobody holds any more, as a killed daemon leaves it.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_error(&run(), 1, &[name, "nobody listens there"]);
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_error(&leveectl(&file.join("levee.sock")).arg("status").output().unwrap(), 1, &["cannot reach leveed at"]);
}

#[test]
fn a_daemon_that_hangs_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("levee.sock");
    let _never_accepts = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let output = leveectl(&socket).arg("status").output().unwrap();
    assert_error(&output, 1, &["leveed did not answer within 10 s"]);
}

#[test]
fn wrong_usage_is_status_2() {
    let server = Server::start();
    for arguments in [
        &["ban", "not-a-host"][..],
        &["pause", "--for", "soon"],
        &["rules", "add"],
        &["hosts", "--limit", "0"],
        &["hosts", "--by", "size"],
        &["nothing"],
        &[],
    ] {
        assert_error(&server.run(arguments), 2, &["--help"]);
    }
}

/// Reads the first lines of `leveectl events` while it runs on.
fn watch(server: &Server, arguments: &[&str]) -> (std::process::Child, Vec<String>) {
    let mut command = leveectl(&server.socket());
    let mut child =
        command.arg("events").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().take(2).map(Result::unwrap).collect();
    (child, lines)
}

/// The exit status of a child that should end by itself; killed after ten seconds.
fn exit_code(mut child: std::process::Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status.code(),
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                child.wait().unwrap();
                return None;
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

#[test]
fn events_are_lines_at_once_and_end_on_interrupt() {
    let server = Server::start();
    let (child, lines) = watch(&server, &[]);
    let rest = "detected 198.18.0.7/32: udp_pps 310 kpps > 100 kpps";
    let expected = [1, 2].map(|second| format!("1970-01-01 00:00:0{second}.000 UTC {rest}"));
    assert_eq!(lines, expected);
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(exit_code(child), Some(0));
}

#[test]
fn events_as_json_are_one_object_a_line() {
    let server = Server::start();
    let (mut child, lines) = watch(&server, &["--json"]);
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.iter().map(|event| &event["time_ms"]).collect::<Vec<_>>(), [&json!(1000), &json!(2000)]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_daemon_that_goes_away_ends_the_events() {
    let server = Server::start();
    let (child, _) = watch(&server, &[]);
    drop(server);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.starts_with("leveectl: lost the connection to leveed: ") && error.lines().count() == 1, "{error}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let server = Server::start();
    let script = "\"$0\" --socket \"$1\" \"$2\" --json; echo $? >&2";
    // A pipe whose reader is gone before the first line.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for command in ["status", "events"] {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_leveectl")]).arg(server.socket()).arg(command);
        let output = shell.stdout(writer.try_clone().unwrap()).stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(text(&output.wait_with_output().unwrap().stderr), "0\n", "{command}");
    }
}
