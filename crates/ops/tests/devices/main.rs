//! Every operation on a GPU against the CPU: values and gradients, over odd, non-square, strided
//! and dilated shapes, in f32 and bf16. Without a GPU there is nothing to test, and the tests say
//! so.
#![cfg(feature = "cuda")]

mod compare;
mod folded_norm;
mod losses;
mod sweeps;
mod transformer;

use candle_core::{DType, Device, Result, Tensor, Var};
use robustseg_ops::*;
use std::slice::from_ref;

use compare::{difference, gpu, labels, random, same};

/// f32 products that are not rounded, as on the CPU.
const EXACT: Arithmetic = Arithmetic { factors: Factors::F32, choice: ConvolutionChoice::Predicted };

#[test]
fn convolution() {
    for (index, (size, outputs, kernel, stride, padding, dilation)) in [
        ([2, 7, 9, 3], 5, 3, 1, 1, 1),
        ([1, 13, 8, 8], 16, 3, 2, 1, 1),
        ([2, 9, 11, 16], 8, 3, 1, 4, 4),
        ([1, 6, 5, 8], 24, 1, 1, 0, 1),
        ([2, 8, 7, 5], 3, 1, 2, 0, 1),
        ([1, 17, 15, 3], 8, 7, 2, 3, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let config = Conv2dConfig { stride, padding, dilation };
        let seed = index as u64 * 10;
        let (x, weight) = (random(seed, &size), random(seed + 1, &[outputs, kernel, kernel, size[3]]));
        same(&format!("conv2d {config:?}"), &[x.clone(), weight.clone()], 2, |t| {
            conv2d(&t[0], &t[1], config, EXACT)
        });
        let [height, width] = [size[1], size[2]].map(|size| config.output_size(size, kernel).unwrap());
        let residual = random(seed + 2, &[size[0], height, width, outputs]);
        same(&format!("conv2d_add {config:?}"), &[x, weight, residual], 3, |t| {
            conv2d_add(&t[0], &t[1], config, &t[2], EXACT)
        });
    }
}

#[test]
fn batch_norms() {
    for (index, size) in
        [[2, 5, 7, 3], [1, 9, 4, 16], [3, 37, 41, 8], [2, 6, 5, 264], [1, 1, 1, 5]].into_iter().enumerate()
    {
        let seed = 100 + 10 * index as u64;
        let channels = size[3];
        let (x, weight) = (random(seed, &size), random(seed + 1, &[channels]));
        let bias = random(seed + 2, &[channels]);
        let kernel = random(seed + 3, &[6, 3, 3, channels]);
        let mean = random(seed + 4, &[channels]);
        let variance = (random(seed + 5, &[channels]).abs().unwrap() + 0.1).unwrap();
        for source in [StatisticsSource::Batch, StatisticsSource::Running] {
            let statistics = |x: &Tensor| -> Result<BatchStatistics> {
                match source {
                    StatisticsSource::Batch => batch_statistics(x),
                    StatisticsSource::Running => {
                        let [mean, variance] = [&mean, &variance].map(|tensor| tensor.to_device(x.device()));
                        Ok(BatchStatistics::new(mean?, variance?))
                    }
                }
            };
            if source == StatisticsSource::Batch && size[..3] == [1, 1, 1] {
                continue; // A single value has no variance.
            }
            let arguments = [x.clone(), weight.clone(), bias.clone()];
            same(&format!("batch_norm_relu {size:?} {source:?}"), &arguments, 1, |t| {
                batch_norm_relu(&t[0], &t[1], &t[2], &statistics(&t[0])?, source, 1e-3)
            });
            same(&format!("batch_norm {size:?} {source:?}"), &arguments, 1, |t| {
                let statistics = &statistics(&t[0])?;
                batch_norm(&t[0], BatchNorm { weight: &t[1], bias: &t[2], statistics, source, eps: 1e-3 })
            });
            let arguments = [x.clone(), random(seed + 6, &size), weight.clone(), bias.clone()];
            same(&format!("batch_norm_add_relu {size:?} {source:?}"), &arguments, 2, |t| {
                let statistics = &statistics(&t[0])?;
                let norm = BatchNorm { weight: &t[2], bias: &t[3], statistics, source, eps: 1e-3 };
                batch_norm_add_relu(&t[0], norm, &t[1])
            });
            let config = Conv2dConfig { stride: 1, padding: 2, dilation: 2 };
            let arguments = [x.clone(), kernel.clone(), weight.clone(), bias.clone()];
            same(&format!("batch_norm_relu_conv2d {size:?} {source:?}"), &arguments, 2, |t| {
                let statistics = statistics(&t[0])?;
                let norm =
                    BatchNorm { weight: &t[2], bias: &t[3], statistics: &statistics, source, eps: 1e-3 };
                batch_norm_relu_conv2d(&t[0], norm, &t[1], config, EXACT)
            });
        }
        let Some(gpu) = gpu() else { return };
        // Far from zero, where sums of squares would lose all.
        let far = (&x + 1000.0).unwrap();
        let cpu = batch_statistics(&far).unwrap();
        let there = batch_statistics(&far.to_device(&gpu).unwrap()).unwrap();
        assert!(difference(&cpu.mean, &there.mean) < 1e-6);
        assert!(difference(&cpu.variance, &there.variance) < 1e-3);
    }
}

#[test]
fn pooling() {
    for (index, size) in [[2, 7, 9, 3], [1, 12, 5, 8], [2, 1, 6, 16], [1, 23, 29, 40]].into_iter().enumerate()
    {
        let x = random(200 + index as u64, &size);
        same(&format!("max_pool2d {size:?}"), from_ref(&x), 1, |t| max_pool2d(&t[0], 3, 2, 1));
        if size[1] > 1 {
            same(&format!("max_pool2d 2 {size:?}"), from_ref(&x), 1, |t| max_pool2d(&t[0], 2, 3, 0));
        }
        // Few values, so that the largest stands in several places.
        let coarse = (&x * 2.0).unwrap().round().unwrap();
        same(&format!("max_pool2d of equals {size:?}"), &[coarse], 1, |t| max_pool2d(&t[0], 3, 1, 1));
        for bins in [&[1, 2, 3, 6][..], &[4], &[1]] {
            same(&format!("adaptive_avg_pool2d {size:?} {bins:?}"), from_ref(&x), 1, |t| {
                adaptive_avg_pool2d(&t[0], bins)
            });
        }
    }
}

#[test]
fn pyramid_and_upsampling() {
    for (index, size) in [[2, 7, 9, 8], [1, 12, 5, 3]].into_iter().enumerate() {
        let seed = 300 + 10 * index as u64;
        let bins = [1, 2, 3, 6];
        let (x, levels) = (random(seed, &size), random(seed + 1, &[size[0], 50, 4]));
        let weight = random(seed + 2, &[8, 3, 3, size[3] + 16]);
        for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
            let arguments = [x.clone(), levels.clone(), weight.clone()];
            same(&format!("conv2d_pyramid {size:?} {alignment:?}"), &arguments, 3, |t| {
                conv2d_pyramid(&t[0], &t[1], &t[2], &bins, alignment, EXACT)
            });
            for (height, width) in [(size[1] * 8, size[2] * 8), (19, 33), (1, 2), (3, 4)] {
                same(&format!("upsample_bilinear {size:?} {height}x{width}"), from_ref(&x), 1, |t| {
                    upsample_bilinear(&t[0], height, width, alignment)
                });
            }
        }
    }
}

#[test]
fn channels() {
    let (x, bias) = (random(400, &[3, 5, 7, 6]), random(401, &[6]));
    same("add_bias", &[x.clone(), bias], 1, |t| add_bias(&t[0], &t[1]));
    for channels in [6, 16] {
        let (x, scale) = (random(403, &[3, 5, 7, channels]), random(404, &[3, channels]));
        same("scale_channels", &[x], 1, |t| scale_channels(&t[0], &scale.to_device(t[0].device())?));
    }
    let (rows, factors) = (random(406, &[5, 3, 4]), random(407, &[5]));
    same("scale_rows", &[rows, factors], 0, |t| scale_rows(&t[0], &t[1]));
    let image = random(405, &[2, 3, 6, 9]);
    same("normalise_image", from_ref(&image), 0, |t| {
        normalise_image(&t[0], &[0.1, 0.2, 0.3], &[0.5, 0.25, 0.125])
    });
    let Some(gpu) = gpu() else { return };
    let image = image.to_dtype(DType::F64).unwrap();
    let work = |image: &Tensor| normalise_image(image, &[0.1, 0.2, 0.3], &[0.5, 0.25, 0.125]).unwrap();
    assert!(difference(&work(&image), &work(&image.to_device(&gpu).unwrap())) < 1e-7);
}

#[test]
fn arrangements() {
    // With the channels of wide accesses, and with others.
    for channels in [5, 16] {
        let x = random(420, &[2, 7, 3, channels]);
        for (axis, start, count) in [(0, 1, 1), (1, 2, 4), (3, channels / 2, 2), (3, 0, channels / 2)] {
            let name = format!("part {axis} {start} {count} of {channels}");
            same(&name, from_ref(&x), 1, |t| part(&t[0], axis, start, count));
        }
        for axis in [0, 1, 3] {
            let sized = |seed, count| {
                let mut size = [2, 7, 3, channels];
                size[axis] = count;
                random(seed, &size)
            };
            let four = [sized(421, 3), sized(422, 8), sized(423, 1), sized(424, 2)];
            for count in 1..=4 {
                same(&format!("concatenate {count} {axis} {channels}"), &four[..count], count, |t| {
                    concatenate(t, axis)
                });
            }
        }
        same("contiguous", from_ref(&x), 1, |t| contiguous(&t[0].permute((3, 0, 2, 1))?));
        same("contiguous", from_ref(&x), 1, |t| contiguous(&t[0].transpose(1, 2)?.narrow(2, 1, 3)?));
        let row = random(425, &[7, 1, channels]);
        same("contiguous", from_ref(&row), 1, |t| contiguous(&t[0].broadcast_as((3, 7, 2, channels))?));
    }
    let Some(gpu) = gpu() else { return };
    let uniforms = Tensor::new(&[0.0, 0.3, 0.299_999, 0.7, 0.999], &Device::Cpu).unwrap();
    let factors = |device: &Device| {
        dropout_factors(&uniforms.to_device(device).unwrap(), 0.3).unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(factors(&gpu), factors(&Device::Cpu));
}

#[test]
fn what_does_not_fit_is_refused_on_a_gpu_too() {
    let Some(gpu) = gpu() else { return };
    let x = random(430, &[2, 3]).to_device(&gpu).unwrap();
    let other = random(431, &[3, 3]).to_device(&gpu).unwrap();
    assert!(part(&x, 1, 2, 2).is_err() && part(&x, 2, 0, 1).is_err());
    assert!(concatenate(&[x.clone(), other], 1).is_err() && concatenate(&[x.clone(), x], 2).is_err());
}

#[test]
fn pixel_objectives() {
    let objectives = [
        PixelObjective::CrossEntropy,
        PixelObjective::Gain,
        PixelObjective::SegPgd { lambda: 0.3 },
        PixelObjective::CosPgd,
        PixelObjective::MaskedCrossEntropy,
        PixelObjective::BalancedMaskedCrossEntropy,
        PixelObjective::JensenShannon,
        PixelObjective::Tsallis { q: -2.0 },
        PixelObjective::Tsallis { q: 1.0 },
    ];
    for (index, (small, full, classes)) in [
        ([2, 3, 5], [24, 40], 4),
        ([1, 7, 2], [13, 9], 21),
        ([3, 4, 4], [3, 2], 2),
        ([1, 1, 1], [9, 30], 3),
        ([1, 3, 2], [11, 17], 150),
    ]
    .into_iter()
    .enumerate()
    {
        let seed = 500 + 10 * index as u64;
        let [images, h, w] = small;
        let logits = (random(seed, &[images, h, w, classes]) * 4.0).unwrap();
        let label = labels(seed + 1, &[images, full[0], full[1]], classes as u8);
        for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
            for objective in objectives {
                let name = format!("{objective:?} {small:?} to {full:?}, {alignment:?}");
                same(&name, from_ref(&logits), 0, |t| {
                    pixel_objective_per_image(&t[0], &label.to_device(t[0].device())?, objective, alignment)
                });
                same(&name, from_ref(&logits), 0, |t| {
                    let label = label.to_device(t[0].device())?;
                    pixel_objective_mean(&t[0], &label, objective, alignment)?.reshape(1)
                });
            }
            // Counts beyond 32 bits, and classes that the set lacks.
            let pixels: Vec<u64> = (0..classes as u64).map(|class| (class % 3) * 7_000_000_000).collect();
            same(&format!("set {small:?} to {full:?}, {alignment:?}"), from_ref(&logits), 0, |t| {
                let label = label.to_device(t[0].device())?;
                set_balanced_objective_per_image(&t[0], &label, &pixels, alignment)
            });
            let Some(gpu) = gpu() else { return };
            let prediction =
                predict(&logits, full[0], full[1], alignment).unwrap().to_dtype(DType::F32).unwrap();
            let there = predict(&logits.to_device(&gpu).unwrap(), full[0], full[1], alignment).unwrap();
            // Where two classes are as good as equal, either may be named.
            let (cpu, there) = (prediction.flatten_all().unwrap(), there.to_device(&Device::Cpu).unwrap());
            let there = there.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
            let wrong = cpu.ne(&there).unwrap().to_dtype(DType::F32).unwrap().mean_all().unwrap();
            assert!(wrong.to_scalar::<f32>().unwrap() < 0.01);
        }
    }
}

#[test]
fn what_is_not_labelled_counts_nothing_and_what_is_no_class_is_no_number() {
    let Some(gpu) = gpu() else { return };
    let logits = Var::from_tensor(&random(600, &[2, 2, 3, 4]).to_device(&gpu).unwrap()).unwrap();
    let unlabelled = Tensor::full(IGNORE_LABEL, (2, 16, 24), &gpu).unwrap();
    let loss = |label: &Tensor| {
        pixel_objective_per_image(&logits, label, PixelObjective::CrossEntropy, Alignment::HalfPixel).unwrap()
    };
    assert_eq!(loss(&unlabelled).to_vec1::<f32>().unwrap(), [0.0, 0.0]);
    let gradient = loss(&unlabelled).sum_all().unwrap().backward().unwrap();
    let gradient = gradient.get(&logits).unwrap().abs().unwrap().max_all().unwrap();
    assert_eq!(gradient.to_scalar::<f32>().unwrap(), 0.0);
    let mut wrong = vec![1_u8; 2 * 16 * 24];
    wrong[20] = 4;
    let wrong = Tensor::from_vec(wrong, (2, 16, 24), &gpu).unwrap();
    let values = loss(&wrong).to_vec1::<f32>().unwrap();
    assert!(values[0].is_nan() && values[1].is_finite(), "{values:?}");
}

#[test]
fn attack_steps() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::F32, DType::F64] {
        let image = ((random(700, &[3, 3, 7, 5]) + 1.0).unwrap() / 2.0).unwrap().to_dtype(dtype).unwrap();
        let origin = ((random(701, &[3, 3, 7, 5]) + 1.0).unwrap() / 2.0).unwrap().to_dtype(dtype).unwrap();
        let gradient = random(702, &[3, 3, 7, 5]);
        let step = (random(703, &[3]) * 0.3).unwrap().to_dtype(dtype).unwrap();
        let work = |device: &Device| {
            let there = |tensor: &Tensor| tensor.to_device(device).unwrap();
            let stepped = sign_step(&there(&image), &there(&gradient), &there(&step)).unwrap();
            let radius = there(&step.abs().unwrap());
            [project(&stepped, &there(&origin), &radius).unwrap(), stepped]
        };
        for (cpu, gpu) in work(&Device::Cpu).iter().zip(&work(&gpu)) {
            assert!(difference(cpu, gpu) < 1e-7);
        }
    }
    let x = random(704, &[3, 3, 71, 53]);
    let norm = |x: &Tensor| l1_norm_per_image(x).unwrap();
    assert!(difference(&norm(&x), &norm(&x.to_device(&gpu).unwrap())) < 1e-6);
}

/// Compares an optimiser's `step` with that of the CPU, on good gradients and with one that is not
/// finite. `step` gets the parameters and `states` positive states of each, and the gradients.
fn descends_as_on_the_cpu(states: u64, step: impl Fn(&[Vec<Var>], &[Tensor]) -> Option<usize>) {
    let Some(gpu) = gpu() else { return };
    let shapes = [vec![3, 5], vec![40_001], vec![1], vec![2, 3, 3, 7]];
    let run = |device: &Device, spoiled: Option<usize>| -> (Option<usize>, Vec<Tensor>) {
        let there = |seed: u64| -> Vec<Tensor> {
            let all = shapes.iter().zip(seed..);
            all.map(|(shape, seed)| random(seed, shape).to_device(device).unwrap()).collect()
        };
        let positive = |tensor: &Tensor| Var::from_tensor(&tensor.abs().unwrap()).unwrap();
        let variables: Vec<Vec<Var>> =
            (0..=states).map(|state| there(800 + 10 * state).iter().map(positive).collect()).collect();
        let mut gradients = there(840);
        if let Some(spoiled) = spoiled {
            gradients[spoiled] = (&gradients[spoiled] / 0.0).unwrap();
        }
        let outcome = step(&variables, &gradients);
        (outcome, variables.iter().flatten().map(|var| var.as_tensor().copy().unwrap()).collect())
    };
    let (_, before) = run(&Device::Cpu, Some(0));
    for spoiled in [None, Some(1), Some(3)] {
        let ((cpu, expected), (there, found)) = (run(&Device::Cpu, spoiled), run(&gpu, spoiled));
        assert_eq!((cpu, there), (spoiled, spoiled));
        for ((expected, found), before) in expected.iter().zip(&found).zip(&before) {
            assert!(difference(expected, found) < 1e-6);
            assert!(spoiled.is_none() || difference(before, found) == 0.0);
        }
    }
}

#[test]
fn descent_moves_all_parameters_or_none() {
    descends_as_on_the_cpu(1, |variables, gradients| {
        let update = |i: usize| SgdUpdate {
            parameter: &variables[0][i],
            gradient: &gradients[i],
            velocity: &variables[1][i],
            config: SgdConfig {
                learning_rate: 0.1 * i as f64,
                momentum: 0.9,
                weight_decay: 0.01,
                nesterov: i % 2 == 1,
            },
        };
        sgd_step(&(0..gradients.len()).map(update).collect::<Vec<_>>()).unwrap()
    });
}

#[test]
fn adamw_moves_all_parameters_or_none() {
    let config = AdamWConfig {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-3,
        weight_decay: 0.1,
        step: 3,
    };
    descends_as_on_the_cpu(2, |variables, gradients| {
        let update = |i: usize| AdamWUpdate {
            parameter: &variables[0][i],
            gradient: &gradients[i],
            mean: &variables[1][i],
            square: &variables[2][i],
            config: AdamWConfig { learning_rate: 0.1 * i as f64, step: 3 + i as u64, ..config },
        };
        adamw_step(&(0..gradients.len()).map(update).collect::<Vec<_>>()).unwrap()
    });
}

#[test]
fn batches_arrive_whole_and_in_their_order() {
    struct Batch(Vec<f32>, Vec<u8>);
    let Some(gpu) = gpu() else { return };
    let mut staging = Staging::new(&gpu).unwrap();
    assert!(staging.arrive().unwrap().is_none());
    let batch = |index: usize, [count, height, width]: [usize; 3]| {
        let pixels = count * height * width;
        let images = (0..3 * pixels).map(|pixel| (index * 10_000 + pixel) as f32).collect();
        let batch = Batch(images, (0..pixels).map(|pixel| (index + pixel) as u8).collect());
        (std::sync::Arc::new(batch), (count, 3, height, width))
    };
    let sizes = [[2, 5, 7], [2, 5, 7], [1, 3, 2], [2, 5, 7], [2, 5, 7], [3, 40, 60]];
    let batches: Vec<_> = sizes.iter().enumerate().map(|(index, size)| batch(index, *size)).collect();
    let begin = |staging: &mut Staging, index: usize| {
        let (batch, shape) = &batches[index];
        staging.begin(batch, |batch| (&batch.0, &batch.1), *shape).unwrap();
    };
    begin(&mut staging, 0);
    for index in 0..batches.len() {
        if index + 1 < batches.len() {
            begin(&mut staging, index + 1);
        }
        let (images, labels) = staging.arrive().unwrap().expect("it was begun");
        // Work that is still to be done when the next copy is enqueued.
        let doubled = (&images * 2.0).unwrap();
        assert_eq!(labels.flatten_all().unwrap().to_vec1::<u8>().unwrap(), batches[index].0.1);
        let expected: Vec<f32> = batches[index].0.0.iter().map(|value| 2.0 * value).collect();
        assert_eq!(doubled.flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
    }
    // A batch of the wrong size is reported when it arrives.
    let (wrong, _) = &batches[0];
    staging.begin(wrong, |batch| (&batch.0, &batch.1), (2, 3, 5, 8)).unwrap();
    assert!(staging.arrive().is_err());
}
