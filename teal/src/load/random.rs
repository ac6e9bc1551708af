//! Chance that a seed repeats: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.

/// A sequence of numbers that its seed determines.
pub(super) struct Random(u64);

impl Random {
    /// Returns the sequence of one worker.
    pub(super) fn new(seed: u64, worker: usize) -> Self {
        let mut mixed = Self(seed);
        let worker = u64::try_from(worker).unwrap_or(u64::MAX);
        Self(
            mixed
                .next()
                .wrapping_add(worker.wrapping_mul(0xd134_2543_de82_ef95)),
        )
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 up to, and without, 1.
    pub(super) fn fraction(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or(0);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns one of the choices, if there are any.
    pub(super) fn choose<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(choices.len())
            .ok()
            .filter(|count| *count > 0)?;
        choices.get(usize::try_from(self.next() % count).ok()?)
    }
}
