//! The engines that are served, and how their list changes while the daemon runs.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info};

use super::{AtStop, Engine, Error, Report, Told, run};

/// How long an engine may take to withdraw everything.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(10);

/// The engines that are served, a task each. Changes within a tokio runtime.
#[derive(Debug)]
pub struct Engines {
    told: watch::Receiver<Told>,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    engine: Engine,
    report: watch::Receiver<Report>,
    stop: watch::Sender<Option<AtStop>>,
    task: JoinHandle<Result<(), Error>>,
}

impl Engine {
    /// Whether it sees to all that another holds of ours: routes with one mark, at one address, in the same tables. Without
    /// next hops it does not look for routes in place of rules.
    fn has_routes_of(&self, other: &Engine) -> bool {
        let sees_routes = self.has_next_hops() || !other.has_next_hops();
        self.address == other.address && self.mark == other.mark && sees_routes
    }
}

impl Engines {
    /// None yet.
    pub fn new(told: watch::Receiver<Told>) -> Engines {
        Engines { told, running: Vec::new() }
    }

    /// Serves these, and no others: one that stays goes on as if nothing were, from one that goes everything is withdrawn.
    /// Gives what they say, in the order of the list.
    pub fn set(&mut self, engines: Vec<Engine>) -> Vec<watch::Receiver<Report>> {
        let mut before: Vec<Running> = std::mem::take(&mut self.running);
        for engine in engines {
            let same = before.iter().position(|running| running.engine == engine);
            let running = match same {
                Some(index) => before.swap_remove(index),
                None => self.start(engine, &before),
            };
            self.running.push(running);
        }
        for old in before {
            let goes_on = self.running.iter().any(|running| running.engine.has_routes_of(&old.engine));
            let at_stop = if goes_on { AtStop::Keep } else { AtStop::Withdraw };
            info!(engine = old.engine.name, ?at_stop, "BGP engine is served no more");
            // It may be another address of the same engine: what others want of it would be gone, too.
            let same_mark = self.running.iter().filter(|running| running.engine.mark == old.engine.mark);
            let others: Vec<_> = same_mark.map(|running| running.stop.clone()).collect();
            tokio::spawn(async move {
                old.end(at_stop).await;
                for other in others {
                    other.send_if_modified(|told| told.is_none());
                }
            });
        }
        self.running.iter().map(|running| running.report.clone()).collect()
    }

    fn start(&self, engine: Engine, before: &[Running]) -> Running {
        // What it holds is known where only its name or its communities changed.
        let known = before.iter().find(|running| engine.has_routes_of(&running.engine));
        let first = match known {
            Some(running) => Report { engine: engine.name.clone(), ..running.report.borrow().clone() },
            None => Report::new(&engine),
        };
        let (report, reported) = watch::channel(first);
        let (stop, stopped) = watch::channel(None);
        let task = tokio::spawn(run(engine.clone(), self.told.clone(), report, stopped));
        Running { engine, report: reported, stop, task }
    }

    /// Ends all of them.
    pub async fn stop(&mut self, at_stop: AtStop) {
        let ending: Vec<_> = self.running.drain(..).map(|running| tokio::spawn(running.end(at_stop))).collect();
        for task in ending {
            if let Err(error) = task.await {
                error!("an engine's task failed: {error}");
            }
        }
    }
}

impl Running {
    async fn end(self, at_stop: AtStop) {
        let engine = &self.engine.name;
        self.stop.send_replace(Some(at_stop));
        match tokio::time::timeout(WITHDRAW_TIMEOUT, self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => error!(engine, "announcements were not withdrawn: {error}"),
            Ok(Err(error)) => error!(engine, "an engine's task failed: {error}"),
            Err(_) => error!(engine, "an engine did not let go of announcements in time"),
        }
    }
}
