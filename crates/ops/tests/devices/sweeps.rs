//! Passes that a GPU saves: gradients added inside kernels, statistics moved and copied in a launch
//! each, casts with a gradient of their own.

use candle_core::{DType, Device, Result, Tensor, Var};
use robustseg_ops::{
    AdamWConfig, AdamWUpdate, Arithmetic, BatchNorm, BatchStatistics, Conv2dConfig, RoundedCopy, SgdConfig,
    SgdUpdate, StatisticsSource, Tape, adamw_step, assign, batch_norm, batch_norm_add_relu,
    batch_norm_add_relu_in_place, batch_norm_in_place, batch_norm_relu, batch_norm_relu_conv2d,
    batch_norm_relu_in_place, batch_statistics, conv2d, conv2d_add, conv2d_bias, convert, copies,
    move_running_statistics, sgd_step,
};

use crate::EXACT;
use crate::compare::{difference, gpu, random};

/// Blocks whose input has two or three gradients, each of another operation, on `channels` channels.
fn blocks(t: &[Tensor]) -> Result<Tensor> {
    let (x, kernel, wide, weight, bias) = (&t[0], &t[1], &t[2], &t[3], &t[4]);
    let (one, three) = (Conv2dConfig::default(), Conv2dConfig { padding: 1, ..Conv2dConfig::default() });
    let norm =
        |statistics| BatchNorm { weight, bias, statistics, source: StatisticsSource::Batch, eps: 1e-3 };
    let statistics = batch_statistics(x)?;
    let y = batch_norm_relu_conv2d(x, norm(&statistics), kernel, one, EXACT)?;
    let y = conv2d_add(&y, wide, three, x, EXACT)?;
    let statistics = batch_statistics(&y)?;
    let activated = batch_norm(&y, norm(&statistics))?;
    let both = conv2d_add(&activated, kernel, one, &conv2d(&activated, wide, three, EXACT)?, EXACT)?;
    let statistics = batch_statistics(&both)?;
    let out = batch_norm_add_relu(&both, norm(&statistics), &conv2d(&both, kernel, one, EXACT)?)?;
    conv2d_bias(&convert(&out, DType::F32)?, &convert(kernel, DType::F32)?, bias, one, EXACT)
}

/// The gradients of `blocks` by a tape.
fn gradients(arguments: &[Tensor], device: &Device, narrow: Option<DType>) -> Result<Vec<Tensor>> {
    let masters = arguments.iter().map(|argument| Var::from_tensor(&argument.to_device(device)?));
    let masters = masters.collect::<Result<Vec<_>>>()?;
    let tape = Tape::start();
    let used = masters.iter().enumerate().map(|(index, master)| match narrow {
        Some(narrow) if index < 3 => convert(master, narrow),
        _ => Ok(master.as_tensor().clone()),
    });
    let out = blocks(&used.collect::<Result<Vec<_>>>()?)?;
    let factors = random(99, out.dims()).to_device(device)?;
    let found = tape.backward(&(out * factors)?.sum_all()?)?;
    Ok(masters.iter().map(|master| found.get(master).expect("each has a gradient").clone()).collect())
}

#[test]
fn gradients_that_kernels_add_up_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    for (seed, channels) in [(0, 3), (10, 8)] {
        let arguments = [
            random(seed, &[2, 7, 9, channels]),
            random(seed + 1, &[channels, 1, 1, channels]),
            (random(seed + 2, &[channels, 3, 3, channels]) * 0.3).unwrap(),
            random(seed + 3, &[channels]),
            random(seed + 4, &[channels]),
        ];
        let cpu = gradients(&arguments, &Device::Cpu, None).unwrap();
        let same = gradients(&arguments, &gpu, None).unwrap();
        let narrow = gradients(&arguments, &gpu, Some(DType::BF16)).unwrap();
        for ((cpu, same), narrow) in cpu.iter().zip(&same).zip(&narrow) {
            assert!(difference(cpu, same) < 1e-4, "{channels}: {}", difference(cpu, same));
            assert_eq!(narrow.dtype(), DType::F32);
            // Values near zero pass another ReLU in bf16.
            assert!(difference(cpu, narrow) < 0.3, "{channels}: {}", difference(cpu, narrow));
        }
    }
}

#[test]
fn norms_in_place_have_the_values_of_separate_ones() {
    let Some(gpu) = gpu() else { return };
    for (channels, dtype) in [(5, DType::F32), (8, DType::F32), (5, DType::BF16), (16, DType::BF16)] {
        let new = |seed, shape: &[usize]| random(seed, shape).to_device(&gpu).unwrap();
        let x = || convert(&new(940, &[2, 37, 9, channels]), dtype).unwrap();
        let residual = convert(&new(941, &[2, 37, 9, channels]), dtype).unwrap();
        let (weight, bias) = (&new(942, &[channels]), &new(943, &[channels]));
        let (statistics, source) = (&batch_statistics(&x()).unwrap(), StatisticsSource::Batch);
        let norm = || BatchNorm { weight, bias, statistics, source, eps: 1e-5 };
        let pairs = [
            (batch_norm_in_place(x(), norm()), batch_norm(&x(), norm())),
            (
                batch_norm_relu_in_place(x(), norm()),
                batch_norm_relu(&x(), weight, bias, statistics, source, 1e-5),
            ),
            (
                batch_norm_add_relu_in_place(x(), norm(), &residual),
                batch_norm_add_relu(&x(), norm(), &residual),
            ),
        ];
        for (in_place, separate) in pairs {
            assert_eq!(difference(&separate.unwrap(), &in_place.unwrap()), 0.0, "{channels} {dtype:?}");
        }
    }
}

#[test]
fn running_statistics_move_as_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let moved = |device: &Device| -> Result<Vec<Tensor>> {
        let new = |seed| Var::from_tensor(&random(seed, &[333]).abs()?.to_device(device)?);
        let (mean, variance) = (new(900)?, new(901)?);
        let batch = BatchStatistics::new(new(902)?.as_detached_tensor(), new(903)?.as_detached_tensor());
        move_running_statistics([&mean, &variance], &batch, 0.1, 1.25)?;
        copies(&[&mean, &variance])
    };
    let (cpu, there) = (moved(&Device::Cpu).unwrap(), moved(&gpu).unwrap());
    for (cpu, there) in cpu.iter().zip(&there) {
        assert!(difference(cpu, there) < 1e-6);
    }
}

#[test]
fn copies_keep_their_values_when_their_tensors_change() {
    let Some(gpu) = gpu() else { return };
    let shapes = [vec![5], vec![3, 700], vec![1], vec![2, 2, 3]];
    let tensors: Vec<Var> = (0..4)
        .map(|index| {
            Var::from_tensor(&random(910 + index, &shapes[index as usize]).to_device(&gpu).unwrap()).unwrap()
        })
        .collect();
    let copied = copies(&tensors.iter().map(Var::as_tensor).collect::<Vec<_>>()).unwrap();
    for (index, (tensor, copied)) in tensors.iter().zip(&copied).enumerate() {
        assign(tensor, &tensor.zeros_like().unwrap()).unwrap();
        assert_eq!(difference(&random(910 + index as u64, &shapes[index]), copied), 0.0);
    }
    // Views, other types and other devices are copied one by one.
    let view = tensors[1].t().unwrap();
    let others = [&view, &random(920, &[4]), &Tensor::zeros(3, DType::U8, &gpu).unwrap()];
    assert_eq!(copies(&others).unwrap().len(), 3);
}

/// The bits of `copy`, and those that candle rounds `weight` to.
fn bits(copy: &RoundedCopy, weight: &Var) -> [Vec<f32>; 2] {
    let values = |tensor: &Tensor| -> Vec<f32> {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let rounded = weight.as_detached_tensor().to_dtype(DType::BF16).unwrap();
    [values(&copy.of(weight, DType::BF16, false).unwrap()), values(&rounded)]
}

#[test]
fn rounded_copies_have_the_bits_of_a_cast_after_any_change() {
    let Some(gpu) = gpu() else { return };
    let new = |seed| Var::from_tensor(&random(seed, &[9, 3, 3, 700]).to_device(&gpu).unwrap()).unwrap();
    let (weight, velocity, square) = (new(930), new(931), new(932));
    let (copy, gradient) = (RoundedCopy::default(), new(933).as_detached_tensor());
    assign(&square, &square.abs().unwrap()).unwrap();
    let same = || {
        let [copied, rounded] = bits(&copy, &weight);
        assert_eq!(copied, rounded);
        copied
    };
    let sgd = |gradient: &Tensor| {
        let config = SgdConfig { learning_rate: 0.3, momentum: 0.9, weight_decay: 0.01, nesterov: true };
        let update = SgdUpdate { parameter: &weight, gradient, velocity: &velocity, config };
        sgd_step(&[update]).unwrap()
    };
    let mut before = same();
    let mut changed = |change: &dyn Fn()| {
        change();
        let after = same();
        assert_ne!(std::mem::replace(&mut before, after.clone()), after);
    };
    changed(&|| assert_eq!(sgd(&gradient), None));
    changed(&|| assert_eq!(sgd(&gradient), None));
    changed(&|| assign(&weight, &gradient).unwrap());
    changed(&|| {
        let (learning_rate, beta1, beta2, epsilon, weight_decay, step) = (0.1, 0.9, 0.99, 1e-3, 0.1, 3);
        let config = AdamWConfig { learning_rate, beta1, beta2, epsilon, weight_decay, step };
        let (mean, square) = (&velocity, &square);
        let update = AdamWUpdate { parameter: &weight, gradient: &gradient, mean, square, config };
        assert_eq!(adamw_step(&[update]).unwrap(), None);
    });
    // An update after a change that no pass has seen yet.
    changed(&|| {
        assign(&weight, &(&gradient * 0.5).unwrap()).unwrap();
        assert_eq!(sgd(&gradient), None);
    });
    // Nothing changes where a gradient is not finite.
    assert_eq!(sgd(&(&gradient / 0.0).unwrap()), Some(0));
    assert_eq!(same(), before);
}

#[test]
fn gradients_reach_the_weight_of_a_rounded_copy() {
    let Some(gpu) = gpu() else { return };
    let weight = Var::from_tensor(&random(940, &[5, 3, 3, 8]).to_device(&gpu).unwrap()).unwrap();
    let x = random(941, &[2, 6, 7, 8]).to_device(&gpu).unwrap().to_dtype(DType::BF16).unwrap();
    let copy = RoundedCopy::default();
    // Two uses in one record, and the same by casts.
    let gradient = |rounded: &dyn Fn() -> Result<Tensor>| -> Result<Tensor> {
        let tape = Tape::start();
        let once = conv2d(&x, &rounded()?, Conv2dConfig::default(), Arithmetic::default())?;
        let twice = conv2d(&x, &rounded()?, Conv2dConfig::default(), Arithmetic::default())?;
        let sum =
            (convert(&once, DType::F32)?.sqr()?.sum_all()? + convert(&twice, DType::F32)?.sum_all()?)?;
        Ok(tape.backward(&sum)?.get(&weight).expect("a gradient").clone())
    };
    let cast = gradient(&|| convert(&weight, DType::BF16)).unwrap();
    for _ in 0..2 {
        let copied = gradient(&|| copy.of(&weight, DType::BF16, true)).unwrap();
        assert!(difference(&cast, &copied) < 1e-2);
    }
}
