//! Another configuration while everything runs.

use std::sync::Arc;

use dataplane::networks::Networks;
use tokio::sync::watch;
use tracing::error;

use super::Control;
use crate::actions::notify::settings::Subscriber;
use crate::actions::{bgp, mitigator};
use crate::attack::Target;
use crate::detector::Settings;
use crate::guard::Guard;
use crate::meter::Map;
use crate::samples;
use crate::whitelist::Whitelist;

/// All that changes. It was checked before: nothing of it is refused.
#[derive(Debug)]
pub struct Reload {
    /// Who does it.
    pub by: String,
    /// What it is on the list of who did what, and in words.
    pub act: (&'static str, String),
    /// The protected networks, a successor of those in force.
    pub networks: Arc<Networks>,
    /// The same networks, and the host groups.
    pub map: Map,
    /// The detector's configuration.
    pub settings: Settings,
    /// What is exempt.
    pub whitelist: Whitelist,
    /// What is never announced.
    pub guard: Guard,
    /// Bounds of mining.
    pub miner: crate::miner::Limits,
    /// Packets a second that the always-on tap takes.
    pub tap_per_second: u32,
    /// For how long attacks are kept.
    pub history: std::time::Duration,
    /// Where samples are kept; none: nowhere.
    pub samples: Option<samples::Limits>,
    /// What engines say.
    pub reports: Vec<watch::Receiver<bgp::Report>>,
    /// What MITIGATOR says; none: there is none.
    pub mitigator: Option<watch::Receiver<mitigator::Report>>,
    /// Whom there is to tell of attacks.
    pub subscribers: Arc<[Subscriber]>,
}

impl Control {
    /// Goes over to another configuration, all of it at once. Gives what writes samples no more, for somebody who may wait for it.
    pub(super) fn reload(&mut self, reload: Reload) -> Option<samples::Handle> {
        // What was counted so far belongs to the networks and groups as they were.
        self.tick();
        self.dataplane.networks.replace(reload.networks);
        self.meter.replace(reload.map);
        self.settings = reload.settings;
        self.whitelist = Arc::new(reload.whitelist);
        self.guard = reload.guard;
        self.reports = reload.reports;
        self.mitigator.replace(reload.mitigator);
        self.notify.replace(reload.subscribers);
        self.miner = reload.miner;
        self.tap.set_per_second(reload.tap_per_second);
        self.store.set_history(reload.history);
        let retired = self.change_samples(reload.samples);
        let (now, map) = (self.now(), self.meter.map());
        let place = |target: &Target, is_order: bool| map.place(target, is_order);
        let effects = self.detector.reload(now, self.settings, Arc::clone(&self.whitelist), place);
        self.carry_out(effects);
        self.plan();
        self.look_at_reports();
        self.watch();
        let (act, text) = reload.act;
        self.note_down(&reload.by, act, text, None);
        retired
    }

    fn change_samples(&mut self, limits: Option<samples::Limits>) -> Option<samples::Handle> {
        self.captures.keep_frames(limits.is_some() || self.notify.wants_packets());
        match (self.samples.take(), limits) {
            (retired, None) => return retired,
            (Some(handle), Some(limits)) => {
                handle.set_limits(limits);
                self.samples = Some(handle);
            }
            (None, Some(limits)) => match samples::spawn(limits) {
                Ok(handle) => self.samples = Some(handle),
                Err(error) => error!("samples are not kept: {error}"),
            },
        }
        None
    }
}
