//! Plays frames to the control thread's own code, by the time of their stamps: the pipeline counts them, and looks at thresholds and
//! samples are done when they are due. In place of routers stands one that takes every rule at once.

use std::collections::HashMap;
use std::sync::Arc;

use dataplane::feed::Feed;
use dataplane::packet::parse;
use dataplane::rule::{Action, Columns, RuleSet, SET_MAX};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use super::Error;
use super::busiest::Busiest;
use super::pace::Moment;
use crate::actions::bgp;
use crate::actions::notify::Line;
use crate::actions::notify::letter::Kept;
use crate::config::{Config, Tap};
use crate::control::{Answered, Clock, Control, Parts};
use crate::detector::Event;
use crate::plan;
use crate::store::StoreHandle;

/// As often as the daemon does.
const SERVICE_US: u64 = 5_000;
/// Samples are looked at after so many packets at the latest: the ring for them has room for more.
const SERVICE_PACKETS: u32 = 1_024;
/// Packets of one burst came within this time, so that samples tell when they came.
const BURST_US: u64 = 100;
/// For so long beyond a window silence changes what is known of hosts; where flows are counted, longer.
const SETTLE_US: u64 = 200_000;
const SETTLE_FLOWS_US: u64 = 2_200_000;
/// After a longer silence looks come ever more seldom, a fiftieth of it apart: so its length hardly matters.
const LONG_SILENCE_US: u64 = 600_000_000;
const SELDOM: u64 = 50;
/// It is looked who is busiest this often.
const BUSIEST_US: u64 = 1_000_000;
/// Attacks that are over and kept for the report.
const ENDED_MAX: usize = 10_000;
/// Events that come of one look.
const EVENTS_MAX: usize = 1 << 14;
/// A mark, as each engine has one. Nobody sees it.
const MARK: bgp::Mark = bgp::Mark([0, 0, 0]);

/// The router that takes every rule.
struct Router {
    told: watch::Receiver<bgp::Told>,
    report: watch::Sender<bgp::Report>,
    /// Behind it, what held rules discard is not seen.
    is_before_tap: bool,
    discarding: Vec<RuleSet>,
    /// Of the packet that they are asked about.
    columns: Box<Columns>,
    discarded: u64,
}

impl Router {
    /// Takes what is wanted now. False: that is what it has.
    fn take(&mut self) -> bool {
        if !self.told.has_changed().unwrap_or(false) {
            return false;
        }
        let wanted = self.told.borrow_and_update().wanted.clone().unwrap_or_default();
        if self.is_before_tap {
            let rules: Vec<_> = wanted.iter().filter(|wanted| takes_away(wanted.action)).map(|it| &it.rule).collect();
            self.discarding = rules.chunks(SET_MAX).map(|rules| RuleSet::new(rules.iter().copied())).collect();
        }
        self.report.send_modify(|report| {
            (report.connected, report.informed) = (true, true);
            report.held = wanted.iter().map(|wanted| wanted.id).collect();
        });
        true
    }

    /// Whether a frame gets no further.
    fn discards(&mut self, frame: &[u8]) -> bool {
        let discards = !self.discarding.is_empty()
            && parse(frame).is_ok_and(|headers| {
                self.columns.put(0, &headers);
                self.discarding.iter().any(|rules| rules.any(&mut self.columns, 1) != 0)
            });
        self.discarded += u64::from(discards);
        discards
    }
}

/// Whether what a router does with matching traffic leaves none of it on its way.
fn takes_away(action: Action) -> bool {
    match action {
        Action::Discard | Action::Blackhole | Action::Divert => true,
        Action::Pass(pass) => pass.redirect.is_some(),
        Action::RateBps(_) | Action::RatePps(_) => false,
    }
}

/// An attack of the replay.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) answered: Answered,
    /// When it was last over the threshold that it crossed, milliseconds since 1970 UTC.
    pub(super) over_until_ms: Option<i64>,
    /// Mined from what its sample had when the files ended.
    pub(super) sample_cut: bool,
}

/// What plays.
pub(super) struct Player {
    control: Control,
    feed: Feed,
    router: Router,
    events: broadcast::Receiver<Event>,
    ended: Vec<Answered>,
    /// Attacks that were over and found no room.
    pub(super) not_kept: u64,
    over_until: HashMap<Uuid, i64>,
    pub(super) busiest: Busiest,
    busiest_us: u64,
    /// After so long a silence changes nothing, where nothing is followed.
    silent_us: u64,
    check_us: u64,
    now: Moment,
    /// Of the last packet.
    played: Moment,
    burst_us: u64,
    next_tick_us: u64,
    next_service_us: u64,
    packets: u32,
}

impl Player {
    /// A daemon with this configuration, but for devices, engines and the disk, at the time of the first packet.
    pub(super) fn new(config: &Config, start: Moment) -> Result<Player, Error> {
        let networks = plan::dataplane(config, |_| false)?.networks;
        let reading = config.ports.first().map(|port| port.reading).unwrap_or_default();
        let layout = plan::layout(config);
        let (dataplane, feed) = dataplane::fed(layout, networks, reading)?;
        let map = plan::map(config, dataplane.networks.get())?;
        let mut settings = plan::settings(config);
        // Nothing leaves this process in any case.
        settings.limits.dry_run = false;
        let (events, heard) = broadcast::channel(EVENTS_MAX);
        let (wanted, told) = watch::channel(bgp::Told::default());
        let (report, reports) = watch::channel(bgp::Report::new(&bgp::Engine::new("replay", "", MARK)));
        let is_before_tap = config.detection.tap == Tap::BehindRouter;
        let router =
            Router { told, report, is_before_tap, discarding: Vec::new(), columns: Box::default(), discarded: 0 };
        let control = Control::new(Parts {
            dataplane,
            map,
            settings,
            whitelist: config.whitelist.clone(),
            guard: plan::guard(config),
            miner: config.miner,
            tap_per_second: config.tap_per_second,
            store: StoreHandle::nowhere(),
            samples: None,
            records: Vec::new(),
            pause: None,
            wanted,
            reports: vec![reports],
            ask_mitigator: watch::Sender::default(),
            mitigator: None,
            notify: Line::nowhere(),
            subscribers: Arc::default(),
            outbox: Kept::default(),
            events,
            requests: crossbeam::channel::never(),
            clock: Clock::Replay { mono_us: start.mono_us, wall_us: start.wall_us },
        });
        let (window_us, check_us) = (settings.window_ms * 1000, settings.check_period_ms * 1000);
        let settle_us = if layout.flow_ticks > 0 { SETTLE_FLOWS_US } else { SETTLE_US };
        Ok(Player {
            control,
            feed,
            router,
            events: heard,
            ended: Vec::new(),
            not_kept: 0,
            over_until: HashMap::new(),
            busiest: Busiest::default(),
            busiest_us: start.mono_us + BUSIEST_US,
            silent_us: window_us + settle_us,
            check_us,
            now: start,
            played: start,
            burst_us: start.mono_us,
            next_tick_us: start.mono_us + check_us,
            next_service_us: start.mono_us + SERVICE_US,
            packets: 0,
        })
    }

    /// A frame that came at this time.
    pub(super) fn play(&mut self, at: Moment, frame: &[u8], frame_len: u32) {
        self.go_to(at);
        if at.mono_us > self.burst_us.saturating_add(BURST_US) || self.packets == 0 {
            self.flush();
            self.burst_us = at.mono_us;
        }
        self.played = at;
        if self.router.discards(frame) {
            return;
        }
        self.packets += 1;
        if self.feed.push(frame, frame_len) {
            self.flush();
        }
        if self.packets >= SERVICE_PACKETS {
            self.service();
        }
    }

    /// Nothing more comes. What the last packets did shows at the next look; what is in a sample then is all there is.
    pub(super) fn end(&mut self) -> Vec<Seen> {
        self.go_to(self.moment(self.next_tick_us));
        self.busiest.look(&self.control);
        let open: Vec<Uuid> = self.control.attacks_alive().filter(|it| it.capture_is_open()).map(|it| it.id).collect();
        self.control.mine_open_captures();
        self.service();
        let cut = |id: &Uuid| open.contains(id);
        let alive = self.control.answers_alive();
        let mut seen: Vec<Seen> = std::mem::take(&mut self.ended)
            .into_iter()
            .chain(alive)
            .map(|answered| Seen {
                over_until_ms: self.over_until.get(&answered.record.id).copied(),
                sample_cut: cut(&answered.record.id),
                answered,
            })
            .collect();
        seen.sort_by_key(|seen| (seen.answered.record.detected_ms, seen.answered.record.id));
        seen
    }

    /// What an operator should know of it.
    pub(super) fn worries(&self) -> Vec<String> {
        self.control.worries()
    }

    /// What became of all packets.
    pub(super) fn kinds(&self) -> proto::v1::Kinds {
        crate::api::convert::kinds(self.control.workers().map(|shared| &shared.stats).collect::<Vec<_>>().into_iter())
    }

    /// Packets that held rules discarded before the tap.
    pub(super) fn discarded(&self) -> u64 {
        self.router.discarded
    }

    /// The moment at which the clock stands so, if no packet comes before.
    fn moment(&self, mono_us: u64) -> Moment {
        let ahead_us = mono_us.saturating_sub(self.played.mono_us);
        Moment { mono_us, wall_us: self.played.wall_us.saturating_add_unsigned(ahead_us) }
    }

    fn set_time(&mut self, now: Moment) {
        self.now = now;
        self.control.set_time(now.mono_us, now.wall_us);
    }

    fn flush(&mut self) {
        self.feed.flush(self.burst_us);
    }

    /// Has all looks done that are due up to a time.
    fn go_to(&mut self, to: Moment) {
        loop {
            let due_us = self.next_tick_us.min(self.next_service_us);
            if due_us > to.mono_us {
                break;
            }
            self.flush();
            self.set_time(self.moment(due_us));
            if due_us == self.next_tick_us {
                self.control.look_at_thresholds();
                self.note_what_is_over();
                if due_us >= self.busiest_us {
                    self.busiest.look(&self.control);
                    self.busiest_us = due_us + BUSIEST_US;
                }
                self.next_tick_us = self.tick_after(due_us, to.mono_us);
            }
            self.service();
            // In silence there are no samples.
            let is_silent = due_us > self.played.mono_us.saturating_add(2 * SERVICE_US);
            self.next_service_us = if is_silent { self.next_tick_us } else { due_us + SERVICE_US };
        }
        if to.mono_us > self.now.mono_us {
            self.set_time(to);
        }
    }

    /// When the thresholds are looked at next. In a silence that goes on until `until_us` that is less and less often, and no
    /// more once it changes nothing.
    fn tick_after(&self, now_us: u64, until_us: u64) -> u64 {
        let next = now_us + self.check_us;
        let silent_us = now_us.saturating_sub(self.played.mono_us);
        if silent_us <= self.silent_us {
            next
        } else if self.control.is_idle() {
            next.max(until_us)
        } else {
            next.max(now_us + silent_us.saturating_sub(LONG_SILENCE_US) / SELDOM)
        }
    }

    fn note_what_is_over(&mut self) {
        let now_ms = self.now.wall_us.div_euclid(1_000);
        for record in self.control.attacks_alive() {
            let over =
                |crossing: crate::record::Crossing| record.current.by(crossing.metric) > crossing.threshold as f64;
            if record.crossing.is_some_and(over) {
                self.over_until.insert(record.id, now_ms);
            }
        }
    }

    /// Samples, what the router says, and what was told.
    fn service(&mut self) {
        self.flush();
        self.packets = 0;
        self.control.look_at_samples();
        // What is held may make other rules wanted; those that are there already are not wanted again.
        while self.router.take() {
            self.control.look_at_samples();
        }
        while let Ok(event) = self.events.try_recv() {
            let Some(record) = event.attack.filter(|record| !record.state.is_alive()) else { continue };
            if self.ended.len() < ENDED_MAX {
                self.ended.push(Answered::from(Arc::unwrap_or_clone(record)));
            } else {
                self.not_kept += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::replay::pace::Pace;
    use crate::replay::setup;

    /// UDP from some reflector to a host of the network.
    fn frame(number: u64) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 203, 0, 113, number as u8, 198, 18, 78, 1]);
        frame.extend([0, 53, 4, number as u8, 0, 20, 0, 0]);
        frame.resize(60, 0);
        frame
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn whatever_stamps_and_frames_say_each_is_counted_once(
            floods in prop::collection::vec(
                (prop_oneof![any::<i64>(), -3_000_000..3_000_000i64, Just(i64::MAX), Just(i64::MIN)], 0..3_000u64, 1..500i64),
                1..12,
            ),
            garbage in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), any::<u32>()), 0..20),
        ) {
            let config = setup::config(&["198.18.78.0/24".parse().unwrap()], &[("udp_pps".to_owned(), 500)]).unwrap();
            let (mut pace, mut player, mut packets) = (Pace::default(), None, 0);
            for (stamp, count, apart_us) in floods {
                for number in 0..count {
                    let at = pace.at(stamp.saturating_add(number as i64 * apart_us));
                    let player = player.get_or_insert_with(|| Player::new(&config, at).unwrap());
                    player.play(at, &frame(number), 60);
                    packets += 1;
                    for (bytes, length) in garbage.iter().filter(|_| number == 0) {
                        player.play(at, bytes, *length % 10_000);
                        packets += 1;
                    }
                }
            }
            if let Some(mut player) = player {
                for seen in player.end() {
                    let record = &seen.answered.record;
                    prop_assert!(record.crossing.is_some() && record.peak.udp.pps > 500.0, "{record:?}");
                }
                let kinds = player.kinds();
                let all = [kinds.incoming, kinds.outgoing, kinds.internal, kinds.other, kinds.ignored, kinds.unparsed];
                prop_assert_eq!(all.iter().flatten().map(|count| count.packets).sum::<u64>(), packets);
            }
        }
    }
}
