//! The one path by which the configuration changes while the daemon runs: SIGHUP, the API, and commits of single keys end in
//! [`Reloader::reload`]'s second half. A configuration is taken over whole or not at all. Owns the file; decides no attack.

mod file;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::{Duration, SystemTime};

use crossbeam::channel::Sender;
use dataplane::hosts::Layout;
use dataplane::networks::{self, Networks};
use tokio::sync::{Mutex, oneshot, watch};
use tracing::{error, info, warn};

use crate::actions::notify::Notify;
use crate::actions::notify::settings::Subscriber;
use crate::actions::{bgp, mitigator};
use crate::config::edit::{self, Edit};
use crate::config::{self, Change, Config, Diagnostics, Leaf};
use crate::control::{Reload, Request};
use crate::plan;

/// How long the control thread may take to go over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// It is asked again this often while too many others ask.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// So many keys are named on the list of who did what.
const NAMED_MAX: usize = 10;
/// Most keys of a candidate.
const EDITS_MAX: usize = 1000;

/// Why nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error("nothing was changed: the configuration is wrong\n{0}")]
    Bad(#[from] Diagnostics),
    /// It takes a restart.
    #[error("nothing was changed: this takes a restart of leveed\n{}", lines(.0))]
    Restart(Vec<Change>),
    /// The lookup tables have no room.
    #[error("nothing was changed: {0}")]
    Networks(#[from] networks::Error),
    /// A key cannot be changed.
    #[error("{0}")]
    Edit(#[from] edit::Error),
    /// No such key is in force.
    #[error("{0}")]
    Unknown(String),
    /// There is nothing to commit.
    #[error("nothing to commit: `leveectl config set KEY VALUE` comes first")]
    NoCandidate,
    /// Too many keys.
    #[error("more than {EDITS_MAX} keys are set: commit them, or edit the file")]
    TooMany,
    /// Somebody edited the file.
    #[error(
        "nothing was changed: {} was edited since it was loaded; `leveectl config diff` shows how, `leveectl config reload` takes \
         it over, and --force writes over it (it is kept as {}.1)", .0.display(), .0.display()
    )]
    Edited(PathBuf),
    /// There is no former file.
    #[error("nothing to go back to: there is no {}, which a commit leaves behind", .0.display())]
    NoFormer(PathBuf),
    /// The file cannot be read or written.
    #[error("nothing was changed, and nothing that was set is lost: {} cannot be {what}: {source}{}", path.display(), advice(source))]
    File {
        /// Which.
        path: PathBuf,
        /// Read, or written.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// The control thread is stuck.
    #[error("the control thread does not answer; see the daemon's log")]
    NoAnswer,
}

fn lines(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("  {change}")).collect::<Vec<_>>().join("\n")
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; leveed must be able to write to the file's folder: under systemd, ReadWritePaths=/etc/levee"
        }
        _ => "",
    }
}

/// What changed, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The keys.
    pub changes: Vec<Change>,
    /// What an operator should know, too.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Which keys, in one line.
    fn keys(&self) -> String {
        let mut keys: Vec<&str> = self.changes.iter().map(|change| change.key.as_str()).collect();
        keys.dedup();
        let more = keys.len().saturating_sub(NAMED_MAX);
        let named = keys[..keys.len() - more].join(", ");
        match (keys.len(), more) {
            (0, _) => "nothing changed".to_owned(),
            (_, 0) => named,
            _ => format!("{named} and {more} more"),
        }
    }
}

/// A key that somebody set, and has not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The key and its value.
    pub edit: Edit,
    /// Who.
    pub by: String,
    /// When.
    pub time: SystemTime,
}

/// What runs, held against the file and the candidate.
#[derive(Debug)]
pub struct Diff {
    /// From what runs to the file.
    pub file: Result<Vec<Change>, Error>,
    /// What was set, in order.
    pub steps: Vec<Step>,
    /// From what runs to the candidate.
    pub candidate: Result<Vec<Change>, Error>,
}

/// Changes the log's filter, or says why the new one is none.
pub type SetLog = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The log's filter.
pub struct LogFilter {
    set: SetLog,
    level: Lock<String>,
}

impl LogFilter {
    /// A filter that is at this level.
    pub fn new(set: SetLog, level: String) -> LogFilter {
        LogFilter { set, level: Lock::new(level) }
    }

    /// The level.
    pub fn level(&self) -> String {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets another level, and gives the one before.
    ///
    /// # Errors
    /// Where it is none, in words.
    pub fn change(&self, level: &str) -> Result<String, String> {
        let mut current = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        (self.set)(level)?;
        Ok(std::mem::replace(&mut *current, level.to_owned()))
    }
}

/// Goes over to other configurations.
pub struct Reloader {
    path: PathBuf,
    running: watch::Sender<Arc<Config>>,
    log: Arc<LogFilter>,
    requests: Sender<Request>,
    /// What was allocated at the start.
    allocated: Layout,
    /// Why the last reload was refused.
    refused: Lock<Option<String>>,
    state: Mutex<State>,
}

struct State {
    networks: Arc<Networks>,
    actions: Actions,
    steps: Vec<Step>,
}

/// What serves outside systems.
#[derive(Debug)]
pub struct Actions {
    /// BGP engines.
    pub engines: bgp::Engines,
    /// A MITIGATOR.
    pub mitigator: mitigator::Mitigator,
    /// Scripts and webhooks.
    pub notify: Notify,
}

/// A configuration that can be taken over.
struct Prepared {
    config: Config,
    networks: Arc<Networks>,
    map: crate::meter::Map,
    outcome: Outcome,
}

impl Reloader {
    /// For a daemon that runs with this configuration of this file.
    pub fn new(
        path: &Path,
        config: Config,
        networks: Arc<Networks>,
        actions: Actions,
        log: Arc<LogFilter>,
        requests: Sender<Request>,
    ) -> Reloader {
        Reloader {
            path: path.to_owned(),
            allocated: plan::layout(&config),
            running: watch::Sender::new(Arc::new(config)),
            log,
            requests,
            refused: Lock::new(None),
            state: Mutex::new(State { networks, actions, steps: Vec::new() }),
        }
    }

    /// The configuration that runs.
    pub fn running(&self) -> Arc<Config> {
        Arc::clone(&self.running.borrow())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an operator should know: that the last reload was refused.
    pub fn alarm(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the file over.
    ///
    /// # Errors
    /// [`Error`]; then nothing changed.
    pub async fn reload(&self, by: &str) -> Result<Outcome, Error> {
        let mut state = self.state.lock().await;
        let reloaded = match self.prepare(&state, self.read(&self.path)).map(|prepared| (prepared, by)) {
            Ok((prepared, by)) => self.go_over(&mut state, prepared, "config_reload", by).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &reloaded {
            error!(by, "the configuration was not reloaded: {error}");
            let first = error.to_string().lines().take(2).collect::<Vec<_>>().join(" ");
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("the last reload was refused: {first}"));
        }
        reloaded
    }

    /// Keys in force: all, or one and those below it.
    ///
    /// # Errors
    /// Where there is no such key.
    pub fn show(&self, key: &str) -> Result<Vec<Leaf>, Error> {
        let mut leaves = self.running().leaves();
        let keys: Vec<String> = leaves.iter().map(|leaf| leaf.key.clone()).collect();
        let is_below = |leaf: &Leaf| {
            let rest = leaf.key.strip_prefix(key);
            key.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
        };
        leaves.retain(is_below);
        if leaves.is_empty() {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            return Err(Error::Unknown(format!("no key `{key}` in force: {}", config::suggestion(key, &keys))));
        }
        Ok(leaves)
    }

    /// What would change.
    pub async fn diff(&self) -> Diff {
        let state = self.state.lock().await;
        let compare = |text| self.config(text).and_then(|config| Ok(self.compare(&state, &config)?.0.changes));
        Diff {
            file: compare(self.read(&self.path)),
            candidate: compare(self.candidate(&state.steps)),
            steps: state.steps.clone(),
        }
    }

    /// Sets a key in the candidate, or takes it out. It must be right there, together with what was set before.
    ///
    /// # Errors
    /// [`Error`]; the candidate is as before then.
    pub async fn set(&self, edit: Edit, by: &str) -> Result<Outcome, Error> {
        let mut state = self.state.lock().await;
        let mut steps = state.steps.clone();
        if steps.len() >= EDITS_MAX {
            return Err(Error::TooMany);
        }
        info!(by, key = edit.key, value = edit.value, "a key of the candidate is set");
        steps.push(Step { edit, by: by.to_owned(), time: SystemTime::now() });
        let prepared = self.prepare(&state, self.candidate(&steps))?;
        state.steps = steps;
        Ok(prepared.outcome)
    }

    /// Writes the candidate to the file, and takes it over.
    ///
    /// # Errors
    /// [`Error`]; the candidate stays then.
    pub async fn commit(&self, force: bool, by: &str) -> Result<Outcome, Error> {
        let mut state = self.state.lock().await;
        if state.steps.is_empty() {
            return Err(Error::NoCandidate);
        }
        self.check_unedited(force)?;
        let prepared = self.prepare(&state, self.candidate(&state.steps))?;
        self.written(file::replace(&self.path, prepared.config.text()))?;
        info!(by, keys = state.steps.len(), "the candidate is committed");
        let outcome = self.go_over(&mut state, prepared, "config_commit", by).await?;
        state.steps.clear();
        Ok(outcome)
    }

    /// Drops the candidate; without one, goes back to the file that the last commit replaced. Says which of the two.
    ///
    /// # Errors
    /// [`Error`]; nothing changed then.
    pub async fn rollback(&self, force: bool, by: &str) -> Result<(bool, Outcome), Error> {
        let mut state = self.state.lock().await;
        if !state.steps.is_empty() {
            let steps = std::mem::take(&mut state.steps);
            info!(by, keys = steps.len(), "the candidate is dropped");
            return Ok((true, Outcome::default()));
        }
        let former = file::former(&self.path, 1);
        if !former.exists() {
            return Err(Error::NoFormer(former));
        }
        self.check_unedited(force)?;
        let prepared = self.prepare(&state, self.read(&former))?;
        self.written(file::go_back(&self.path, prepared.config.text()))?;
        info!(by, "back to the former configuration");
        Ok((false, self.go_over(&mut state, prepared, "config_rollback", by).await?))
    }

    /// Ends what serves a MITIGATOR. Before the control thread: what is put back goes on record.
    pub async fn stop_mitigator(&self) {
        let at_stop = match self.running().daemon.on_shutdown {
            config::OnShutdown::Keep => mitigator::AtStop::Keep,
            config::OnShutdown::Withdraw => mitigator::AtStop::PutBack,
        };
        self.state.lock().await.actions.mitigator.stop(at_stop).await;
    }

    /// Ends what runs scripts and calls webhooks. Before the control thread: what came of them goes on record.
    pub async fn stop_notify(&self) {
        self.state.lock().await.actions.notify.stop().await;
    }

    /// Ends all engines.
    pub async fn stop_engines(&self) {
        let at_stop = match self.running().daemon.on_shutdown {
            config::OnShutdown::Keep => bgp::AtStop::Keep,
            config::OnShutdown::Withdraw => bgp::AtStop::Withdraw,
        };
        self.state.lock().await.actions.engines.stop(at_stop).await;
    }
}

// The parts.
impl Reloader {
    fn read(&self, path: &Path) -> Result<String, Error> {
        let failed = |source| Error::File { path: path.to_owned(), what: "read", source };
        std::fs::read_to_string(path).map_err(failed)
    }

    fn written(&self, result: io::Result<()>) -> Result<(), Error> {
        result.map_err(|source| Error::File { path: self.path.clone(), what: "written", source })
    }

    /// The text that runs, with what was set.
    fn candidate(&self, steps: &[Step]) -> Result<String, Error> {
        let running = self.running();
        let edited = steps.iter().try_fold(running.text().to_owned(), |text, step| step.edit.apply(&text));
        Ok(edited?)
    }

    fn config(&self, text: Result<String, Error>) -> Result<Config, Error> {
        Ok(config::parse(&self.path.display().to_string(), text?)?)
    }

    fn check_unedited(&self, force: bool) -> Result<(), Error> {
        let is_edited = self.read(&self.path)? != self.running().text();
        if is_edited && !force { Err(Error::Edited(self.path.clone())) } else { Ok(()) }
    }

    /// How a configuration differs from what runs, with reasons for a restart; and its networks.
    fn compare(&self, state: &State, config: &Config) -> Result<(Outcome, Networks), Error> {
        let mut changes = config::changes(&self.running(), config);
        let networks = plan::networks(config, &state.networks)?;
        for (key, why) in plan::beyond(&self.allocated, config, &networks) {
            let there: Vec<&mut Change> = changes.iter_mut().filter(|change| change.key == key).collect();
            if there.is_empty() {
                changes.push(Change { key, old: None, new: None, restart: Some(why) });
            } else {
                there.into_iter().for_each(|change| change.restart = Some(why.clone()));
            }
        }
        let notes = plan::cramped(&self.allocated, config).into_iter().collect();
        Ok((Outcome { changes, notes }, networks))
    }

    fn prepare(&self, state: &State, text: Result<String, Error>) -> Result<Prepared, Error> {
        let config = self.config(text)?;
        let (outcome, networks) = self.compare(state, &config)?;
        let fixed: Vec<Change> = outcome.changes.iter().filter(|change| change.restart.is_some()).cloned().collect();
        if !fixed.is_empty() {
            return Err(Error::Restart(fixed));
        }
        let networks = Arc::new(networks);
        let map = plan::map(&config, Arc::clone(&networks))?;
        Ok(Prepared { config, networks, map, outcome })
    }

    /// Everything is right: from here on it is done.
    async fn go_over(
        &self,
        state: &mut State,
        prepared: Prepared,
        act: &'static str,
        by: &str,
    ) -> Result<Outcome, Error> {
        let Prepared { config, networks, map, outcome } = prepared;
        let reports = state.actions.engines.set(plan::engines(&config));
        let subscribers: Arc<[Subscriber]> = config.subscribers.clone().into();
        state.actions.notify.set(Arc::clone(&subscribers));
        let reload = Box::new(Reload {
            by: by.to_owned(),
            act: (act, outcome.keys()),
            networks: Arc::clone(&networks),
            map,
            settings: plan::settings(&config),
            whitelist: config.whitelist.clone(),
            guard: plan::guard(&config),
            miner: config.miner,
            tap_per_second: config.tap_per_second,
            history: config.history.kept,
            samples: plan::samples(&config),
            reports,
            mitigator: state.actions.mitigator.set(config.mitigator.clone()).await,
            subscribers,
        });
        let (reply, answer) = oneshot::channel();
        let asked = self.ask(Request::Reload { reload, reply });
        let retired = tokio::time::timeout(ANSWER_TIMEOUT, async {
            asked.await?;
            answer.await.map_err(|_| Error::NoAnswer)
        });
        let retired = retired.await.map_err(|_| Error::NoAnswer)??;
        // It writes what is waiting before it goes.
        tokio::task::spawn_blocking(move || drop(retired));
        let level = &config.daemon.log_level;
        if *level != self.running().daemon.log_level
            && let Err(error) = self.log.change(level)
        {
            warn!("the log's level stays: {error}");
        }
        for change in &outcome.changes {
            info!(by, "configuration: {change}");
        }
        for warning in config::warnings(&config) {
            warn!("{warning}");
        }
        for note in &outcome.notes {
            warn!("configuration: {note}");
        }
        info!(by, changes = outcome.changes.len(), "the configuration is taken over");
        state.networks = networks;
        self.running.send_replace(Arc::new(config));
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(outcome)
    }

    /// Waits while too many others ask.
    async fn ask(&self, request: Request) -> Result<(), Error> {
        let mut request = request;
        loop {
            match self.requests.try_send(request) {
                Ok(()) => return Ok(()),
                Err(crossbeam::channel::TrySendError::Full(again)) => request = again,
                Err(crossbeam::channel::TrySendError::Disconnected(_)) => return Err(Error::NoAnswer),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}
