//! Medians and spread, and ratios between servers that took turns.

use std::fmt;

/// The middle of some values, the least and the most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// `None` without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, least, most })
    }

    /// The ratios of values to those of the same round.
    pub fn of_ratios(values: &[f64], to: &[f64]) -> Option<Self> {
        Self::of(values.iter().zip(to).map(|(value, to)| value / to))
    }
}

/// Such as `1.04 (1.03-1.06)`, with as many digits as there are to be.
impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = out.precision().unwrap_or(2);
        let Self { median, least, most } = self;
        if least == most {
            return write!(out, "{median:.digits$}");
        }
        write!(out, "{median:.digits$} ({least:.digits$}-{most:.digits$})")
    }
}

#[test]
fn the_middle_of_odd_and_even() {
    let spread = |values: &[f64]| Spread::of(values.iter().copied());
    assert_eq!(spread(&[]), None);
    assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
    assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
    assert_eq!(
        Spread::of_ratios(&[2.0, 6.0], &[1.0, 2.0]).map(|spread| spread.to_string()),
        Some("2.50 (2.00-3.00)".into())
    );
}
