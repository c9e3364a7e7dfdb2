//! The margin of a pixel's label, on a scale that does not depend on the size of the logits.

/// Added to the difference of logits: where two classes are equal, either may be predicted.
const TOLERANCE: f64 = 1e-4;
/// The smallest denominator.
const SMALL: f64 = 1e-12;

/// The difference of logits ratio: the label's logit minus the largest other one, over the distance
/// from the first to the third largest (Croce, Hein, ICML 2020, eq. 7). It is positive where the
/// pixel is right and negative where it is wrong. With two classes there is no third, and the
/// difference is not divided.
///
/// Its gradient by the logits goes to `slope`. `label` must be one of at least two classes.
pub(crate) fn margin(logits: &[f32], label: usize, slope: &mut [f32]) -> f64 {
    let largest = |except: &[usize]| {
        let classes = (0..logits.len()).filter(|class| !except.contains(class));
        classes.reduce(|best, class| if logits[class] > logits[best] { class } else { best })
    };
    let logit = |class: usize| f64::from(logits[class]);
    slope.fill(0.0);
    let Some(other) = largest(&[label]) else { return 0.0 };
    let first = if logits[label] > logits[other] { label } else { other };
    let third = largest(&[first]).and_then(|second| largest(&[first, second]));
    let difference = logit(label) - logit(other) + TOLERANCE;
    let width = third.map_or(1.0, |third| (logit(first) - logit(third)).max(SMALL));
    slope[label] += (1.0 / width) as f32;
    slope[other] -= (1.0 / width) as f32;
    if let Some(third) = third {
        let bend = (difference / (width * width)) as f32;
        slope[first] -= bend;
        slope[third] += bend;
    }
    difference / width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_by_hand() {
        let mut slope = [0.0; 4];
        // Right, second, and last: the first and the third logit are 3 and 1.
        for (label, expected) in [(2, 1.0), (0, -1.0), (3, -3.0)] {
            let found = margin(&[2.0, 1.0, 3.0, 0.0], label, &mut slope);
            let expected = 0.5 * (expected + TOLERANCE);
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert!((margin(&[2.0, 5.0], 0, &mut slope[..2]) + 3.0 - TOLERANCE).abs() < 1e-12);
        assert_eq!(slope[..2], [1.0, -1.0]);
    }

    #[test]
    fn slopes_are_differences() {
        for logits in [vec![0.3, -1.2, 0.9, 0.1, 2.0], vec![0.5, 0.2, -0.4], vec![1.5, -0.25]] {
            for label in 0..logits.len() {
                let mut slope = vec![0.0; logits.len()];
                margin(&logits, label, &mut slope);
                let (mut unused, step) = (slope.clone(), 1.0 / 1024.0);
                for class in 0..logits.len() {
                    let mut at = |side: f32| {
                        let mut moved = logits.clone();
                        moved[class] += side * step;
                        margin(&moved, label, &mut unused)
                    };
                    let expected = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
                    let found = f64::from(slope[class]);
                    assert!(
                        (found - expected).abs() < 1e-3,
                        "{logits:?} {label} {class}: {found} {expected}"
                    );
                }
            }
        }
    }
}
