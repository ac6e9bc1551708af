//! Chance that can be repeated: everything that is drawn follows from a seed.

use teal_core::Span;

/// Marsaglia's xorshift with 64 bits ("Xorshift RNGs", 2003), started by a step of splitmix so that near seeds differ.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Returns what follows from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self((mixed ^ (mixed >> 31)).max(1))
    }

    /// Draws any number but zero.
    pub const fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Draws a number below a limit; zero when the limit is.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.any() % limit.max(1)
    }

    /// Draws a span, in milliseconds of `from..=to`.
    pub fn span(&mut self, from: u64, to: u64) -> Span {
        Span(from + self.below(to.saturating_sub(from) + 1))
    }

    /// Tells whether something happens that happens so often out of a thousand times.
    pub fn happens(&mut self, per_thousand: u32) -> bool {
        self.below(1000) < u64::from(per_thousand)
    }

    /// Draws one of several; None when there are none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(all.len() as u64)).ok()?;
        all.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_the_next_one_something_else() {
        let drawn = |seed| {
            let mut chance = Chance::new(seed);
            (0..20).map(|_| chance.below(1000)).collect::<Vec<_>>()
        };

        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        let mut chance = Chance::new(1);

        assert_eq!(chance.one_of::<u8>(&[]), None);
        assert_eq!(chance.span(5, 5), Span(5));
        assert!(!chance.happens(0));
    }
}
