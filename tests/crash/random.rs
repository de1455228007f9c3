//! Numbers from a seed, so that a round that failed can be run again.

/// `SplitMix64` (Steele, Lea, Flood 2014): small, and good enough to choose with.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Numbers that depend on all of `parts` and on nothing else.
    pub(crate) fn of(parts: &[u64]) -> Self {
        let mix = |hash: u64, part: &u64| Self(hash ^ *part).next();
        Self(parts.iter().fold(0x5bd1_e995, mix))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and `bound`, which is left out.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let n = usize::try_from(self.below(choices.len() as u64)).expect("an index");
        choices[n]
    }
}
