//! Small random numbers for choices that need no secrecy.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A xorshift64* generator (Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled", 2014). Not for secrets.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Returns a generator with a seed of its own.
    pub(crate) fn new() -> Self {
        Self(unpredictable() | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Returns a number below `bound`; 0 if `bound` is 0.
    fn below(&mut self, bound: usize) -> usize {
        // The high half times the bound, over 2^32: no modulo and no bias that matters here.
        let scaled = (self.next() >> 32) * (bound as u64);
        usize::try_from(scaled >> 32).unwrap_or(0)
    }

    /// Returns two numbers below `bound`, different ones if there are two; `None` if there is none.
    pub(crate) fn two_below(&mut self, bound: usize) -> Option<(usize, usize)> {
        match bound {
            0 => None,
            1 => Some((0, 0)),
            _ => {
                let first = self.below(bound);
                let step = 1 + self.below(bound - 1);
                Some((first, (first + step) % bound))
            }
        }
    }
}

/// Returns a number that differs from call to call and from process to process.
pub(crate) fn unpredictable() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_picks_differ_and_reach_every_index() {
        let mut random = Random::new();
        let mut seen = [0; 5];

        for _ in 0..1000 {
            let (first, second) = random.two_below(5).expect("there are five");
            assert_ne!(first, second);
            seen[first] += 1;
            seen[second] += 1;
        }

        assert!(seen.iter().all(|count| *count > 200), "{seen:?}");
        assert_eq!(random.two_below(1), Some((0, 0)));
        assert_eq!(random.two_below(0), None);
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(unpredictable(), unpredictable());
    }
}
