//! The proximity operator of the largest absolute value.

/// Halvings of the interval around the solution.
const HALVINGS: usize = 48;

/// Replaces `change` by the minimiser y of `weight * max |y_i| + sum_i metric_i (y_i - change_i)^2 /
/// 2` with `low <= y <= high`, where `low <= 0 <= high`.
///
/// For a given largest value t the best `y_i` is `change_i` clipped to the bounds and to `[-t, t]`.
/// The minimum over t is convex, and bisection finds where its derivative changes sign. It takes 48
/// passes over the values.
pub(crate) fn shrink(change: &mut [f64], metric: &[f64], [low, high]: [&[f64]; 2], weight: f64) {
    let bounded = |change: &[f64]| -> Vec<f64> {
        change.iter().zip(low).zip(high).map(|((&change, &low), &high)| change.clamp(low, high)).collect()
    };
    let inside = bounded(change);
    // The derivative by t. Only values that reach beyond t matter.
    let rises = |t: f64| {
        let beyond = inside.iter().zip(&*change).zip(metric).filter(|((inside, _), _)| inside.abs() > t);
        let pull: f64 = beyond.map(|((_, change), metric)| metric * (change.abs() - t)).sum();
        weight >= pull
    };
    let mut range = [0.0, inside.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()))];
    if rises(0.0) {
        return change.fill(0.0);
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(range[0], range[1]);
        range[usize::from(rises(middle))] = middle;
    }
    for (change, inside) in change.iter_mut().zip(inside) {
        *change = inside.clamp(-range[1], range[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_by_hand() {
        let (low, high) = ([-9.0; 3], [9.0, 9.0, 0.5]);
        let shrunk = |weight| {
            let mut change = [3.0, -1.0, 4.0];
            shrink(&mut change, &[1.0, 1.0, 2.0], [&low, &high], weight);
            change
        };
        // The last is cut by its bound, and the first alone decides: t = 3 - 1.
        for (found, expected) in shrunk(1.0).into_iter().zip([2.0, -1.0, 0.5]) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        assert_eq!(shrunk(0.0), [3.0, -1.0, 0.5]);
        assert_eq!(shrunk(99.0), [0.0; 3]);
    }

    proptest! {
        #[test]
        fn no_other_point_within_the_bounds_is_better(
            change in prop::collection::vec(-2.0..2.0_f64, 7),
            metric in prop::collection::vec(0.01..3.0_f64, 7),
            low in prop::collection::vec(-1.0..=0.0_f64, 7),
            high in prop::collection::vec(0.0..1.0_f64, 7),
            other in prop::collection::vec(0.0..=1.0_f64, 7),
            weight in 0.0..5.0_f64,
            step in 0.0..=1.0_f64,
        ) {
            let value = |y: &[f64]| {
                let largest = y.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
                let squares = y.iter().zip(&change).zip(&metric).map(|((y, c), m)| m * (y - c).powi(2) / 2.0);
                weight * largest + squares.sum::<f64>()
            };
            let mut found = change.clone();
            shrink(&mut found, &metric, [&low, &high], weight);
            prop_assert!(found.iter().zip(&low).zip(&high).all(|((y, low), high)| (low..=high).contains(&y)));
            let bounds = low.iter().zip(&high);
            let other = bounds.zip(&other).zip(&found).map(|(((low, high), share), found)| {
                found + step * (low + share * (high - low) - found)
            });
            let other: Vec<f64> = other.collect();
            prop_assert!(value(&found) <= value(&other) + 1e-9, "{} {}", value(&found), value(&other));
        }
    }
}
