//! Switches protection and countermeasures of a MITIGATOR on for as long as attacks need them, and puts back what was before. Touches
//! no other switch.
//!
//! [`Mitigator`] has the task that does it: a [`keeper`] looks, writes down what it will do, and does it; again after every
//! change of what is wanted, and every so often, to see what others changed. [`plan`] says what is wanted, [`ledger`] what is
//! ours; both are pure.

mod api;
mod client;
pub mod doctor;
mod keeper;
mod ledger;
mod plan;
mod report;
pub mod settings;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info};

use self::keeper::Keeper;
pub use self::ledger::{Entry, Phase};
pub use self::plan::{Asked, HeldBack};
pub use self::report::Report;
use self::settings::Settings;
use crate::store;

/// How long MITIGATOR may take to put everything back.
const PUT_BACK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the task is told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The attacks under way, the oldest first. None until the store has been read: nothing may be put back before it is known what
    /// is needed.
    pub asked: Option<Arc<Vec<Asked>>>,
    /// Whether all actions are paused: switches are looked at, and stay as they are.
    pub paused: bool,
}

/// What becomes of the switches when the task stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStop {
    /// They stay, and are seen to at the next start.
    Keep,
    /// They are put back.
    PutBack,
}

/// Switches that are held, as they were last written.
type Shared = Arc<Mutex<Vec<Entry>>>;

/// The one MITIGATOR that is served, if any. Changes within a tokio runtime.
#[derive(Debug)]
pub struct Mitigator {
    told: watch::Receiver<Told>,
    store: store::Ledger,
    held: Shared,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    settings: Arc<Settings>,
    report: watch::Receiver<Report>,
    stop: watch::Sender<Option<AtStop>>,
    task: JoinHandle<()>,
}

impl Mitigator {
    /// None yet. `held` is what the store has.
    pub fn new(told: watch::Receiver<Told>, store: store::Ledger, held: Option<&str>) -> Mitigator {
        let held = held.map(serde_json::from_str::<Vec<Entry>>).transpose();
        let held = held.unwrap_or_else(|error| {
            error!("the switches that are held at MITIGATOR cannot be read, and stay as they are: {error}");
            None
        });
        Mitigator { told, store, held: Arc::new(Mutex::new(held.unwrap_or_default())), running: None }
    }

    /// Serves this one, and no other. One that stays goes on as if nothing were; where another cluster, or none, takes its place,
    /// everything is put back first. Gives what it says.
    pub async fn set(&mut self, settings: Option<Settings>) -> Option<watch::Receiver<Report>> {
        let same = |running: &Running| settings.as_ref() == Some(&*running.settings);
        if !self.running.as_ref().is_some_and(same) {
            if let Some(old) = self.running.take() {
                let goes_on = settings.as_ref().is_some_and(|new| new.is_same_cluster(&old.settings));
                old.end(if goes_on { AtStop::Keep } else { AtStop::PutBack }).await;
                if !goes_on {
                    self.forget();
                }
            }
            self.running = settings.map(|settings| self.start(Arc::new(settings)));
        }
        self.running.as_ref().map(|running| running.report.clone())
    }

    fn start(&self, settings: Arc<Settings>) -> Running {
        let (report, reported) = watch::channel(Report::default());
        let (stop, stopped) = watch::channel(None);
        let held = Arc::clone(&self.held);
        let keeper = Keeper::new(Arc::clone(&settings), self.told.clone(), self.store.clone(), held, report);
        Running { settings, report: reported, stop, task: tokio::spawn(keeper::run(keeper, stopped)) }
    }

    /// What another cluster has of ours is nothing that this one could put back.
    fn forget(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in held.drain(..) {
            error!(
                policy = entry.policy,
                switch = entry.switch,
                "MITIGATOR is served no more, and this was not put back"
            );
        }
        self.store.save("[]".to_owned());
    }

    /// Ends the task.
    pub async fn stop(&mut self, at_stop: AtStop) {
        if let Some(running) = self.running.take() {
            running.end(at_stop).await;
        }
    }
}

impl Running {
    async fn end(mut self, at_stop: AtStop) {
        info!(?at_stop, "MITIGATOR is served no more");
        self.stop.send_replace(Some(at_stop));
        match tokio::time::timeout(PUT_BACK_TIMEOUT, &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!("the task for MITIGATOR failed: {error}"),
            Err(_) => {
                self.task.abort();
                error!("MITIGATOR did not let switches be put back in time");
            }
        }
    }
}
