//! Large memory that is there when a worker touches it: huge pages where there are any, pre-faulted by the thread that
//! makes it, so that first touch puts it on that thread's NUMA node.

use std::arch::asm;
use std::arch::x86_64::{
    __m128i, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_movemask_ps, _mm_packs_epi16, _mm_packs_epi32, _mm_set_epi64x,
    _mm_set1_epi32,
};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Error;

/// Every [`Memory`] takes a multiple of this.
pub const HUGE_PAGE: usize = 2 << 20;

/// What pages a [`Memory`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Huge pages reserved by the operator.
    HugePages,
    /// Ordinary pages; the kernel was asked to make them huge.
    Pages,
}

/// A fixed array in its own mapping, written once at creation, so that no later access faults.
#[derive(Debug)]
pub struct Memory<T> {
    start: NonNull<T>,
    len: usize,
    mapped: usize,
    backing: Backing,
}

// SAFETY: owns its mapping as a Box owns its heap memory.
unsafe impl<T: Send> Send for Memory<T> {}
// SAFETY: only shared references to T are handed out.
unsafe impl<T: Sync> Sync for Memory<T> {}

impl<T> Memory<T> {
    /// `len` values made by `T::default()`; `what` names them in the error.
    ///
    /// # Errors
    /// [`Error::Memory`] when the system has not that much.
    pub fn new(what: &'static str, len: usize) -> Result<Memory<T>, Error>
    where
        T: Default,
    {
        const { assert!(!std::mem::needs_drop::<T>() && align_of::<T>() <= 4096 && size_of::<T>() > 0) };
        let bytes = len.max(1) * size_of::<T>();
        let (start, mapped, backing) = map(bytes).map_err(|reason| Error::Memory { what, bytes, reason })?;
        let start = start.cast::<T>();
        for index in 0..len {
            // SAFETY: index is below len, and the mapping holds len values, aligned to a page.
            unsafe { start.add(index).write(T::default()) };
        }
        Ok(Memory { start, len, mapped, backing })
    }

    /// As an array of known length, for indices that need no check.
    #[inline(always)]
    pub fn as_array<const N: usize>(&self) -> Option<&[T; N]> {
        self.first_chunk()
    }

    /// Asks the CPU to fetch the cache line of value `index`. A hint, so that an index beyond the end does nothing.
    #[inline(always)]
    pub fn prefetch(&self, index: usize) {
        // SAFETY: the pointer is made without a claim to what it points to, and a prefetch never faults.
        unsafe {
            let place = self.start.as_ptr().wrapping_add(index).cast_const().cast();
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(place);
        }
    }

    /// What pages it got.
    pub fn backing(&self) -> Backing {
        self.backing
    }
}

fn map(bytes: usize) -> std::io::Result<(NonNull<u8>, usize, Backing)> {
    let huge = bytes.next_multiple_of(HUGE_PAGE);
    // Rounding a small table up to a huge page would waste what the operator reserved.
    if bytes >= HUGE_PAGE / 2
        && let Ok(start) = mmap(huge, libc::MAP_HUGETLB | libc::MAP_POPULATE)
    {
        return Ok((start, huge, Backing::HugePages));
    }
    let start = mmap(huge, 0)?;
    // Miri knows no such advice.
    if cfg!(not(miri)) {
        // SAFETY: the range was mapped just now; advice that the kernel does not know is refused without effect.
        unsafe { libc::madvise(start.as_ptr().cast(), huge, libc::MADV_HUGEPAGE) };
    }
    Ok((start, huge, Backing::Pages))
}

fn mmap(bytes: usize, flags: i32) -> std::io::Result<NonNull<u8>> {
    // SAFETY: a new anonymous mapping; nothing existing is touched.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| std::io::Error::other("mmap gave address 0"))
}

impl<T> Deref for Memory<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: len values were written at creation, and live until the mapping goes in drop.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference outlives self. T needs no drop (asserted at creation).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

/// Asks the CPU to fetch the cache line where `value` starts.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    // SAFETY: a hint; it never faults.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(value).cast())
    };
}

/// Which of four pairs of words are this pair: a bit for each. All are compared at once: half the instructions of four comparisons.
#[inline(always)]
pub fn which_of(pairs: &[[AtomicU64; 2]; 4], pair: [u64; 2]) -> u32 {
    if cfg!(miri) {
        let is_pair = |at: usize| pairs[at].each_ref().map(|word| word.load(Ordering::Relaxed)) == pair;
        return (0..4).fold(0, |bits, at| bits | u32::from(is_pair(at)) << at);
    }
    let (a, b, c, d): (__m128i, __m128i, __m128i, __m128i);
    // SAFETY: reads the four pairs and changes nothing. It is in assembly because a compiler must take a plain load of an
    // atomic for a race; to the processor these are eight relaxed loads, since no half of a vector load is ever torn.
    unsafe {
        asm!(
            "movdqu {a}, [{pairs}]",
            "movdqu {b}, [{pairs} + 16]",
            "movdqu {c}, [{pairs} + 32]",
            "movdqu {d}, [{pairs} + 48]",
            pairs = in(reg) pairs.as_ptr(),
            a = lateout(xmm_reg) a,
            b = lateout(xmm_reg) b,
            c = lateout(xmm_reg) c,
            d = lateout(xmm_reg) d,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    // SAFETY: every x86-64 has SSE2, and nothing here touches memory.
    unsafe {
        let pair = _mm_set_epi64x(pair[1].cast_signed(), pair[0].cast_signed());
        let [a, b, c, d] = [a, b, c, d].map(|found| _mm_cmpeq_epi32(found, pair));
        // A byte for each 32 bits, four for each pair.
        let same = _mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
        _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(same, _mm_set1_epi32(-1)))).cast_unsigned()
    }
}
