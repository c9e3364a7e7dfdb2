//! Batches dealt out to ranks that are threads, next to the same batches in one piece.

use std::thread;

use candle_core::{Device, Result, Tensor, Var};
use robustseg_ops::{
    BatchNorm, BatchStatistics, Conv2dConfig, Deal, StatisticsSource, Tape, batch_norm_relu_conv2d,
    batch_statistics, dealt_statistics,
};
use robustseg_ranks::threads;

use crate::check::{EXACT, flat, random, relative_l2};

/// Odd, and with one row less than ranks at most.
const SHAPE: [usize; 4] = [5, 7, 3, 4];

/// The logits, and the gradients of image, norm and convolution, of a small network in which batch
/// norm couples the samples.
fn passed(image: &Tensor, deal: Option<&Deal>) -> Result<[Vec<f32>; 4]> {
    let image = Var::from_tensor(image)?;
    let weights = [random(&[4], 1), random(&[4], 2), random(&[2, 3, 3, 4], 3)];
    let weights = weights.map(|weight| Var::from_tensor(&weight).unwrap());
    let [weight, bias, kernel] = &weights;
    let tape = Tape::start();
    let own = deal.map_or_else(|| Ok(image.as_tensor().clone()), |deal| deal.take(&image))?;
    let statistics: BatchStatistics =
        deal.map_or_else(|| batch_statistics(&own), |deal| dealt_statistics(&own, deal))?;
    let norm =
        BatchNorm { weight, bias, statistics: &statistics, source: StatisticsSource::Batch, eps: 1e-5 };
    let logits = batch_norm_relu_conv2d(&own, norm, kernel, Conv2dConfig::default(), EXACT)?;
    let logits = deal.map_or_else(|| Ok(logits.clone()), |deal| deal.gather(&logits))?;
    let loss = (logits.sqr()? * random(&[logits.elem_count()], 9).reshape(logits.shape())?)?.sum_all()?;
    let gradients = tape.backward(&loss)?;
    let gradient = |variable: &Var| flat(gradients.get(variable).expect("a gradient"));
    // Those of the weights are added up.
    let mut of_weights = [gradient(weight), gradient(bias), gradient(kernel)].concat();
    if let Some(deal) = deal {
        assert!(deal.computed().len() == own.dims()[0]);
    }
    let image = gradient(&image);
    let statistics = [flat(&statistics.mean), flat(&statistics.variance)].concat();
    Ok([flat(&logits), image, std::mem::take(&mut of_weights), statistics])
}

#[test]
fn a_dealt_batch_has_the_results_and_gradients_of_the_whole() {
    let image = random(&SHAPE, 7);
    let [logits, gradient, weights, statistics] = passed(&image, None).unwrap();
    // With eight ranks some have no samples.
    for size in [1, 2, 3, 8] {
        let ranks = threads(size).into_iter().map(|rank| {
            let image = image.clone();
            thread::spawn(move || {
                let mut found = passed(&image, Some(&Deal::new(rank.clone(), SHAPE[0]))).unwrap();
                rank.sum_f32(&mut found[2]).unwrap();
                found
            })
        });
        for rank in ranks.collect::<Vec<_>>() {
            let found = rank.join().expect("a rank");
            for (found, expected) in found.iter().zip([&logits, &gradient, &weights, &statistics]) {
                let distance = relative_l2(found, expected);
                assert!(distance < 1e-6, "{size} ranks: {distance}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_the_deal_and_gradients_without_a_tape_are_refused() {
    let rank = threads(1).remove(0);
    let deal = Deal::new(rank, 3);
    let image = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(deal.take(&image).is_err() && deal.gather(&image).is_err());
    let image = Var::ones((3, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let refused = deal.take(&image).unwrap_err().to_string();
    assert!(refused.contains("tape"), "{refused}");
}
