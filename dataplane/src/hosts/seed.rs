//! The seeded hash: who chooses addresses and ports cannot choose what they hash to.

/// Two secret words, and what the second multiplication multiplies with.
#[derive(Debug)]
pub(crate) struct Seed([u64; 3]);

impl Seed {
    /// Of all workers the same.
    pub(crate) fn new(seed: [u64; 2]) -> Seed {
        let [one, other] = seed.map(|word| word | 1);
        Seed([one, other, one ^ 0x9e37_79b9_7f4a_7c15])
    }

    /// Two folded multiplications.
    #[inline(always)]
    pub(crate) fn hash(&self, a: u64, b: u64) -> u64 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            (product >> 64) as u64 ^ product as u64
        };
        fold(fold(a ^ self.0[0], b ^ self.0[1]) ^ self.0[1], self.0[2])
    }

    /// What nobody outside can guess.
    pub(super) fn secret(&self) -> u64 {
        self.0[0]
    }
}
