//! Draws the samples that a step attacks.

use rand::RngExt;
use robustseg_random::{ChaCha8Rng, stream};

use crate::practice::{AdversarialDraw, Practice};

/// The samples, of a batch of `count`, to attack at `step` of the training with `seed`.
pub(crate) fn attacked(practice: Practice, count: usize, seed: u64, step: u64) -> Vec<bool> {
    let Practice { probability, draw: how, .. } = practice;
    let mut random = stream(seed, "attacked", [step, 0, 0]);
    let draw = |random: &mut ChaCha8Rng| random.random::<f64>() < probability;
    match how {
        AdversarialDraw::Sample => (0..count).map(|_| draw(&mut random)).collect(),
        AdversarialDraw::Batch => vec![draw(&mut random); count],
        AdversarialDraw::Exact => {
            let mut attacked = vec![false; count];
            let share = (probability * count as f64).round() as usize;
            // The first positions of a shuffle.
            let mut places: Vec<usize> = (0..count).collect();
            for place in 0..share {
                places.swap(place, random.random_range(place..count));
                attacked[places[place]] = true;
            }
            attacked
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_samples_are_drawn_each_by_itself_or_all_at_once() {
        let practice = |draw| Practice { draw, ..Practice::HALF };
        for (draw, mixes) in [(AdversarialDraw::Sample, true), (AdversarialDraw::Batch, false)] {
            let (mut drawn, mut mixed) = (0, 0);
            for step in 0..1000 {
                let mask = attacked(practice(draw), 4, 7, step);
                assert_eq!(mask, attacked(practice(draw), 4, 7, step), "a function of the step");
                let count = mask.iter().filter(|&&attacked| attacked).count();
                drawn += count;
                mixed += usize::from((1..4).contains(&count));
            }
            assert!((1800..2200).contains(&drawn), "{drawn} of 4000");
            // 7/8 of the batches if samples are drawn one by one.
            assert_eq!(mixed > 800, mixes, "{mixed}");
        }
        let mut drawn = [0; 5];
        for step in 0..1000 {
            let mask = attacked(practice(AdversarialDraw::Exact), 5, 7, step);
            assert_eq!(mask.iter().filter(|&&attacked| attacked).count(), 3, "2.5 of 5, rounded");
            drawn.iter_mut().zip(mask).for_each(|(drawn, attacked)| *drawn += usize::from(attacked));
        }
        assert!(drawn.iter().all(|drawn| (540..660).contains(drawn)), "all places equally: {drawn:?}");
    }
}
