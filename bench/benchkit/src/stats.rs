//! Summaries of samples. Unit: whatever the samples are in (the tools use milliseconds).

use serde_json::{Value, json};

/// Percentile by nearest rank of a sorted slice; NaN when empty.
pub fn percentile(sorted: &[f64], p: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let rank = (p / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// n, min, p50, p90, p99, max and mean.
pub fn summary(mut samples: Vec<f64>) -> Value {
    samples.sort_by(f64::total_cmp);
    if samples.is_empty() {
        return json!({ "n": 0 });
    }
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    json!({
        "n": samples.len(),
        "min": round(samples[0]),
        "p50": round(percentile(&samples, 50.0)),
        "p90": round(percentile(&samples, 90.0)),
        "p99": round(percentile(&samples, 99.0)),
        "max": round(samples[samples.len() - 1]),
        "mean": round(mean),
    })
}

/// Four decimal places: enough for sub-microsecond in milliseconds.
pub fn round(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

/// A small deterministic generator, so that two runs pick the same objects.
pub struct Lcg(pub u64);

impl Lcg {
    /// The next number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_nearest_rank() {
        let xs: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&xs, 50.0), 50.0);
        assert_eq!(percentile(&xs, 99.0), 99.0);
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
        assert!(percentile(&[], 50.0).is_nan());
    }
}
