//! `leveed`: wires the rooms together, takes signals, sets the exit status. Decides nothing.

mod doctor;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};
use controlplane::actions::notify::letter::Kept;
use controlplane::actions::notify::{self, Notify};
use controlplane::actions::{bgp, mitigator};
use controlplane::api::{self, Api};
use controlplane::by_hand::Pause;
use controlplane::config::{self, Config, Log};
use controlplane::control::{Clock, Control, Order, Parts, Request};
use controlplane::offline;
use controlplane::plan;
use controlplane::plan::memory::{Machine, Need};
use controlplane::record::AttackRecord;
use controlplane::reload::{Actions, LogFilter, Reloader};
use controlplane::replay;
use controlplane::samples;
use controlplane::store::{self, Archive};
use crossbeam::channel;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use tokio::signal::unix::{Signal, SignalKind, signal};
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
    /// Takes everything of ours out of all engines, and puts on record that it stays so until `leveectl resume`; where no daemon runs.
    WithdrawAll {
        /// The configuration.
        #[arg(default_value = "/etc/levee/levee.toml")]
        config: PathBuf,
        /// Why, for the record.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Looks at an outside system as the daemon would use it, and changes nothing there. Needs no running daemon.
    Doctor {
        #[command(subcommand)]
        command: doctor::Command,
    },
    /// Mines rules from capture files; needs neither a device nor a running daemon.
    Mine(offline::Mine),
    /// Runs the whole detector over capture files by their own time; needs neither a device nor a running daemon. Exit status 0 whatever
    /// it finds, 1 if a file cannot be read, 2 if the configuration is wrong.
    Replay(replay::Replay),
}

/// A configuration that is wrong: its findings, as text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadConfig(String);

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Check { config } => check(&config),
        Command::WithdrawAll { config, reason } => withdraw_all(&config, reason),
        Command::Doctor { command } => doctor::run(&command),
        Command::Mine(arguments) => mine(&arguments),
        Command::Replay(arguments) => run_replay(&arguments),
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
    config::warnings(&config).iter().for_each(|warning| eprintln!("{warning}"));
    println!("{}: good", path.display());
    Ok(())
}

fn mine(arguments: &offline::Mine) -> anyhow::Result<()> {
    let load = |path: &PathBuf| config::load(path).map_err(|findings| BadConfig(findings.to_string()));
    let config = arguments.config.as_ref().map(load).transpose()?;
    let report = offline::mine(arguments, config.as_ref())?;
    print(&if arguments.json { report.to_json().to_string() } else { report.to_string() })
}

fn run_replay(arguments: &replay::Replay) -> anyhow::Result<()> {
    let progress = |packets: u64, seconds: f64| {
        if arguments.progress {
            eprintln!("{packets} packets, {seconds:.1} s of the files");
        }
    };
    let report = replay::replay(arguments, progress).map_err(|error| match error {
        replay::Error::Config(findings) => BadConfig(findings.to_string()).into(),
        error => anyhow::Error::from(error),
    })?;
    report.warnings().for_each(|warning| eprintln!("leveed: {warning}"));
    print(&if arguments.json { format!("{:#}", report.to_json()) } else { report.to_string() })
}

fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Works with nothing but the configuration, the store and the engines. What does not work holds up nothing else.
fn withdraw_all(path: &Path, reason: String) -> anyhow::Result<()> {
    let config = config::load(path).map_err(|findings| BadConfig(findings.to_string()))?;
    anyhow::ensure!(listening(&config.daemon.socket).is_none(), "leveed runs: use `leveectl withdraw-all`");
    let order = Order { seconds: 0, reason, by: api::user(nix::unistd::getuid()) };
    let stored = store::put_pause(&config.daemon.state, order.act("withdraw_all"), order.withdrawal());
    if let Err(error) = &stored {
        eprintln!("leveed: not on record, so a daemon that starts announces again: {error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut failed = 0;
    for engine in plan::engines(&config) {
        match runtime.block_on(bgp::withdraw_all(&engine)) {
            Ok(routes) => println!("engine {}: {routes} routes withdrawn", engine.name),
            Err(error) => {
                failed += 1;
                eprintln!("leveed: engine {}: {error}", engine.name);
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} engines may still have routes of ours: try again");
    stored?;
    println!("nothing is announced until `leveectl resume`");
    Ok(())
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
    let log = Arc::new(start_log(&config)?);
    info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "leveed starts");
    config::warnings(&config).iter().for_each(|warning| warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let signals = runtime.block_on(async { Signals::new() })?;
    // The socket comes before all that another daemon may be using, the state after all that can be wrong with this machine.
    let listener = runtime.block_on(api::bind(&config.daemon.socket))?;
    let socket = SocketFile(&config.daemon.socket);
    let ports: Vec<usize> = (0..config.ports.len()).collect();
    let started = dataplane::start(plan::dataplane(&config, |_| true)?);
    let dataplane = started.map_err(|error| port_finding(&config, &ports, error))?;
    info!(dpdk = dataplane::dpdk::version(), workers = dataplane.workers().count(), "workers poll");
    let Opened { store, pause, records, switches, outbox } = open_store(&config)?;

    let (events, _) = broadcast::channel(EVENTS_BEHIND);
    let (requests, asked) = channel::bounded(REQUESTS_MAX);
    let (wanted, told) = watch::channel(bgp::Told::default());

    let mut engines = bgp::Engines::new(told);
    let reports = runtime.block_on(async { engines.set(plan::engines(&config)) });
    let (ask_mitigator, mitigator_told) = watch::channel(mitigator::Told::default());
    let mut mitigator = mitigator::Mitigator::new(mitigator_told, store.ledger(), switches.as_deref());
    let mitigator_report = runtime.block_on(mitigator.set(config.mitigator.clone()));
    let subscribers: Arc<[notify::settings::Subscriber]> = config.subscribers.clone().into();
    let (notify, notify_line) = Notify::start(&subscribers, plan::worker_cores(&config))?;
    let actions = Actions { engines, mitigator, notify };
    let networks = dataplane.networks.get();
    let control = Control::new(Parts {
        map: plan::map(&config, Arc::clone(&networks))?,
        dataplane,
        settings: plan::settings(&config),
        whitelist: config.whitelist.clone(),
        guard: plan::guard(&config),
        miner: config.miner,
        tap_per_second: config.tap_per_second,
        store,
        samples: plan::samples(&config).map(samples::spawn).transpose()?,
        records,
        pause,
        wanted,
        reports,
        ask_mitigator,
        mitigator: mitigator_report,
        notify: notify_line,
        subscribers,
        outbox,
        events: events.clone(),
        requests: asked,
        clock: Clock::machine(),
    });
    let control = std::thread::Builder::new().name("levee-control".into()).spawn(move || control.run())?;
    let (dry_run, ipv6_prefix_length) = (config.daemon.dry_run, config.tables.ipv6_prefix_length);
    let archive = Archive::new(config.daemon.state.clone());
    let reloader = Reloader::new(path, config.clone(), networks, actions, Arc::clone(&log), requests.clone());
    let reloader = Arc::new(reloader);
    let api = Api {
        requests: requests.clone(),
        events,
        log,
        reloader: Arc::clone(&reloader),
        ipv6_prefix_length,
        archive,
        readers: Semaphore::new(api::READERS_MAX),
    };
    let serving = runtime.spawn(api::serve(api, listener));
    info!(socket = %config.daemon.socket.display(), dry_run, "ready");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));

    runtime.block_on(signals.serve(&reloader));
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    runtime.block_on(reloader.stop_mitigator());
    runtime.block_on(reloader.stop_notify());
    drop(requests.send(Request::Stop));
    if control.join().is_err() {
        error!("the control thread panicked; see above");
    }
    runtime.block_on(reloader.stop_engines());
    serving.abort();
    drop(socket);
    info!("leveed stops");
    Ok(())
}

/// Signals, from the start on: one that comes before all is ready waits.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Reloads at each SIGHUP, until it is time to stop.
    async fn serve(mut self, reloader: &Reloader) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return info!("SIGTERM"),
                _ = self.interrupt.recv() => return info!("SIGINT"),
                // What is wrong is in the log, and an alarm.
                _ = self.hang_up.recv() => drop(reloader.reload("SIGHUP").await),
            }
        }
    }
}

/// Starts the log; what it gives changes the filter.
fn start_log(config: &Config) -> anyhow::Result<LogFilter> {
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
    let set = move |level: &str| {
        if !config::is_log_level(level) {
            return Err(format!("unknown level \"{level}\": write {}", config::LOG_LEVELS));
        }
        let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    };
    Ok(LogFilter::new(Box::new(set), config.daemon.log_level.clone()))
}

/// The store, and what it knew.
struct Opened {
    store: store::StoreHandle,
    pause: Option<Pause>,
    records: Vec<AttackRecord>,
    switches: Option<String>,
    outbox: Kept,
}

/// Takes up what is on disk. A disk that cannot be used is an alarm, and no reason not to act.
fn open_store(config: &Config) -> anyhow::Result<Opened> {
    let store::Found { disk, pause, records, switches, outbox, trouble } =
        store::take_up(&config.daemon.state, RECORDS_MAX)?;
    if let Some(trouble) = trouble {
        error!("cannot store attacks: {trouble}; trying on");
    }
    Ok(Opened { store: store::spawn(disk, config.history.kept)?, pause, records, switches, outbox })
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
