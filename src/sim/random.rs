//! The only source of chance in a simulation.

use std::time::Duration;

/// A small generator of pseudo-random numbers (SplitMix64): the same seed gives the same numbers, on every machine.
///
/// ```
/// use sluicegate::sim::Random;
///
/// let (mut one, mut same) = (Random::new(7), Random::new(7));
/// assert_eq!(one.below(1000), same.below(1000));
/// ```
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The bias of the modulus is far below what a simulation could notice.
        if end == 0 { 0 } else { (self.next_u64() % end as u64) as usize }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `per_mille` of 1000 calls.
    pub fn chance(&mut self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }

    /// A duration from zero to `max`, both included, in whole microseconds.
    pub fn duration(&mut self, max: Duration) -> Duration {
        Duration::from_micros(self.between(0, max.as_micros() as usize) as u64)
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// `length` random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next_u64() as u8).collect()
    }

    /// A generator of its own, for a part of the simulation whose draws must not disturb the others.
    pub fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_in_its_range_and_reaches_both_ends() {
        let mut random = Random::new(1);
        let drawn: Vec<_> = (0..200).map(|_| random.between(3, 5)).collect();
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        assert!(drawn.contains(&3) && drawn.contains(&5));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn a_fork_has_numbers_of_its_own() {
        let mut random = Random::new(1);
        let mut fork = random.fork();
        assert_ne!(random.next_u64(), fork.next_u64());
    }
}
