//! Random draws from a seed. The generator is written out here so that a seed means the same traffic with every version of every crate.

/// xoshiro256++, seeded by splitmix64.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

/// A well-mixed number from another one.
pub fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Rng {
    /// Draws for one purpose: other purposes of the same seed draw independently.
    pub fn new(seed: u64, purpose: &str) -> Rng {
        let named = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mut state = mix(seed) ^ named;
        Rng(std::array::from_fn(|_| {
            state = mix(state);
            state
        }))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// From 0 up to 1, without 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number within the bounds, which both belong to it.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + ((u128::from(self.bits()) * u128::from(high - low + 1)) >> 64) as u64
    }

    /// The same for ports and lengths.
    pub fn between16(&mut self, low: u16, high: u16) -> u16 {
        self.between(low.into(), high.into()) as u16
    }

    /// Whether something happens that happens with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// How long until the next event, where events come at random.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Bell-shaped about the mean, cut off at the bounds.
    pub fn bell(&mut self, mean: f64, deviation: f64, low: u16, high: u16) -> u16 {
        let sum: f64 = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        (mean + sum * deviation).clamp(low.into(), high.into()) as u16
    }

    /// One of them, each as likely.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u64 - 1) as usize]
    }

    /// One of them, as likely as its weight says.
    pub fn weighted<T: Copy>(&mut self, of: &[(f64, T)]) -> T {
        let mut left = self.unit() * of.iter().map(|(weight, _)| weight).sum::<f64>();
        for &(weight, value) in of {
            left -= weight;
            if left < 0.0 {
                return value;
            }
        }
        of[of.len() - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_purpose_say_everything() {
        let draw = |seed, purpose| {
            let mut rng = Rng::new(seed, purpose);
            [rng.bits(), rng.bits()]
        };
        assert_eq!(draw(1, "sample"), draw(1, "sample"));
        assert_ne!(draw(1, "sample"), draw(2, "sample"));
        assert_ne!(draw(1, "sample"), draw(1, "judge"));
        assert_eq!(Rng::new(7, "pinned").between(0, 999_999), 137_175, "seeds mean the same traffic for ever");
    }

    #[test]
    fn draws_keep_to_their_bounds_and_weights() {
        let mut rng = Rng::new(3, "bounds");
        let drawn: Vec<u64> = (0..10_000).map(|_| rng.between(5, 8)).collect();
        for value in 5..=8 {
            let count = drawn.iter().filter(|&&drawn| drawn == value).count();
            assert!((2_300..2_700).contains(&count), "{value}: {count}");
        }
        let heavy = (0..10_000).filter(|_| rng.weighted(&[(9.0, true), (1.0, false)])).count();
        assert!((8_800..9_200).contains(&heavy), "{heavy}");
        let mean = (0..10_000).map(|_| rng.exponential(4.0)).sum::<f64>() / 10_000.0;
        assert!((3.8..4.2).contains(&mean), "{mean}");
    }
}
