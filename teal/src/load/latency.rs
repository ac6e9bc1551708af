//! Latencies in a histogram of fixed size: 16 buckets for each doubling, so what is read from it
//! is at most one sixteenth too high.

use std::time::Duration;

const PER_DOUBLING_BITS: u32 = 4;
const PER_DOUBLING: u64 = 1 << PER_DOUBLING_BITS;
const BUCKETS: usize = ((64 - PER_DOUBLING_BITS as usize) + 1) << PER_DOUBLING_BITS;

/// What plain requests took, in microseconds. All zero when there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Latency {
    /// Half took no longer.
    pub(crate) p50_us: u64,
    /// 99 of 100 took no longer.
    pub(crate) p99_us: u64,
    /// The longest.
    pub(crate) max_us: u64,
}

/// Counts of latencies.
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            max_us: 0,
        }
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn summary(&self) -> Latency {
        Latency {
            p50_us: self.quantile(50),
            p99_us: self.quantile(99),
            max_us: self.max_us,
        }
    }

    fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, |index| highest(index).min(self.max_us))
    }
}

fn bucket(us: u64) -> usize {
    let shift = us
        .checked_ilog2()
        .unwrap_or(0)
        .saturating_sub(PER_DOUBLING_BITS);
    let index = (u64::from(shift) << PER_DOUBLING_BITS) + (us >> shift);
    usize::try_from(index)
        .unwrap_or(BUCKETS - 1)
        .min(BUCKETS - 1)
}

/// Returns the highest latency that a bucket counts.
fn highest(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    if index < 2 * PER_DOUBLING {
        return index;
    }
    let shift = (index >> PER_DOUBLING_BITS) - 1;
    let mantissa = PER_DOUBLING + index % PER_DOUBLING;
    ((u128::from(mantissa + 1) << shift) - 1)
        .try_into()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_falls_into_a_bucket_that_reads_at_most_a_sixteenth_too_high() {
        let doublings = (0..64).map(|bit| 1_u64 << bit);
        let around = doublings.flat_map(|us| [us - 1, us, us + us / 3, us + (us - 1)]);

        for us in around.chain(0..5_000).chain([u64::MAX]) {
            let read = highest(bucket(us));
            assert!(read >= us && read - us <= us / 16, "{us} is read as {read}");
        }
    }

    #[test]
    fn quantiles_are_ranks() {
        let mut histogram = Histogram::new();
        for us in 1..=100 {
            histogram.record(Duration::from_micros(us));
        }

        let Latency {
            p50_us,
            p99_us,
            max_us,
        } = histogram.summary();

        assert!((50..=53).contains(&p50_us), "{p50_us}");
        assert!((99..=100).contains(&p99_us), "{p99_us}");
        assert_eq!(max_us, 100);
    }

    #[test]
    fn nothing_recorded_reads_as_zero() {
        assert_eq!(Histogram::new().summary(), Latency::default());
    }
}
