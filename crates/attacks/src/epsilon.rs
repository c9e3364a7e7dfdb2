//! The role of epsilon, and its range.

use crate::ranges::check_unit;
use crate::{Error, Result};

/// The role of epsilon in an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpsilonRole {
    /// The radius of the ball, or the size of a single step.
    Radius,
    /// The radius of an l2 ball, as [`Norm::L2`](crate::Norm::L2) measures it.
    L2Radius,
    /// The largest step of an attack that computes its own. Infinity means no limit.
    Limit,
}

impl EpsilonRole {
    /// An l2 ball of this epsilon contains all images: the root of 3, times 224, rounded up.
    pub(crate) const LARGEST_L2: f64 = 388.0;

    /// The name of epsilon among the attack's settings.
    pub fn key(self) -> &'static str {
        match self {
            Self::Radius | Self::L2Radius => "epsilon",
            Self::Limit => "max_epsilon",
        }
    }

    /// The default value: the paper's 0.03 for a radius, 1 for that of an l2 ball, infinity for a
    /// limit.
    pub fn default_value(self) -> f64 {
        match self {
            Self::Radius => 0.03,
            Self::L2Radius => 1.0,
            Self::Limit => f64::INFINITY,
        }
    }
}

/// Refuses an epsilon outside `[0, 1]`. A limit may be infinite, and the radius of an l2 ball up to
/// 388. For a value above 1 the message
/// suggests that the unit was 1/255.
pub fn check_epsilon(role: EpsilonRole, epsilon: f64) -> Result<()> {
    if role == EpsilonRole::Limit && epsilon == f64::INFINITY {
        return Ok(());
    }
    if role == EpsilonRole::L2Radius && (0.0..=EpsilonRole::LARGEST_L2).contains(&epsilon) {
        return Ok(());
    }
    if role == EpsilonRole::L2Radius {
        let reason = "must be a number from 0 to 388".into();
        return Err(Error::Setting { setting: role.key().into(), value: epsilon, reason });
    }
    check_unit(role.key(), epsilon, epsilon >= 0.0, "must be a number from 0 to 1")
}

/// Refuses a radius outside `[0, 1]` like [`check_epsilon`].
pub fn check_radius(epsilon: f64) -> Result<()> {
    check_epsilon(EpsilonRole::Radius, epsilon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epsilon_of_eight_is_guessed() {
        let message = check_radius(8.0).unwrap_err().to_string();
        assert_eq!(message, "epsilon = 8: epsilon is in units of [0,1]; did you mean 8/255 = 0.0314?");
        for bad in [-0.1, f64::NAN, f64::INFINITY, 1.1] {
            let message = check_radius(bad).unwrap_err().to_string();
            assert_eq!(message.contains("did you mean"), bad == 1.1, "{message}");
        }
        assert!(check_radius(0.0).is_ok() && check_radius(1.0).is_ok());
        assert!(check_epsilon(EpsilonRole::Limit, f64::INFINITY).is_ok());
        assert!(check_epsilon(EpsilonRole::L2Radius, 8.0).is_ok());
        for bad in [-0.1, f64::NAN, 400.0] {
            assert!(check_epsilon(EpsilonRole::L2Radius, bad).is_err(), "{bad}");
        }
        let message = check_epsilon(EpsilonRole::Limit, 8.0).unwrap_err().to_string();
        assert!(message.starts_with("max_epsilon = 8: max_epsilon is in units"), "{message}");
    }
}
