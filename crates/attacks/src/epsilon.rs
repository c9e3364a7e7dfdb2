//! The role of epsilon, and its range.

use crate::Result;
use crate::ranges::check_unit;

/// The role of epsilon in an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpsilonRole {
    /// The radius of the ball, or the size of a single step.
    Radius,
    /// The largest step of an attack that computes its own. Infinity means no limit.
    Limit,
}

impl EpsilonRole {
    /// The name of epsilon among the attack's settings.
    pub fn key(self) -> &'static str {
        match self {
            Self::Radius => "epsilon",
            Self::Limit => "max_epsilon",
        }
    }

    /// The default value: the paper's 0.03 for a radius, infinity for a limit.
    pub fn default_value(self) -> f64 {
        match self {
            Self::Radius => 0.03,
            Self::Limit => f64::INFINITY,
        }
    }
}

/// Refuses an epsilon outside `[0, 1]`. A limit may be infinite. For a value above 1 the message
/// suggests that the unit was 1/255.
pub fn check_epsilon(role: EpsilonRole, epsilon: f64) -> Result<()> {
    if role == EpsilonRole::Limit && epsilon == f64::INFINITY {
        return Ok(());
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
        let message = check_epsilon(EpsilonRole::Limit, 8.0).unwrap_err().to_string();
        assert!(message.starts_with("max_epsilon = 8: max_epsilon is in units"), "{message}");
    }
}
