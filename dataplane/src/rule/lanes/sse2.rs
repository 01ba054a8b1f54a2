//! Eight or four values at once. `unsafe` stands here because these instructions are not safe to name where the whole function
//! is not said to need them; they read and write nothing but their arguments, and SSE2 is part of x86-64. Without them the
//! compiler makes six times as many instructions of a condition: it does not find the one that takes a bit of each value.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{BLOCK, Narrow, Wide};

#[inline(always)]
pub(super) fn narrow(values: &[u16; BLOCK], condition: &Narrow) -> u16 {
    let [mask, low, span] = [condition.mask, condition.low, condition.span].map(eight);
    // SAFETY: every x86-64 has SSE2.
    let half = |values: [u16; 8]| unsafe {
        let above = _mm_sub_epi16(_mm_and_si128(eight(values), mask), low);
        // Nothing is left of those within the span.
        _mm_cmpeq_epi16(_mm_subs_epu16(above, span), _mm_setzero_si128())
    };
    let [first, second] = halves(values).map(half);
    // SAFETY: as above.
    unsafe { _mm_movemask_epi8(_mm_packs_epi16(first, second)) as u16 }
}

#[inline(always)]
pub(super) fn wide(values: &[u32; BLOCK], condition: &Wide) -> u16 {
    let [mask, low, span] = [condition.mask, condition.low, condition.span].map(four);
    // There is only a signed comparison.
    // SAFETY: every x86-64 has SSE2.
    let signed = |value| unsafe { _mm_xor_si128(value, _mm_set1_epi32(i32::MIN)) };
    let quarter = |at| {
        let values = std::array::from_fn(|lane| values[at + lane]);
        // SAFETY: as above.
        unsafe { _mm_cmpgt_epi32(signed(_mm_sub_epi32(_mm_and_si128(four(values), mask), low)), signed(span)) }
    };
    let [a, b, c, d] = [0, 4, 8, 12].map(quarter);
    // SAFETY: as above.
    let beyond = unsafe { _mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d))) };
    !beyond as u16
}

/// Of so many lanes in all. Values less 2¹⁵ are signed, so that one instruction multiplies and adds up two of them.
#[inline(always)]
pub(super) fn sum<'a>(blocks: impl Iterator<Item = (&'a [u16; BLOCK], u16)>, count: u32) -> u64 {
    const MIDDLE: u64 = 1 << 15;
    let bits =
        [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15]].map(|lanes| eight(lanes.map(|lane| 1 << lane)));
    let add = |sum, (block, lanes): (&[u16; BLOCK], u16)| {
        // SAFETY: every x86-64 has SSE2.
        halves(block).into_iter().zip(bits).fold(sum, |sum, (values, bits)| unsafe {
            let values = _mm_xor_si128(eight(values), _mm_set1_epi16(i16::MIN));
            // Minus one in the lanes that count.
            let counts = _mm_cmpeq_epi16(_mm_and_si128(_mm_set1_epi16(lanes.cast_signed()), bits), bits);
            _mm_sub_epi32(sum, _mm_madd_epi16(values, counts))
        })
    };
    // SAFETY: as above.
    let sum = unsafe {
        let sums = blocks.fold(_mm_setzero_si128(), add);
        let sums = _mm_add_epi32(sums, _mm_unpackhi_epi64(sums, sums));
        _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_shuffle_epi32::<1>(sums)))
    };
    (MIDDLE * u64::from(count)).wrapping_add_signed(sum.into())
}

#[inline(always)]
fn halves(values: &[u16; BLOCK]) -> [[u16; 8]; 2] {
    [0, 8].map(|at| std::array::from_fn(|lane| values[at + lane]))
}

/// One load.
#[inline(always)]
fn eight(values: [u16; 8]) -> __m128i {
    let [a, b, c, d, e, f, g, h] = values.map(u16::cast_signed);
    // SAFETY: every x86-64 has SSE2.
    unsafe { _mm_setr_epi16(a, b, c, d, e, f, g, h) }
}

/// One load.
#[inline(always)]
fn four(values: [u32; 4]) -> __m128i {
    let [a, b, c, d] = values.map(u32::cast_signed);
    // SAFETY: every x86-64 has SSE2.
    unsafe { _mm_setr_epi32(a, b, c, d) }
}
