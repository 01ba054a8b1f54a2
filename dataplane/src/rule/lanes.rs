//! Up to 64 values side by side, and what vector instructions tell of them: which ones pass a condition, the sum of some.
//! Those that every x86-64 has; elsewhere the same, one value after another.

#[cfg(any(test, not(target_arch = "x86_64")))]
mod scalar;
#[cfg(target_arch = "x86_64")]
mod sse2;

#[cfg(not(target_arch = "x86_64"))]
use scalar as vector;
#[cfg(target_arch = "x86_64")]
use sse2 as vector;

/// Packets in one go: the bits of a word. A packet has a **lane** in each column, and its bit in a word of lanes.
pub const LANES: usize = 64;
/// Lanes that are tested together.
const BLOCK: usize = 16;

/// What a value must be: masked, one of so many from the lowest on. As vectors have it: the same in all of one's places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Condition<T, const N: usize> {
    /// Of which column.
    pub(super) column: usize,
    mask: [T; N],
    low: [T; N],
    /// The highest less the lowest.
    span: [T; N],
}

/// Of 16 bits.
pub(super) type Narrow = Condition<u16, 8>;
/// Of 32 bits.
pub(super) type Wide = Condition<u32, 4>;

impl<T: Copy, const N: usize> Condition<T, N> {
    pub(super) fn new(column: usize, mask: T, low: T, span: T) -> Condition<T, N> {
        Condition { column, mask: [mask; N], low: [low; N], span: [span; N] }
    }
}

impl Narrow {
    /// The lanes that pass, of those in the first so many blocks.
    #[inline(always)]
    pub(super) fn lanes(&self, column: &[u16; LANES], blocks: usize) -> u64 {
        join(column, blocks, |values| vector::narrow(values, self))
    }
}

impl Wide {
    /// The lanes that pass, of those in the first so many blocks.
    #[inline(always)]
    pub(super) fn lanes(&self, column: &[u32; LANES], blocks: usize) -> u64 {
        join(column, blocks, |values| vector::wide(values, self))
    }
}

/// Blocks that hold these lanes.
#[inline(always)]
pub(super) fn blocks(lanes: u64) -> usize {
    (LANES - lanes.leading_zeros() as usize).div_ceil(BLOCK)
}

#[inline(always)]
fn join<T>(column: &[T; LANES], blocks: usize, test: impl Fn(&[T; BLOCK]) -> u16) -> u64 {
    let (all, _) = column.as_chunks::<BLOCK>();
    let mut lanes = 0;
    for (at, block) in all.iter().take(blocks).enumerate() {
        lanes |= u64::from(test(block)) << (BLOCK * at);
    }
    lanes
}

/// The lanes in which this value stands.
#[inline(always)]
pub fn equal(column: &[u16; LANES], value: u16) -> u64 {
    Narrow::new(0, u16::MAX, value, 0).lanes(column, LANES / BLOCK)
}

/// The sum of what stands in these lanes.
#[inline(always)]
pub fn sum(column: &[u16; LANES], lanes: u64) -> u64 {
    let (all, _) = column.as_chunks::<BLOCK>();
    let summed = all.iter().take(blocks(lanes)).zip((0..).step_by(BLOCK));
    vector::sum(summed.map(|(block, at)| (block, (lanes >> at) as u16)), lanes.count_ones())
}

/// The numbers of these lanes, ascending.
#[inline(always)]
pub fn each(mut lanes: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = lanes.trailing_zeros() as usize;
        lanes &= lanes.wrapping_sub(1);
        (lane < LANES).then_some(lane)
    })
}

/// The first so many lanes.
#[inline(always)]
pub fn first(count: usize) -> u64 {
    1u64.checked_shl(count as u32).unwrap_or(0).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_of_lanes() {
        assert_eq!(each(0).count(), 0);
        assert_eq!(each(1 << 63 | 0b101).collect::<Vec<_>>(), [0, 2, 63]);
        assert_eq!([0, 1, 16, 63, 64].map(first), [0, 1, 0xffff, u64::MAX >> 1, u64::MAX]);
        assert_eq!([0, 1, 0xffff, 0x1_0000, u64::MAX].map(blocks), [0, 1, 1, 2, 4]);
    }

    /// Small ones, so that some pass and some are equal; and all others.
    fn value() -> impl Strategy<Value = u32> {
        prop_oneof![0..4_u32, (u32::MAX - 2)..=u32::MAX, 0x7ffe..0x8002_u32, any::<u32>()]
    }

    proptest! {
        #[test]
        fn vectors_tell_what_the_values_one_by_one_do(
            wide in prop::collection::vec(value(), LANES),
            (mask, low, span) in (prop_oneof![Just(u32::MAX), value()], value(), value()),
            lanes: u64,
        ) {
            let wide: [u32; LANES] = wide.try_into().unwrap();
            let narrow = wide.map(|value| value as u16);
            let number = |bools: [bool; LANES]| bools.iter().rev().fold(0u64, |all, &one| all << 1 | u64::from(one));
            let expected = number(wide.map(|value| (value & mask).wrapping_sub(low) <= span));
            prop_assert_eq!(Wide::new(0, mask, low, span).lanes(&wide, 4), expected);
            prop_assert_eq!(Wide::new(0, mask, low, span).lanes(&wide, 3), expected & first(48));
            prop_assert_eq!(join(&wide, 4, |block| scalar::wide(block, &Wide::new(0, mask, low, span))), expected);
            let (mask, low, span) = (mask as u16, low as u16, span as u16);
            let expected = number(narrow.map(|value| (value & mask).wrapping_sub(low) <= span));
            prop_assert_eq!(Narrow::new(0, mask, low, span).lanes(&narrow, 4), expected);
            prop_assert_eq!(join(&narrow, 4, |block| scalar::narrow(block, &Narrow::new(0, mask, low, span))), expected);
            let expected: u64 = each(lanes).map(|lane| u64::from(narrow[lane])).sum();
            prop_assert_eq!(sum(&narrow, lanes), expected);
            let blocks = narrow.as_chunks().0.iter().zip([0, 16, 32, 48]).map(|(block, at)| (block, (lanes >> at) as u16));
            prop_assert_eq!(scalar::sum(blocks, lanes.count_ones()), expected);
        }
    }
}
