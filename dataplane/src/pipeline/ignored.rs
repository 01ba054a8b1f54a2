//! Packets that a whitelist rule says to ignore: they leave their burst before anything is found or counted for them. A
//! burst comes here only where there are such rules.

use super::{Pipeline, Tally};
use crate::dpdk::BURST_MAX;
use crate::packet::{Reading, network, parse};
use crate::rule::RuleSet;
use crate::stats::Kind;

impl Pipeline {
    /// Looks at the packets of a burst that no rule says to ignore.
    #[inline(never)]
    pub(super) fn look_at_the_rest<'a>(
        &mut self,
        packets: impl Iterator<Item = (&'a [u8], u32)>,
        bytes: u64,
        tick: u32,
        now: u64,
    ) {
        let Some(rules) = self.networks.load().ignored() else { return };
        let mut kept: [(&[u8], u32); BURST_MAX] = [(&[], 0); BURST_MAX];
        let mut places = kept.iter_mut();
        let mut ignored = Tally::default();
        for packet in packets.take(BURST_MAX) {
            if is_ignored(rules, self.reading, packet) {
                ignored.add(packet.1);
            } else if let Some(place) = places.next() {
                *place = packet;
            }
        }
        let length = BURST_MAX - places.len();
        let stats = &self.shared.stats;
        stats.packets[Kind::Ignored as usize].add(ignored.packets);
        stats.bytes[Kind::Ignored as usize].add(ignored.bytes);
        let kept = kept.get(..length).unwrap_or_default();
        self.look_at(kept.iter().copied(), bytes.saturating_sub(ignored.bytes), tick, now);
    }
}

/// Whether a rule matches; never where the frame counts as unparsed.
#[inline(always)]
fn is_ignored(rules: &RuleSet, reading: Reading, (frame, frame_len): (&[u8], u32)) -> bool {
    if let Some(plain) = reading.plain(frame, frame_len) {
        return rules.matching_plain(&plain, plain.class()) != 0;
    }
    let Ok(headers) = parse(frame) else { return false };
    rules.matching(&headers) != 0
        && network(frame).is_ok_and(|network| reading.check(frame, frame_len, network, headers.ip_length).is_ok())
}
