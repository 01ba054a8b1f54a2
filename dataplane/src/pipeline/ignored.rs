//! Packets that a whitelist rule says to ignore: they leave their burst before anything is found or counted for them. A
//! burst comes here only where there are such rules.

use super::{Pipeline, Tally};
use crate::dpdk::BURST_MAX;
use crate::packet::{PlainUpper, Reading, network, parse};
use crate::rule::lanes::LANES;
use crate::rule::{Columns, RuleSet};
use crate::stats::Kind;

impl Pipeline {
    /// Looks at the packets of a burst that no rule says to ignore.
    #[inline(never)]
    pub(super) fn look_at_the_rest<'a>(
        &mut self,
        packets: impl ExactSizeIterator<Item = (&'a [u8], u32)> + Clone,
        bytes: u64,
        tick: u32,
        now: u64,
    ) {
        let Some(rules) = self.networks.load().ignored() else { return };
        let mut kept: [(&[u8], u32); BURST_MAX] = [(&[], 0); BURST_MAX];
        let mut places = kept.iter_mut();
        let mut ignored = Tally::default();
        let mut rest = packets.take(BURST_MAX);
        while rest.len() > 0 {
            let mut lanes = 0;
            for (packet, lane) in rest.clone().take(LANES).zip(0..) {
                lanes |= u64::from(put(&mut self.columns, lane, rules, self.reading, packet)) << lane;
            }
            let matched = rules.any(&mut self.columns, lanes);
            for (packet, lane) in rest.by_ref().take(LANES).zip(0..) {
                if matched >> lane & 1 != 0 {
                    ignored.add(packet.1);
                } else if let Some(place) = places.next() {
                    *place = packet;
                }
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

/// Puts a packet where rules look; says whether there is any: not where the frame counts as unparsed.
#[inline(always)]
fn put(
    columns: &mut Columns,
    lane: usize,
    rules: &RuleSet,
    reading: Reading,
    (frame, frame_len): (&[u8], u32),
) -> bool {
    if let (Some(_), Some(plain)) = (reading.plain(frame, frame_len), PlainUpper::of(frame)) {
        columns.put_plain(lane, &plain, rules.is_wide());
        return true;
    }
    let Ok(headers) = parse(frame) else { return false };
    columns.put(lane, &headers);
    network(frame).is_ok_and(|network| reading.check(frame, frame_len, network, headers.ip_length).is_ok())
}
