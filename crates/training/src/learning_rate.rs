//! The learning rate over the steps of a training.

use crate::config::TrainingConfig;
use crate::schedules::{Position, ScheduleConfig};

/// The learning rate of the backbone at each step: the schedule, times a linear warm-up of
/// `(step + 1) / warm_up` over the first steps.
///
/// ```
/// use robustseg_training::{Basic, Constant, LearningRate, TrainingConfig};
///
/// let mut config = TrainingConfig::new(Basic {}, 10);
/// (config.learning_rate, config.warm_up_epochs) = (0.5, 2.0);
/// config.schedule = Constant {}.into();
/// let rate = LearningRate::new(&config, 20);
/// assert_eq!([0, 1, 3, 4, 19].map(|step| rate.at(step)), [0.125, 0.25, 0.5, 0.5, 0.5]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRate {
    base: f64,
    power: f64,
    schedule: ScheduleConfig,
    epochs: usize,
    total: u64,
    /// Steps of the warm-up. Its last step has the whole rate. 0 is no warm-up.
    warm_up: u64,
}

impl LearningRate {
    /// The learning rate that `config` gives a training of `total` steps.
    pub fn new(config: &TrainingConfig, total: u64) -> Self {
        Self {
            base: config.learning_rate,
            power: config.power,
            schedule: config.schedule.clone(),
            epochs: config.epochs,
            total,
            warm_up: (config.warm_up_epochs / config.epochs as f64 * total as f64).round() as u64,
        }
    }

    /// Steps in total.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The rate at `step`, counted from 0. It is 0 after the last step.
    pub fn at(&self, step: u64) -> f64 {
        let Self { base, power, epochs, total, warm_up, .. } = *self;
        if step >= total {
            return 0.0;
        }
        let rate = base * self.schedule.get().factor(Position { step, total, epochs, power });
        if step < warm_up { rate * ((step + 1) as f64 / warm_up as f64) } else { rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Basic, Constant, Step};

    fn rate(
        base: f64,
        power: f64,
        total: u64,
        warm_up_epochs: f64,
        schedule: impl Into<ScheduleConfig>,
    ) -> LearningRate {
        let mut config = TrainingConfig::new(Basic {}, 10);
        (config.learning_rate, config.power, config.warm_up_epochs) = (base, power, warm_up_epochs);
        config.schedule = schedule.into();
        LearningRate::new(&config, total)
    }

    #[test]
    fn values_by_hand() {
        let line = rate(0.01, 1.0, 10, 0.0, ScheduleConfig::default());
        assert_eq!(line.at(0), 0.01);
        assert!((line.at(5) - 0.005).abs() < 1e-15);
        assert_eq!(line.at(10), 0.0);
        assert_eq!(line.at(11), 0.0);
        let paper = rate(0.01, 0.9, 4, 0.0, ScheduleConfig::default());
        assert!((paper.at(2) - 0.005_358_867_312_681_47).abs() < 1e-12);
        assert_eq!(rate(0.3, 0.0, 4, 0.0, ScheduleConfig::default()).at(3), 0.3);
    }

    #[test]
    fn the_warm_up_rises_in_equal_steps_to_the_whole_rate() {
        let warm = rate(0.8, 0.9, 10, 4.0, Constant {});
        let rates: Vec<f64> = (0..6).map(|step| warm.at(step)).collect();
        let expected = [0.2, 0.4, 0.6, 0.8, 0.8, 0.8];
        assert!(
            rates.iter().zip(expected).all(|(rate, expected)| (rate - expected).abs() < 1e-15),
            "{rates:?}"
        );
        // PyTorch: LambdaLR with the product of both.
        let both = rate(1.0, 0.9, 4, 5.0, ScheduleConfig::default());
        assert!((both.at(0) - 0.5).abs() < 1e-12 && (both.at(1) - 0.75_f64.powf(0.9)).abs() < 1e-12);
    }

    #[test]
    fn a_step_falls_at_the_first_step_of_its_epoch() {
        // Three steps per epoch. The half epoch begins at step 22.
        let falling = rate(1.0, 0.9, 30, 0.0, Step { at: vec![4.0, 7.4], factor: 0.5 });
        let rates = [0, 11, 12, 21, 22, 29].map(|step| falling.at(step));
        assert_eq!(rates, [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
    }
}
