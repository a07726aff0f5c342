//! A number of each round, and what is said of all of them.

/// One number of each round, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers(pub Vec<f64>);

impl Numbers {
    /// The middle one; of an even number, the mean of the middle two.
    pub fn median(&self) -> Option<f64> {
        let mut numbers = self.0.clone();
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        let upper = *numbers.get(middle)?;
        Some(if numbers.len() % 2 == 1 { upper } else { (numbers[middle - 1] + upper) / 2.0 })
    }

    pub fn most(&self) -> Option<f64> {
        self.0.iter().copied().max_by(f64::total_cmp)
    }

    /// The least and the most.
    pub fn spread(&self, decimals: usize) -> String {
        let least = self.0.iter().copied().min_by(f64::total_cmp);
        least.zip(self.most()).map_or(String::new(), |(least, most)| format!("{least:.decimals$}-{most:.decimals$}"))
    }

    /// The ratio in each round that both have, so that what disturbs the machine for a while disturbs both. Where the
    /// other has one round only, that is compared with all.
    pub fn ratio_to(&self, other: &Self) -> Self {
        let again = if other.0.len() == 1 { self.0.len() } else { 1 };
        let others = other.0.repeat(again);
        Self(self.0.iter().zip(others).map(|(one, other)| one / other).collect())
    }

    /// The larger of two in each round.
    pub fn larger(&self, other: &Self) -> Self {
        let rounds = self.0.len().max(other.0.len());
        let both = |round: usize| [self, other].into_iter().filter_map(move |one| one.0.get(round).copied());
        Self((0..rounds).filter_map(|round| both(round).max_by(f64::total_cmp)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let (calm, slow_round) = (Numbers(vec![2.0, 20.0, 2.0]), Numbers(vec![1.0, 10.0, 4.0]));
        let ratio = calm.ratio_to(&slow_round);
        assert_eq!(ratio, Numbers(vec![2.0, 2.0, 0.5]));
        assert_eq!((ratio.median(), ratio.spread(1)), (Some(2.0), "0.5-2.0".into()));
        assert_eq!(calm.ratio_to(&Numbers(vec![2.0])), Numbers(vec![1.0, 10.0, 1.0]), "one round for all");
        assert_eq!(
            calm.ratio_to(&Numbers(vec![2.0, 5.0])),
            Numbers(vec![1.0, 4.0]),
            "the third round has nothing beside it"
        );
        assert_eq!(calm.ratio_to(&Numbers(vec![])).median(), None, "with nothing to compare there is no ratio");
    }

    #[test]
    fn the_middle_of_odd_and_even() {
        let median = |numbers: &[f64]| Numbers(numbers.to_vec()).median();
        assert_eq!([median(&[]), median(&[3.0, 1.0, 2.0])], [None, Some(2.0)]);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5), "as benches/compare.sh has it");
    }

    #[test]
    fn the_better_is_chosen_in_each_round() {
        let better = Numbers(vec![1.0, 5.0]).larger(&Numbers(vec![3.0]));
        assert_eq!((better.most(), better), (Some(5.0), Numbers(vec![3.0, 5.0])));
    }
}
