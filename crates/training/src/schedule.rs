//! The learning rate over the steps of a training.

/// Polynomial decay per step, `base * (1 - step / total)^power`, times a linear warm-up of `(step + 1)
/// / warm_up` over the first steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolynomialDecay {
    /// The rate at step 0.
    pub base: f64,
    /// The exponent. 1 gives a straight line, 0 a constant rate.
    pub power: f64,
    /// Steps in total.
    pub total: u64,
    /// Steps of the warm-up. Its last step has the whole rate. 0 is no warm-up.
    pub warm_up: u64,
}

impl PolynomialDecay {
    /// The rate at `step`, counted from 0. It is 0 from step `total` on.
    pub fn rate(&self, step: u64) -> f64 {
        if step >= self.total {
            return 0.0;
        }
        let decayed = self.base * (1.0 - step as f64 / self.total as f64).powf(self.power);
        if step < self.warm_up { decayed * ((step + 1) as f64 / self.warm_up as f64) } else { decayed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_hand() {
        let line = PolynomialDecay { base: 0.01, power: 1.0, total: 10, warm_up: 0 };
        assert_eq!(line.rate(0), 0.01);
        assert!((line.rate(5) - 0.005).abs() < 1e-15);
        assert_eq!(line.rate(10), 0.0);
        assert_eq!(line.rate(11), 0.0);
        let paper = PolynomialDecay { base: 0.01, power: 0.9, total: 4, warm_up: 0 };
        assert!((paper.rate(2) - 0.005_358_867_312_681_47).abs() < 1e-12);
        assert_eq!(PolynomialDecay { base: 0.3, power: 0.0, total: 4, warm_up: 0 }.rate(3), 0.3);
    }
    #[test]
    fn the_warm_up_rises_in_equal_steps_to_the_whole_rate() {
        let warm = PolynomialDecay { base: 0.8, power: 0.0, total: 10, warm_up: 4 };
        let rates: Vec<f64> = (0..6).map(|step| warm.rate(step)).collect();
        let expected = [0.2, 0.4, 0.6, 0.8, 0.8, 0.8];
        assert!(
            rates.iter().zip(expected).all(|(rate, expected)| (rate - expected).abs() < 1e-15),
            "{rates:?}"
        );
        // PyTorch: LambdaLR with the product of both.
        let both = PolynomialDecay { base: 1.0, power: 0.9, total: 4, warm_up: 2 };
        assert!((both.rate(0) - 0.5).abs() < 1e-12 && (both.rate(1) - 0.75_f64.powf(0.9)).abs() < 1e-12);
    }
}
