//! One value after another.

use super::{BLOCK, Narrow, Wide};

#[inline(always)]
pub(super) fn narrow(values: &[u16; BLOCK], condition: &Narrow) -> u16 {
    let &Narrow { mask: [mask, ..], low: [low, ..], span: [span, ..], .. } = condition;
    bits(values.map(|value| (value & mask).wrapping_sub(low) <= span))
}

#[inline(always)]
pub(super) fn wide(values: &[u32; BLOCK], condition: &Wide) -> u16 {
    let &Wide { mask: [mask, ..], low: [low, ..], span: [span, ..], .. } = condition;
    bits(values.map(|value| (value & mask).wrapping_sub(low) <= span))
}

#[inline(always)]
pub(super) fn sum<'a>(blocks: impl Iterator<Item = (&'a [u16; BLOCK], u16)>, _count: u32) -> u64 {
    let sum = |(block, lanes): (&[u16; BLOCK], u16)| {
        let values = block.iter().zip(0..).map(|(&value, lane)| u64::from(value) * u64::from(lanes >> lane & 1));
        values.sum::<u64>()
    };
    blocks.map(sum).sum()
}

#[inline(always)]
fn bits(passed: [bool; BLOCK]) -> u16 {
    passed.iter().zip(0..).fold(0, |lanes, (&passed, lane)| lanes | u16::from(passed) << lane)
}
