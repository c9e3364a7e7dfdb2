//! The learning rate over the steps of a training.

/// Polynomial decay per step: `base * (1 - step / total)^power`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolynomialDecay {
    /// The rate at step 0.
    pub base: f64,
    /// The exponent. 1 gives a straight line, 0 a constant rate.
    pub power: f64,
    /// Steps in total.
    pub total: u64,
}

impl PolynomialDecay {
    /// The rate at `step`, counted from 0. It is 0 from step `total` on.
    pub fn rate(&self, step: u64) -> f64 {
        if step >= self.total {
            return 0.0;
        }
        self.base * (1.0 - step as f64 / self.total as f64).powf(self.power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_hand() {
        let line = PolynomialDecay { base: 0.01, power: 1.0, total: 10 };
        assert_eq!(line.rate(0), 0.01);
        assert!((line.rate(5) - 0.005).abs() < 1e-15);
        assert_eq!(line.rate(10), 0.0);
        assert_eq!(line.rate(11), 0.0);
        let paper = PolynomialDecay { base: 0.01, power: 0.9, total: 4 };
        assert!((paper.rate(2) - 0.005_358_867_312_681_47).abs() < 1e-12);
        assert_eq!(PolynomialDecay { base: 0.3, power: 0.0, total: 4 }.rate(3), 0.3);
    }
}
