//! The range of q over the steps of an attack on the Tsallis cross-entropy.

use robustseg_ops::PixelObjective;

use crate::{Error, Result};

/// The parameter at the first step and at the last, unless the settings say otherwise: pixels count
/// by the cube of their probability first, and all alike at the end.
pub(crate) const FIRST_AND_LAST: [f64; 2] = [-2.0, 1.0];

/// The Tsallis cross-entropy at `step` of `steps`. Its q runs linearly from `first` to `last`.
pub(crate) fn objective([first, last]: [f64; 2], step: usize, steps: usize) -> PixelObjective {
    let part = step as f64 / steps.saturating_sub(1).max(1) as f64;
    PixelObjective::Tsallis { q: (first + (last - first) * part) as f32 }
}

/// Refuses a q above 1, whose gradient grows without bound as pixels get wrong, and one below
/// -100.
pub(crate) fn check_q([first, last]: [f64; 2]) -> Result<()> {
    for (setting, value) in [("first_q", first), ("last_q", last)] {
        if !(-100.0..=1.0).contains(&value) {
            let reason = "must be a number from -100 to 1".into();
            return Err(Error::Setting { setting: setting.into(), value, reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_runs_from_the_first_to_the_last_step() {
        let q = |step, steps| objective(FIRST_AND_LAST, step, steps);
        let expected = |q| PixelObjective::Tsallis { q };
        assert_eq!([0, 1, 2, 3].map(|step| q(step, 4)), [-2.0, -1.0, 0.0, 1.0].map(expected));
        assert_eq!(q(0, 1), expected(-2.0));
        assert!(check_q(FIRST_AND_LAST).is_ok() && check_q([-2.0, f64::NAN]).is_err());
        assert!(check_q([1.5, 1.0]).unwrap_err().to_string().starts_with("first_q = 1.5: "));
    }
}
