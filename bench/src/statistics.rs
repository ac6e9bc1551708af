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

/// Returns how a figure grows with a size: the slope of the line through the logarithms that is off by the least squares. 1
/// is in proportion, 2 with the square, 0 not at all; not a number with fewer than two sizes.
pub(crate) fn growth(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points
        .iter()
        .map(|(size, figure)| (size.ln(), figure.ln()))
        .collect();
    let count: f64 = logs.iter().map(|_| 1.0).sum();
    let mean = |part: fn(&(f64, f64)) -> f64| logs.iter().map(part).sum::<f64>() / count;
    let (x, y) = (mean(|log| log.0), mean(|log| log.1));
    let rise: f64 = logs.iter().map(|log| (log.0 - x) * (log.1 - y)).sum();
    let run: f64 = logs.iter().map(|log| (log.0 - x).powi(2)).sum();
    rise / run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_doubles_with_the_size_grows_by_one_and_what_quadruples_by_two() {
        let sizes = [100.0, 300.0, 1000.0, 10_000.0];
        let grown = |figure: fn(f64) -> f64| growth(&sizes.map(|size| (size, figure(size))));

        assert!((grown(|size| 7.0 * size) - 1.0).abs() < 1e-9);
        assert!((grown(|size| 0.1 * size * size) - 2.0).abs() < 1e-9);
        assert!(grown(|_| 5.0).abs() < 1e-9);
        assert!(growth(&[(100.0, 1.0)]).is_nan());
    }

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
