//! Tells scripts and webhooks about attacks.
//!
//! What is told is a value, [`notice::Notice`]; to render one is pure. [`call`] has what a script is called with, in the layout of
//! its choice; [`webhook`] what is posted. A notice to one subscriber is a [`letter::Letter`], which lies in the outbox on disk until
//! it is delivered. [`Notify`] has the thread that delivers them: its [`courier`] knows what waits ([`queue`]), runs programs
//! ([`script`]) and posts ([`post`]).

mod advanced;
pub mod call;
mod courier;
mod figures;
pub mod letter;
pub mod notice;
mod post;
mod queue;
pub mod report;
mod script;
pub mod settings;
#[cfg(test)]
mod tests;
mod text;
pub mod webhook;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use ipnet::IpNet;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use self::courier::Courier;
use self::letter::Letter;
pub use self::post::is_allowed;
use self::report::{Outcome, Report};
use self::settings::Subscriber;

/// What the courier is told.
#[derive(Debug)]
pub enum Told {
    /// These are to be delivered. They are on record.
    Letters(Vec<Arc<Letter>>),
    /// It is on record what came of a subscriber's letter about these: the next one may go.
    OnRecord(Vec<(String, IpNet)>),
    /// Whether all actions are paused: what acts waits.
    Paused(bool),
    /// Whom there is to tell.
    Subscribers(Arc<[Subscriber]>),
    /// That is all.
    Stop,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Line {
    /// Where letters go.
    pub told: mpsc::UnboundedSender<Told>,
    /// What came of them. As many as there are letters.
    pub outcomes: mpsc::UnboundedReceiver<Outcome>,
    /// How subscribers do.
    pub report: watch::Receiver<Report>,
}

impl Line {
    /// To nobody.
    pub fn nowhere() -> Line {
        Line {
            told: mpsc::unbounded_channel().0,
            outcomes: mpsc::unbounded_channel().1,
            report: watch::channel(Report::default()).1,
        }
    }
}

/// The thread that delivers. Programs that it starts run where it may run: never on a worker's core, where there is another.
#[derive(Debug)]
pub struct Notify {
    told: mpsc::UnboundedSender<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Notify {
    /// Starts it. `workers` are the cores of workers.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(subscribers: &[Subscriber], workers: BTreeSet<usize>) -> io::Result<(Notify, Line)> {
        let (told, heard) = mpsc::unbounded_channel();
        let (outcome, outcomes) = mpsc::unbounded_channel();
        let (report, reported) = watch::channel(Report::default());
        let courier = Courier::new(subscribers, heard, outcome, report);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            stay_off(&workers);
            runtime.block_on(courier.run());
        };
        let thread = std::thread::Builder::new().name("levee-notify".into()).spawn(run)?;
        Ok((Notify { told: told.clone(), thread: Some(thread) }, Line { told, outcomes, report: reported }))
    }

    /// Serves these, and no others. Comes before the control thread's own going over.
    pub fn set(&self, subscribers: Arc<[Subscriber]>) {
        drop(self.told.send(Told::Subscribers(subscribers)));
    }

    /// Waits a moment for what is on its way, and ends. What is not delivered then is told again at the next start.
    pub async fn stop(&mut self) {
        drop(self.told.send(Told::Stop));
        if let Some(thread) = self.thread.take()
            && !matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(())))
        {
            error!("the thread that runs scripts and calls webhooks panicked; see above");
        }
    }
}

/// Leaves these cores alone, this thread and all that it starts.
fn stay_off(workers: &BTreeSet<usize>) {
    let this = Pid::from_raw(0);
    let narrowed = sched_getaffinity(this).and_then(|mut cores| {
        for core in workers {
            cores.unset(*core)?;
        }
        let is_any = (0..CpuSet::count()).any(|core| cores.is_set(core).unwrap_or(false));
        if is_any { sched_setaffinity(this, &cores) } else { Err(nix::errno::Errno::EINVAL) }
    });
    if let Err(error) = narrowed {
        warn!("scripts may run on workers' cores: there is no other, or {error}");
    }
}
