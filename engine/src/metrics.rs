//! What the engine counts and times, in the forms of Dropwizard's library, which Marathon uses.
//!
//! A meter's rates are exponentially weighted averages over 1, 5 and 15 minutes that are brought up
//! to date in ticks of five seconds (`com.codahale.metrics.EWMA`); a timer remembers its latest
//! measurements and tells their distribution. Nothing here knows a metric's name or prints.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often rates are brought up to date.
const TICK: Duration = Duration::from_secs(5);

/// How many measurements a timer remembers (the size of Dropwizard's reservoirs).
const SAMPLES_MAX: usize = 1028;

/// How often something happens.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    began: Instant,
    ticked: Instant,
    count: u64,
    since_tick: u64,
    rates: [Rate; 3],
}

/// Events a second, averaged over some minutes.
#[derive(Debug, Clone, Copy)]
struct Rate {
    minutes: f64,
    /// Nothing before the first tick.
    a_second: Option<f64>,
}

/// What a meter tells, in events a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) one_minute: f64,
    pub(crate) five_minutes: f64,
    pub(crate) fifteen_minutes: f64,
}

impl Meter {
    /// Returns a meter that has seen nothing.
    pub(crate) fn new(now: Instant) -> Self {
        let rate = |minutes| Rate {
            minutes,
            a_second: None,
        };
        Self {
            began: now,
            ticked: now,
            count: 0,
            since_tick: 0,
            rates: [rate(1.0), rate(5.0), rate(15.0)],
        }
    }

    /// Notes that it happened.
    pub(crate) fn mark(&mut self, now: Instant) {
        self.catch_up(now);
        self.count += 1;
        self.since_tick += 1;
    }

    /// Returns how often it happens.
    pub(crate) fn rates(&mut self, now: Instant) -> Rates {
        self.catch_up(now);
        let lived = now.duration_since(self.began).as_secs_f64();
        let rate = |at: usize| self.rates[at].a_second.unwrap_or(0.0);
        Rates {
            count: self.count,
            mean: if lived > 0.0 {
                as_number(self.count) / lived
            } else {
                0.0
            },
            one_minute: rate(0),
            five_minutes: rate(1),
            fifteen_minutes: rate(2),
        }
    }

    /// Does the ticks that have become due. A long quiet time is as many ticks of nothing, at once.
    fn catch_up(&mut self, now: Instant) {
        let ticks = now.duration_since(self.ticked).as_secs() / TICK.as_secs();
        if ticks == 0 {
            return;
        }
        let instant_rate = as_number(self.since_tick) / TICK.as_secs_f64();
        self.since_tick = 0;
        for rate in &mut self.rates {
            rate.tick(instant_rate);
            rate.fade(ticks - 1);
        }
        self.ticked += TICK * u32::try_from(ticks).unwrap_or(u32::MAX);
    }
}

impl Rate {
    fn tick(&mut self, instant_rate: f64) {
        self.a_second = Some(match self.a_second {
            None => instant_rate,
            Some(rate) => rate + (1.0 - self.decay()) * (instant_rate - rate),
        });
    }

    fn fade(&mut self, ticks: u64) {
        let left = self.decay().powf(as_number(ticks));
        self.a_second = self.a_second.map(|rate| rate * left);
    }

    fn decay(&self) -> f64 {
        (-TICK.as_secs_f64() / 60.0 / self.minutes).exp()
    }
}

/// How often something happens and how long it takes.
#[derive(Debug, Clone)]
pub(crate) struct Timer {
    meter: Meter,
    /// The latest, in seconds.
    samples: VecDeque<f64>,
}

/// How long it took, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) max: f64,
    pub(crate) stddev: f64,
    pub(crate) p50: f64,
    pub(crate) p75: f64,
    pub(crate) p95: f64,
    pub(crate) p98: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Timer {
    /// Returns a timer that has seen nothing.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            meter: Meter::new(now),
            samples: VecDeque::new(),
        }
    }

    /// Notes that it happened and took this long.
    pub(crate) fn record(&mut self, took: Duration, now: Instant) {
        self.meter.mark(now);
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(took.as_secs_f64());
    }

    /// Returns how often it happens.
    pub(crate) fn rates(&mut self, now: Instant) -> Rates {
        self.meter.rates(now)
    }

    /// Returns how long the latest took; zeros where there was none.
    pub(crate) fn distribution(&self) -> Distribution {
        let mut sorted: Vec<f64> = self.samples.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return Distribution::default();
        };
        let count = as_number(sorted.len() as u64);
        let mean = sorted.iter().sum::<f64>() / count;
        let squares = sorted.iter().map(|sample| (sample - mean).powi(2));
        let quantile = |share| quantile(&sorted, share);
        Distribution {
            min: *min,
            mean,
            max: *max,
            stddev: (squares.sum::<f64>() / count).sqrt(),
            p50: quantile(0.5),
            p75: quantile(0.75),
            p95: quantile(0.95),
            p98: quantile(0.98),
            p99: quantile(0.99),
            p999: quantile(0.999),
        }
    }
}

/// Returns the value that this share of the sorted samples does not exceed, between two of them
/// where it falls between (`com.codahale.metrics.UniformSnapshot.getValue`).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * as_number(sorted.len() as u64 + 1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a position among a thousand samples, not negative"
    )]
    let index = position as usize;
    match (
        index.checked_sub(1).and_then(|at| sorted.get(at)),
        sorted.get(index),
    ) {
        (Some(lower), Some(upper)) => lower + (position - position.floor()) * (upper - lower),
        (None, Some(first)) => *first,
        (_, None) => sorted.last().copied().unwrap_or_default(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^53, from where numbers lose their last digit"
)]
fn as_number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_told_and_fades_when_it_stops() {
        let began = Instant::now();
        let mut meter = Meter::new(began);
        for second in 0..600 {
            meter.mark(began + Duration::from_secs(second));
        }

        let steady = meter.rates(began + Duration::from_secs(600));
        let quiet = meter.rates(began + Duration::from_secs(660));

        assert_eq!(steady.count, 600);
        assert!((steady.mean - 1.0).abs() < 0.01, "{steady:?}");
        assert!((steady.one_minute - 1.0).abs() < 0.01, "{steady:?}");
        assert!(
            (quiet.one_minute - (-1.0_f64).exp()).abs() < 0.05,
            "{quiet:?}"
        );
        assert!(quiet.fifteen_minutes > 0.9, "{quiet:?}");
    }

    #[test]
    fn a_distribution_is_that_of_the_latest() {
        let began = Instant::now();
        let mut timer = Timer::new(began);
        for _ in 0..10 {
            timer.record(Duration::from_secs(1000), began);
        }
        for sample in 0..1028_u64 {
            timer.record(Duration::from_secs(sample % 100), began);
        }

        let told = timer.distribution();

        assert_eq!((told.min, told.max), (0.0, 99.0));
        assert!((told.p50 - 49.0).abs() <= 1.0, "{told:?}");
        assert!((told.p99 - 98.0).abs() <= 1.0, "{told:?}");
        assert_eq!(timer.rates(began).count, 1038);
        assert_eq!(Timer::new(began).distribution(), Distribution::default());
    }
}
