//! An attack's capture from the wish for one to its end: it waits for a place, is open, is closed. Pure.

use super::{Attack, Turn};
use crate::attack::{Kind, Metric, Unit};
use crate::detector::window::History;
use crate::detector::{CaptureRequest, Effect, EventKind};
use crate::record::{CaptureRecord, Counts};

/// A capture should span about this much traffic, not one burst of one queue.
const SPAN_SECONDS: f64 = 0.05;
/// A capture of one kind of traffic takes more packets than it keeps; up to so many times as many a second as one of everything.
const SPECIFIC_EXTRA: f64 = 10.0;

impl Attack {
    pub(super) fn want_capture(&mut self, turn: &Turn) {
        if self.record.whitelisted.is_some() {
            return;
        }
        self.record.capture = Some(CaptureRecord {
            opened_ms: turn.now.wall_ms,
            wanted: turn.settings.capture_packets,
            counts: Counts::default(),
            open: true,
            waiting: false,
        });
        self.capture_since = None;
    }

    /// Whether it wants a capture that has no place yet.
    pub(in crate::detector) fn waits_for_capture(&self) -> bool {
        self.record.state.is_alive() && self.record.capture_is_open() && self.capture_since.is_none()
    }

    /// Whether its capture has a place.
    pub(in crate::detector) fn has_open_capture(&self) -> bool {
        self.record.capture_is_open() && self.capture_since.is_some()
    }

    /// There is a place for its capture.
    pub(in crate::detector) fn open_capture(&mut self, turn: &mut Turn, history: &History) {
        self.want_capture(turn);
        self.capture_since = Some(turn.mono());
        let wanted = turn.settings.capture_packets;
        let crossed = self.record.crossing.map(|crossing| crossing.metric.kind);
        let only = crossed.filter(|_| turn.settings.threshold_specific_ban_details);
        let (rest, seconds) = history.latest_rest();
        let in_span = |kind| rest.of(Metric { kind, unit: Unit::Pps }) / seconds.max(1e-6) * SPAN_SECONDS;
        let stride = |kind| in_span(kind) / wanted.max(1) as f64;
        let of_all = stride(Kind::Total);
        let stride = only.map_or(of_all, |kind| stride(kind).max(of_all / SPECIFIC_EXTRA)).max(1.0) as u32;
        let request = CaptureRequest { attack: self.record.id, target: self.record.target, wanted, stride, only };
        turn.effects.push(Effect::OpenCapture(request));
    }

    /// There is none: it waits, and says so once.
    pub(in crate::detector) fn wait_for_capture(&mut self, turn: &mut Turn) {
        let Some(capture) = self.record.capture.as_mut().filter(|capture| !capture.waiting) else { return };
        capture.waiting = true;
        let (target, most) = (self.record.target, turn.settings.captures_max);
        self.tell(turn, EventKind::Waiting, format!("the capture of {target} waits: {most} captures are open"));
    }

    pub(super) fn close_capture(&mut self, turn: &mut Turn) {
        if let Some(capture) = self.record.capture.as_mut().filter(|capture| capture.open) {
            capture.open = false;
            capture.waiting = false;
            turn.effects.push(Effect::CloseCapture { attack: self.record.id, mine: false });
        }
        self.capture_since = None;
    }
}
