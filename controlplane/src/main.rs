//! `leveed`: wires the rooms together, takes signals, sets the exit status. Decides nothing.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use controlplane::actions::bgp;
use controlplane::api::{self, Api};
use controlplane::config::{self, Config, Log, OnShutdown};
use controlplane::control::{Control, Parts, Request};
use controlplane::offline;
use controlplane::plan;
use controlplane::plan::memory::{Machine, Need};
use controlplane::samples;
use controlplane::store::{self, Archive, Store};
use crossbeam::channel;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, broadcast, watch};
use tracing::{error, info, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

/// Events that a slow client may be behind.
const EVENTS_BEHIND: usize = 1024;
/// Requests that may wait for the control thread.
const REQUESTS_MAX: usize = 256;
/// Attacks on record that are kept at hand.
const RECORDS_MAX: usize = 1000;
/// How long engines may take to withdraw everything at the end.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(10);
/// Exit status for a configuration that is wrong.
const EXIT_CONFIG: u8 = 2;

/// Levee's daemon: sees attacks on protected hosts, mines the rule that removes them, announces it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs in the foreground until SIGTERM or SIGINT.
    Run {
        /// The configuration.
        #[arg(default_value = "/etc/levee/levee.toml")]
        config: PathBuf,
    },
    /// Checks a configuration, also against this machine. Exit status 2 if something is wrong.
    Check {
        /// The configuration.
        #[arg(default_value = "/etc/levee/levee.toml")]
        config: PathBuf,
    },
    /// Mines rules from capture files; needs neither a device nor a running daemon.
    Mine(offline::Mine),
}

/// A configuration that is wrong: its findings, as text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadConfig(String);

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Check { config } => check(&config),
        Command::Mine(arguments) => mine(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(findings) = error.downcast_ref::<BadConfig>() {
                eprintln!("{findings}");
                return ExitCode::from(EXIT_CONFIG);
            }
            eprintln!("leveed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration and holds it against this machine.
fn load(path: &Path) -> anyhow::Result<Config> {
    let config = config::load(path).map_err(|findings| BadConfig(findings.to_string()))?;
    config::check_machine(&config).map_err(|findings| BadConfig(findings.to_string()))?;
    Ok(config)
}

fn check(path: &Path) -> anyhow::Result<()> {
    let config = load(path)?;
    let machine = match listening(&config.daemon.socket) {
        Some(daemon) => Machine::read().without(daemon),
        None => Machine::read(),
    };
    let need = Need::of(&config);
    println!("{}", need.table(&machine));
    check_memory(&config, &need, &machine)?;
    // A port on a PCI device may be in use by the running daemon; the others can be probed beside it.
    let probed: Vec<usize> =
        (0..config.ports.len()).filter(|&index| !plan::is_pci(&config.ports[index].device)).collect();
    let plan = plan::dataplane(&config, |index| probed.contains(&index))?;
    dataplane::probe(&plan).map_err(|error| port_finding(&config, &probed, error))?;
    println!("{}: good", path.display());
    Ok(())
}

fn mine(arguments: &offline::Mine) -> anyhow::Result<()> {
    let load = |path: &PathBuf| config::load(path).map_err(|findings| BadConfig(findings.to_string()));
    let config = arguments.config.as_ref().map(load).transpose()?;
    let report = offline::mine(arguments, config.as_ref())?;
    let text = if arguments.json { report.to_json().to_string() } else { report.to_string() };
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn check_memory(config: &Config, need: &Need, machine: &Machine) -> anyhow::Result<()> {
    config.check_memory(need.misfits(machine)).map_err(|findings| BadConfig(findings.to_string()).into())
}

/// The process that listens on a socket: the daemon whose place this one would take.
fn listening(socket: &Path) -> Option<i32> {
    let stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    getsockopt(&stream, PeerCredentials).ok().map(|peer| peer.pid())
}

/// What DPDK does not find is said at its place in the file.
fn port_finding(config: &Config, ports: &[usize], error: dataplane::Error) -> anyhow::Error {
    match &error {
        dataplane::Error::Port { index, source } => {
            BadConfig(config.port_finding(ports[*index], source).to_string()).into()
        }
        _ => error.into(),
    }
}

/// The socket's file, which goes with the daemon, also where it fails to start.
struct SocketFile<'a>(&'a Path);

impl Drop for SocketFile<'_> {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        drop(std::fs::remove_file(self.0));
    }
}

fn run(path: &Path) -> anyhow::Result<()> {
    let config = load(path)?;
    check_memory(&config, &Need::of(&config), &Machine::read())?;
    let set_log = start_log(&config)?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "leveed starts");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // The socket comes before all that another daemon may be using, the state after all that can be wrong with this machine.
    let listener = runtime.block_on(api::bind(&config.daemon.socket))?;
    let socket = SocketFile(&config.daemon.socket);
    let ports: Vec<usize> = (0..config.ports.len()).collect();
    let started = dataplane::start(plan::dataplane(&config, |_| true)?);
    let dataplane = started.map_err(|error| port_finding(&config, &ports, error))?;
    info!(dpdk = dataplane::dpdk::version(), workers = dataplane.workers().count(), "workers poll");
    let (store, records, alarms) = open_store(&config)?;

    let (events, _) = broadcast::channel(EVENTS_BEHIND);
    let (requests, asked) = channel::bounded(REQUESTS_MAX);
    let (wanted, wanted_rules) = watch::channel(None);
    let (stop_engines, stopped) = watch::channel(None);

    let mut engines = Vec::new();
    let mut reports = Vec::new();
    for engine in config.bgp.iter().flat_map(plan::engines) {
        let (report, reported) = watch::channel(bgp::Report::new(&engine));
        reports.push(reported);
        engines.push(runtime.spawn(bgp::run(engine, wanted_rules.clone(), report, stopped.clone())));
    }
    let control = Control::new(Parts {
        map: plan::map(&config, dataplane.networks.get())?,
        dataplane,
        settings: plan::settings(&config),
        whitelist: config.whitelist.clone(),
        miner: config.miner,
        store,
        samples: plan::samples(&config).map(samples::spawn).transpose()?,
        records,
        alarms,
        wanted,
        reports,
        events: events.clone(),
        requests: asked,
    });
    let control = std::thread::Builder::new().name("levee-control".into()).spawn(move || control.run())?;
    let api = Api {
        requests: requests.clone(),
        events,
        set_log,
        log_level: tokio::sync::RwLock::new(config.daemon.log_level.clone()),
        ipv6_prefix_length: config.tables.ipv6_prefix_length,
        archive: Archive::new(config.daemon.state.clone()),
        history: config.history.kept,
        samples: config.history.samples.clone(),
        readers: Semaphore::new(api::READERS_MAX),
    };
    let serving = runtime.spawn(api::serve(api, listener));
    info!(socket = %config.daemon.socket.display(), dry_run = config.daemon.dry_run, "ready");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));

    runtime.block_on(signalled())?;
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    let at_stop = match config.daemon.on_shutdown {
        OnShutdown::Keep => bgp::AtStop::Keep,
        OnShutdown::Withdraw => bgp::AtStop::Withdraw,
    };
    drop(requests.send(Request::Stop));
    if control.join().is_err() {
        error!("the control thread panicked; see above");
    }
    stop_engines.send_replace(Some(at_stop));
    runtime.block_on(finish(engines));
    serving.abort();
    drop(socket);
    info!("leveed stops");
    Ok(())
}

/// Waits for the engines' tasks: they withdraw what they were told to.
async fn finish(engines: Vec<tokio::task::JoinHandle<Result<(), bgp::Error>>>) {
    for engine in engines {
        match tokio::time::timeout(WITHDRAW_TIMEOUT, engine).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => error!("announcements were not withdrawn: {error}"),
            Ok(Err(error)) => error!("an engine's task failed: {error}"),
            Err(_) => error!("an engine did not let go of announcements in time"),
        }
    }
}

async fn signalled() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM"),
        _ = interrupt.recv() => info!("SIGINT"),
    }
    Ok(())
}

/// Starts the log; what it gives changes the filter.
fn start_log(config: &Config) -> anyhow::Result<api::SetLog> {
    let filter = EnvFilter::try_new(&config.daemon.log_level).context("daemon.log_level")?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    match config.daemon.log {
        Log::Stderr => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_target(false),
            )
            .try_init()?,
        Log::Journald => registry.with(tracing_journald::layer().context("daemon.log: no journal")?).try_init()?,
    }
    Ok(Box::new(move |level| {
        if !config::is_log_level(level) {
            return Err(format!("unknown level \"{level}\": write {}", config::LOG_LEVELS));
        }
        let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    }))
}

type Records = Vec<controlplane::record::AttackRecord>;

/// Opens the store. One that is damaged is put aside: acting on what is seen now comes before the past.
fn open_store(config: &Config) -> anyhow::Result<(store::StoreHandle, Records, Vec<String>)> {
    let path = &config.daemon.state;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("daemon.state: {}", folder.display()))?;
    }
    let mut alarms = Vec::new();
    let store = match Store::open(path) {
        Err(store::Error::Damaged { reason, .. }) => {
            let aside = path.with_extension(format!("damaged-{}", std::process::id()));
            std::fs::rename(path, &aside)?;
            for suffix in ["-wal", "-shm"] {
                let mut beside = path.as_os_str().to_owned();
                beside.push(suffix);
                drop(std::fs::remove_file(PathBuf::from(beside)));
            }
            let text = format!("{}: damaged ({reason}); put aside as {}", path.display(), aside.display());
            warn!("{text}");
            alarms.push(text);
            Store::open(path)?
        }
        opened => opened?,
    };
    let mut records = store.recent(RECORDS_MAX)?;
    let alive = store.alive()?;
    records.retain(|record| !record.state.is_alive());
    records.extend(alive);
    Ok((store::spawn(store, config.history.kept)?, records, alarms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
