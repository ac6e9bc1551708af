//! Medians and spread: what is said of figures that other work on the machine disturbs.

use serde_json::{Value, json};

/// The figures of several rounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Adds the figure of a round.
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// Returns them, in the order they came.
    pub(crate) fn figures(&self) -> impl Iterator<Item = f64> {
        self.0.iter().copied()
    }

    /// Returns the middle one, or the mean of the middle two; not a number if there are none.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// Returns the least; infinite if there are none.
    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Returns the greatest; infinite if there are none.
    pub(crate) fn greatest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Returns the ratios to another sample, round by round: what disturbed a round disturbed both.
    pub(crate) fn ratios(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(a, b)| a / b).collect())
    }

    /// Returns `median [least-greatest]`.
    pub(crate) fn text(&self, decimals: usize) -> String {
        format!(
            "{:.decimals$} [{:.decimals$}-{:.decimals$}]",
            self.median(),
            self.least(),
            self.greatest()
        )
    }

    /// Returns all of it for the JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "median": self.median(),
            "least": self.least(),
            "greatest": self.greatest(),
            "rounds": self.0,
        })
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// Returns the value that a share of the sorted values does not exceed; 0 if there are none.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a length is an index"
    )]
    let index = (sorted.len() as f64 * share).ceil() as usize;
    let index = index.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let sample: Sample = [4.0, 1.0, 3.0, 2.0].into_iter().collect();

        let median = sample.median();

        assert!((median - 2.5).abs() < 1e-9, "{median}");
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ours: Sample = [10.0, 30.0, 20.0].into_iter().collect();
        let theirs: Sample = [10.0, 20.0, 40.0].into_iter().collect();

        let ratios = ours.ratios(&theirs);

        assert_eq!(ratios.0, [1.0, 1.5, 0.5]);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted: Vec<u64> = (1..=200).collect();

        assert_eq!(percentile(&sorted, 0.5), 100);
        assert_eq!(percentile(&sorted, 0.99), 198);
        assert_eq!(percentile(&sorted, 1.0), 200);
        assert_eq!(percentile(&[], 0.5), 0);
    }
}
