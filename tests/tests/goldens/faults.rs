//! Collects all deviations and reports them together.

use crate::case::{Case, Recorded, values};
use candle_core::Tensor;

/// The deviations found so far.
#[derive(Default)]
pub(crate) struct Faults {
    found: Vec<String>,
    checked: usize,
}

impl Faults {
    /// Records a fault unless `good`.
    pub(crate) fn check(&mut self, good: bool, fault: impl FnOnce() -> String) {
        self.checked += 1;
        if !good {
            self.found.push(fault());
        }
    }

    /// Compares `ours` with the golden tensor `name`, by the bound for values that involve no sign.
    pub(crate) fn compare(&mut self, case: &Case, name: &str, ours: &Tensor) {
        self.compare_after(case, name, ours, 0);
    }

    /// Compares `ours` with the golden tensor `name`, which involves `steps` gradient signs.
    ///
    /// The relative L2 error must be at most 1e-4 + 10 x the recorded error. If the case records a
    /// share of differing elements instead, ours must be at most 0.005 + 2 x that share after one
    /// step, and 0.02 + 3 x it after several.
    pub(crate) fn compare_after(&mut self, case: &Case, name: &str, ours: &Tensor, steps: usize) {
        let golden = case.golden(name);
        let title = format!("{}: {name}", case.name);
        if ours.dims() != golden.dims() {
            self.check(false, || format!("{title}: shape {:?}, not {:?}", ours.dims(), golden.dims()));
            return;
        }
        let (ours, golden) = (values(ours), values(golden));
        let (kind, error, bound) = match case.recorded(name) {
            Recorded::RelativeL2(recorded) => {
                ("relative L2", relative_l2(&ours, &golden), 1e-4 + 10.0 * recorded)
            }
            Recorded::DifferingFraction(recorded) if steps > 1 => {
                ("differing fraction", differing_fraction(&ours, &golden), 0.02 + 3.0 * recorded)
            }
            Recorded::DifferingFraction(recorded) => {
                ("differing fraction", differing_fraction(&ours, &golden), 0.005 + 2.0 * recorded)
            }
        };
        // Written such that NaN fails.
        self.check(error <= bound, || format!("{title}: {kind} {error:.2e}, at most {bound:.2e}"));
    }

    /// Fails with all faults, or if nothing was checked.
    pub(crate) fn finish(self) {
        assert!(self.checked > 0, "nothing was checked");
        let faults = self.found.join("\n");
        assert!(faults.is_empty(), "{} of {} are off:\n{faults}", self.found.len(), self.checked);
    }
}

/// The norm of the difference over the golden norm. Where the golden value is NaN (the IoU of a
/// class that never occurs), ours must be NaN too.
fn relative_l2(ours: &[f64], golden: &[f64]) -> f64 {
    let pairs = || ours.iter().zip(golden).filter(|(a, b)| !(a.is_nan() && b.is_nan()));
    let difference: f64 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
    let norm: f64 = pairs().map(|(_, b)| b.powi(2)).sum();
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

/// Share of elements that differ by more than 1e-4 or are NaN.
fn differing_fraction(ours: &[f64], golden: &[f64]) -> f64 {
    let same = ours.iter().zip(golden).filter(|(a, b)| (*a - *b).abs() <= 1e-4).count();
    (ours.len() - same) as f64 / ours.len() as f64
}

#[test]
fn measures_of_what_is_off() {
    assert_eq!(relative_l2(&[3.0, 0.0, f64::NAN], &[0.0, 4.0, f64::NAN]), 1.25);
    assert!(relative_l2(&[f64::NAN], &[1.0]).is_nan());
    assert_eq!(relative_l2(&[0.0], &[0.0]), 0.0);
    assert_eq!(relative_l2(&[1.0], &[0.0]), f64::INFINITY);
    assert_eq!(differing_fraction(&[1.0, 2.0, f64::NAN, 4.00005], &[1.0, 2.1, 3.0, 4.0]), 0.5);
}
