//! The daemon under test: `leveed` with configuration, state and socket in a directory of its own, and its API.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proto::v1;
use proto::v1::levee_client::LeveeClient;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::netns::Netns;
use super::{Process, unique, wait_until};

/// DPDK takes its time where others work on the same cores.
const START_MAX: Duration = Duration::from_secs(30);
/// Engines may take 10 s to let go.
const STOP_MAX: Duration = Duration::from_secs(30);

/// What a daemon logs: all of its own.
pub(crate) const LOG_LEVEL: &str = "debug,h2=info,hyper=info,tower=info";

/// What a test says of its configuration; the rest is the same for all.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    pub(crate) networks: &'a [&'a str],
    /// Device and cores of each port.
    pub(crate) ports: &'a [(&'a str, &'a [usize])],
    /// More keys of `[daemon]`.
    pub(crate) daemon: &'a str,
    /// More sections.
    pub(crate) rest: &'a str,
}

/// The cores that this process may use.
pub(crate) fn cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect()
}

/// The core of a test's only worker: a different one for each of the tests that nextest runs side by side, from the last core on.
/// Players and routers then mostly run beside it.
pub(crate) fn core() -> usize {
    let slot = std::env::var("NEXTEST_TEST_GLOBAL_SLOT").ok().and_then(|slot| slot.parse::<usize>().ok()).unwrap_or(0);
    let cores = cores();
    cores[cores.len() - 1 - slot % cores.len()]
}

/// Wall-clock milliseconds, as the API has them.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

pub(crate) struct Leveed {
    // Ends before the directory with its log goes.
    process: Option<Process>,
    runtime: Runtime,
    dir: TempDir,
}

impl Leveed {
    /// A directory and a configuration, but no process yet.
    pub(crate) fn prepare(setup: &Setup<'_>) -> Leveed {
        let leveed =
            Leveed { process: None, runtime: Runtime::new().unwrap(), dir: tempfile::tempdir().expect("a directory") };
        leveed.configure(setup);
        leveed
    }

    /// Writes another configuration over the same state, for the next start.
    pub(crate) fn configure(&self, setup: &Setup<'_>) {
        let Setup { networks, ports, daemon, rest } = setup;
        let (socket, state) = (self.socket(), self.state());
        let mut text = format!(
            "networks = {networks:?}\n[daemon]\nsocket = {socket:?}\nstate = {state:?}\nlog_level = \"{LOG_LEVEL}\"\n{daemon}\n\
             [dpdk]\nhuge_pages = \"never\"\nmemory_mb = 128\nmbufs = 4096\nfile_prefix = {:?}\n",
            unique("levee-test-")
        );
        for (device, cores) in *ports {
            text += &format!("[[ports]]\ndevice = {device:?}\ncores = {cores:?}\n");
        }
        self.write_config(&format!("{text}{rest}"));
    }

    pub(crate) fn write_config(&self, text: &str) {
        fs::write(self.config(), text).expect("write a configuration");
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("levee.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("levee.sock")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state/levee.db")
    }

    /// Runs `leveed` with this configuration to its end, as `check`, or as a `run` that fails.
    #[track_caller]
    pub(crate) fn run(&self, subcommand: &str) -> Output {
        let output = Command::new(executable()).arg(subcommand).arg(self.config()).output();
        output.expect("run leveed")
    }

    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.start_as(Command::new(executable()));
    }

    #[track_caller]
    pub(crate) fn start_in(&mut self, netns: &Netns) {
        self.start_as(netns.command(executable()));
    }

    /// Starts one that dies where `order` says (see `controlplane::crash`). Does not wait: it may be dead before it answers.
    #[track_caller]
    pub(crate) fn start_mortal(&mut self, netns: &Netns, order: Option<&str>) {
        let mut command = netns.command(executable());
        command.arg("run").arg(self.config()).envs(order.map(|order| (controlplane::crash::VARIABLE, order)));
        self.process = Some(Process::start("leveed", &mut command, self.path("leveed.log")));
    }

    /// Its process.
    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("started").id()
    }

    /// Whether it has ended.
    pub(crate) fn has_died(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.ended().is_some())
    }

    #[track_caller]
    fn start_as(&mut self, mut command: Command) {
        command.arg("run").arg(self.config());
        self.process = Some(Process::start("leveed", &mut command, self.path("leveed.log")));
        wait_until(START_MAX, "start of leveed", || {
            let ended = self.process.as_mut().and_then(Process::ended);
            assert!(ended.is_none(), "leveed ended at once: {ended:?}");
            self.ask(async |mut api| api.get_status(v1::GetStatusRequest {}).await).ok()
        });
    }

    /// Stops it where it is, all its threads.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.process.as_ref().expect("started").signal("STOP");
    }

    /// SIGHUP: has it read its configuration again.
    #[track_caller]
    pub(crate) fn hang_up(&self) {
        self.process.as_ref().expect("started").signal("HUP");
    }

    /// Lets it go on.
    #[track_caller]
    pub(crate) fn thaw(&self) {
        self.process.as_ref().expect("started").signal("CONT");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("started");
        process.signal("TERM");
        let status = process.wait(STOP_MAX);
        self.process = None;
        status
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("leveed.log")).unwrap_or_default()).into_owned()
    }
}

pub(crate) fn executable() -> &'static str {
    env!("CARGO_BIN_EXE_leveed")
}

pub(crate) type Client = LeveeClient<Channel>;

// Its API.
impl Leveed {
    /// One request over a connection of its own.
    pub(crate) fn ask<T>(&self, request: impl AsyncFnOnce(Client) -> Result<Response<T>, Status>) -> Result<T, Status> {
        self.runtime.block_on(async { request(connect(&self.socket()).await?).await.map(Response::into_inner) })
    }

    /// Drives several requests at a time.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(&self.socket()).await.expect("connect")
    }

    #[track_caller]
    pub(crate) fn status(&self) -> v1::Status {
        self.ask(async |mut api| api.get_status(v1::GetStatusRequest {}).await).expect("status")
    }

    /// Alarms, without those that only say that this machine is busy with other things.
    #[track_caller]
    pub(crate) fn alarms(&self) -> Vec<String> {
        let busy = |alarm: &String| {
            let words = ["looks at the thresholds come late", "before a worker saw them", "does not poll"];
            words.iter().any(|words| alarm.contains(words))
        };
        self.status().alarms.into_iter().filter(|alarm| !busy(alarm)).collect()
    }

    #[track_caller]
    pub(crate) fn totals(&self) -> v1::Totals {
        self.ask(async |mut api| api.get_totals(v1::GetTotalsRequest {}).await).expect("totals")
    }

    #[track_caller]
    pub(crate) fn groups(&self) -> Vec<v1::Group> {
        self.ask(async |mut api| api.list_groups(v1::ListGroupsRequest {}).await).expect("groups").groups
    }

    #[track_caller]
    pub(crate) fn hosts(&self, request: v1::ListHostsRequest) -> Vec<v1::Host> {
        self.ask(async |mut api| api.list_hosts(request).await).expect("hosts").hosts
    }

    /// The newest first; those that are over, too.
    #[track_caller]
    pub(crate) fn attacks(&self) -> Vec<v1::Attack> {
        self.ask(async |mut api| api.list_attacks(v1::ListAttacksRequest::default()).await).expect("attacks").attacks
    }

    /// The same; none while it does not answer.
    pub(crate) fn try_attacks(&self) -> Option<Vec<v1::Attack>> {
        let list = async |mut api: Client| api.list_attacks(v1::ListAttacksRequest::default()).await;
        self.ask(list).ok().map(|answer| answer.attacks)
    }

    #[track_caller]
    pub(crate) fn rules(&self) -> Vec<v1::Rule> {
        self.ask(async |mut api| api.list_rules(v1::ListRulesRequest {}).await).expect("rules").rules
    }

    /// Has it read its configuration again, and waits for that.
    pub(crate) fn reload(&self) -> Result<v1::ConfigChanged, Status> {
        self.ask(async |mut api| api.reload_config(v1::ReloadConfigRequest {}).await)
    }

    pub(crate) fn ban(&self, host: &str, reason: &str) -> Result<String, Status> {
        let (host, reason) = (host.to_owned(), reason.to_owned());
        let request = v1::BanRequest { host, reason, ..v1::BanRequest::default() };
        self.ask(async |mut api| api.ban(request).await).map(|banned| banned.attack_id)
    }

    pub(crate) fn unban(&self, host: &str) -> Result<Vec<String>, Status> {
        let request = v1::UnbanRequest { host: host.to_owned(), reason: "test".to_owned() };
        self.ask(async |mut api| api.unban(request).await).map(|unbanned| unbanned.attack_ids)
    }

    /// Collects events from now on.
    #[track_caller]
    pub(crate) fn watch_events(&self) -> Events {
        let watch = async |mut api: Client| api.watch_events(v1::WatchEventsRequest {}).await;
        let mut stream = self.ask(watch).expect("events");
        let events = Events::default();
        let seen = events.clone();
        self.runtime.spawn(async move {
            while let Ok(Some(event)) = stream.message().await {
                seen.0.lock().unwrap().push(event);
            }
        });
        events
    }
}

/// Events as a client saw them.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<v1::Event>>>);

impl Events {
    /// Those of one attack.
    pub(crate) fn of(&self, attack: &str) -> Vec<v1::Event> {
        self.0.lock().unwrap().iter().filter(|event| event.attack_id == attack).cloned().collect()
    }
}

async fn connect(socket: &Path) -> Result<Client, Status> {
    let connected = LeveeClient::connect(format!("unix://{}", socket.display())).await;
    connected.map_err(|error| Status::unavailable(error.to_string()))
}
