//! The augmented Lagrangian of an image whose pixels have to be wrong: Rony, Pesquet, Ben Ayed,
//! *Proximal Splitting Adversarial Attack for Semantic Segmentation*, CVPR 2023.

/// The first weight of a constraint's square.
const FIRST_PENALTY: f64 = 0.01;
/// The factor of that weight at a review that finds no progress.
const GROWTH: f64 = 2.0;
/// Steps from one review of the constraints to the next.
const REVIEW: usize = 10;
/// The share of its former value that a constraint must fall to in this time.
const PROGRESS: f64 = 0.95;
/// The share of a multiplier that remains at each step.
const INERTIA: f64 = 0.8;
/// The range of multipliers.
const RANGE: [f64; 2] = [1e-12, 1.0];

/// A multiplier and a penalty for the constraint of each pixel. A constraint is met where it is
/// negative.
pub(crate) struct Lagrangian {
    multipliers: Vec<f64>,
    penalties: Vec<f64>,
    /// The constraints at the last review.
    reviewed: Vec<f64>,
    /// Whether a pixel was wrong at any step since the last review.
    met: Vec<bool>,
}

impl Lagrangian {
    pub(crate) fn new(pixels: usize) -> Self {
        let [_, multiplier] = RANGE;
        Self {
            multipliers: vec![multiplier; pixels],
            penalties: vec![FIRST_PENALTY; pixels],
            reviewed: Vec::new(),
            met: vec![false; pixels],
        }
    }

    /// Updates penalties and multipliers at `step`, and returns the derivative of the Lagrangian by
    /// each of `constraints`. A constraint above `limit` does not count. `wrong` says which pixels
    /// are wrong.
    pub(crate) fn slopes(
        &mut self,
        step: usize,
        constraints: &[f64],
        limit: f64,
        wrong: &[bool],
    ) -> Vec<f64> {
        self.met.iter_mut().zip(wrong).for_each(|(met, wrong)| *met |= wrong);
        if step == 0 {
            self.reviewed = constraints.to_vec();
        } else if (step + 1).is_multiple_of(REVIEW) {
            self.review(constraints, limit);
        }
        let mut slopes = Vec::with_capacity(constraints.len());
        for ((multiplier, &penalty), &constraint) in
            self.multipliers.iter_mut().zip(&self.penalties).zip(constraints)
        {
            let slope = |multiplier: f64| {
                if constraint <= limit { slope(constraint, penalty, multiplier) } else { 0.0 }
            };
            if step > 0 {
                let moved = INERTIA * *multiplier + (1.0 - INERTIA) * slope(*multiplier);
                *multiplier = moved.clamp(RANGE[0], RANGE[1]);
            }
            slopes.push(slope(*multiplier));
        }
        slopes
    }

    /// Raises the penalties of pixels that were never wrong since the last review and whose
    /// constraint did not fall enough.
    fn review(&mut self, constraints: &[f64], limit: f64) {
        let pixels = self.penalties.iter_mut().zip(&self.met).zip(constraints.iter().zip(&self.reviewed));
        for ((penalty, met), (&now, before)) in pixels {
            let counted = if now <= limit { now } else { 0.0 };
            if !met && counted > PROGRESS * before {
                *penalty *= GROWTH;
            }
        }
        self.reviewed = constraints.to_vec();
        self.met.fill(false);
    }
}

/// The derivative by the constraint y of the penalty function P2 of Birgin, Castillo, Martinez
/// 2005: `m y + m r y^2 + r^2 y^3 / 6` where y is not negative, else `m y / (1 - max(r, 1) y)`, with
/// the multiplier m and the penalty r.
fn slope(constraint: f64, penalty: f64, multiplier: f64) -> f64 {
    if constraint >= 0.0 {
        multiplier + 2.0 * multiplier * penalty * constraint + 0.5 * (penalty * constraint).powi(2)
    } else {
        multiplier / (1.0 - penalty.max(1.0) * constraint).powi(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_penalty_function() {
        let value = |y: f64, r: f64, m: f64| {
            if y >= 0.0 {
                m * y + m * r * y * y + r * r * y.powi(3) / 6.0
            } else {
                m * y / (1.0 - r.max(1.0) * y)
            }
        };
        for (r, m) in [(0.01, 1.0), (0.5, 0.3), (8.0, 1e-3)] {
            for y in [-2.0, -0.3, -1e-3, 0.2, 1.5] {
                let expected = (value(y + 1e-6, r, m) - value(y - 1e-6, r, m)) / 2e-6;
                assert!((slope(y, r, m) - expected).abs() < 1e-6, "{y} {r} {m}");
            }
            assert_eq!(slope(0.0, r, m), m);
        }
    }

    #[test]
    fn only_constraints_without_progress_are_penalised_more() {
        let mut lagrangian = Lagrangian::new(4);
        // The second falls, the third is met once, and the fourth is too large to count.
        for step in 0..REVIEW {
            let now = [1.0, 1.0 - 0.1 * step as f64, 1.0, 3.0];
            let slopes = lagrangian.slopes(step, &now, 2.0, &[false, false, step == 3, false]);
            assert!(slopes[..3].iter().all(|slope| *slope > 0.0) && slopes[3] == 0.0);
        }
        assert_eq!(lagrangian.penalties, [0.02, 0.01, 0.01, 0.01]);
        assert!(lagrangian.multipliers[3] < 0.2 && lagrangian.multipliers[0] == 1.0);
    }
}
