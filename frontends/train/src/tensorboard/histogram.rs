//! How numbers are distributed, in buckets.

use super::events::HistogramProto;

/// The number of buckets that the numbers lie in; TensorBoard shows 30 by default.
const BUCKETS: usize = 64;

/// The finite numbers among these, in buckets of one width.
pub(super) fn of(numbers: &[f64]) -> HistogramProto {
    let finite = || numbers.iter().copied().filter(|n| n.is_finite());
    let count = finite().count();
    if count == 0 {
        return HistogramProto { bucket_limit: vec![0.0], bucket: vec![0.0], ..HistogramProto::default() };
    }
    let (min, max) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), n| (min.min(n), max.max(n)));
    // Halves, because the difference of two numbers may be more than a number can hold.
    let half = max / 2.0 - min / 2.0;
    let bucket_of = |n: f64| match half > 0.0 {
        true => (((n / 2.0 - min / 2.0) / half * BUCKETS as f64) as usize).min(BUCKETS - 1),
        false => 0,
    };
    let mut bucket = vec![0.0; if half > 0.0 { BUCKETS } else { 1 }];
    finite().for_each(|n| bucket[bucket_of(n)] += 1.0);
    let buckets = bucket.len();
    let limit = |i: usize| if i + 1 == buckets { max } else { min + half * ((i + 1) as f64 / buckets as f64) * 2.0 };
    HistogramProto {
        min,
        max,
        num: count as f64,
        sum: finite().sum(),
        sum_squares: finite().map(|n| n * n).sum(),
        bucket_limit: (0..buckets).map(limit).collect(),
        bucket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_number_is_in_its_bucket() {
        let numbers: Vec<f64> = (0..640).map(|i| f64::from(i) / 10.0 - 5.0).chain([f64::NAN, f64::INFINITY]).collect();
        let found = of(&numbers);
        assert_eq!((found.num, found.min, found.max), (640.0, -5.0, 58.9));
        assert_eq!(found.bucket.iter().sum::<f64>(), 640.0);
        assert!(found.bucket.iter().all(|&n| (9.0..=11.0).contains(&n)), "{:?}", found.bucket);
        assert!(found.bucket_limit.windows(2).all(|pair| pair[0] < pair[1]) && found.bucket_limit[63] == 58.9);
        assert_eq!((of(&[2.0, 2.0]).bucket, of(&[2.0, 2.0]).bucket_limit), (vec![2.0], vec![2.0]));
        assert_eq!(of(&[f64::NAN]).num, 0.0);
        assert_eq!(of(&[f64::MAX, -f64::MAX]).bucket.iter().sum::<f64>(), 2.0);
    }
}
