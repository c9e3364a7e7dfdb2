//! Norms folded into the convolutions before them, against the operations in turn on the CPU.

use candle_core::{DType, Device, Result, Tensor, Var};
use robustseg_ops::{
    BatchNorm, BatchStatistics, Conv2dConfig, FoldedNorm, StatisticsSource, Tape, batch_norm_relu,
    batch_norm_relu_conv2d, conv2d, convert,
};

use crate::EXACT;
use crate::compare::{difference, gpu, random};

const EPS: f32 = 1e-3;

/// Weight, bias and statistics of a norm of `channels`.
struct Parameters {
    weight: Tensor,
    bias: Tensor,
    statistics: BatchStatistics,
}

impl Parameters {
    fn new(seed: u64, channels: usize) -> Self {
        let variance = (random(seed + 3, &[channels]).abs().unwrap() + 0.1).unwrap();
        Self {
            weight: random(seed, &[channels]),
            bias: random(seed + 1, &[channels]),
            statistics: BatchStatistics::new(random(seed + 2, &[channels]), variance),
        }
    }

    fn to(&self, device: &Device) -> Self {
        let there = |tensor: &Tensor| tensor.to_device(device).unwrap();
        Self {
            weight: there(&self.weight),
            bias: there(&self.bias),
            statistics: BatchStatistics::new(there(&self.statistics.mean), there(&self.statistics.variance)),
        }
    }

    fn norm(&self, source: StatisticsSource) -> BatchNorm<'_> {
        let Self { weight, bias, statistics } = self;
        BatchNorm { weight, bias, statistics, source, eps: EPS }
    }
}

/// A convolution behind a norm, or behind none, and before another.
struct Case {
    x: Tensor,
    kernel: Tensor,
    /// Of another convolution on `x`, whose gradient is the first.
    other: Tensor,
    config: Conv2dConfig,
    first: Option<Parameters>,
    behind: Parameters,
}

impl Case {
    fn there(&self, device: &Device, elements: DType) -> Self {
        let there = |tensor: &Tensor| tensor.to_device(device).unwrap();
        Self {
            x: convert(&there(&self.x), elements).unwrap(),
            kernel: there(&self.kernel),
            other: convert(&there(&self.other), elements).unwrap(),
            config: self.config,
            first: self.first.as_ref().map(|first| first.to(device)),
            behind: self.behind.to(device),
        }
    }

    fn folded(&self, x: &Tensor) -> Result<Tensor> {
        let behind = self.behind.norm(StatisticsSource::Running);
        let folded = FoldedNorm::new(&self.kernel, behind, x.dtype())?.expect("a GPU folds it");
        match &self.first {
            None => folded.conv2d_relu(x, self.config, EXACT),
            Some(first) => {
                let first = first.norm(StatisticsSource::Running);
                folded.batch_norm_relu_conv2d_relu(x, first, self.config, EXACT)
            }
        }
    }

    /// The convolution of `kernel` alone.
    fn product(&self, x: &Tensor, kernel: &Tensor) -> Result<Tensor> {
        match &self.first {
            None => conv2d(x, kernel, self.config, EXACT),
            Some(first) => {
                let first = first.norm(StatisticsSource::Running);
                batch_norm_relu_conv2d(x, first, kernel, self.config, EXACT)
            }
        }
    }

    /// The kernel times the scale of the norm behind it.
    fn scaled(&self) -> Result<Tensor> {
        let Parameters { weight, statistics, .. } = &self.behind;
        let scale = (weight / (&statistics.variance + f64::from(EPS))?.sqrt()?)?;
        self.kernel.broadcast_mul(&scale.reshape((scale.elem_count(), 1, 1, 1))?)
    }

    /// The output of `work` on `x`, and the gradient of `x`: of the output times factors, those where `mask`
    /// is zero left out, and of the other convolution.
    fn outcome(
        &self,
        mask: Option<&Tensor>,
        work: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<[Tensor; 2]> {
        let factors = |seed, of: &Tensor| random(seed, of.dims()).to_device(of.device());
        let x = Var::from_tensor(&self.x)?;
        let tape = Tape::start();
        let y = work(&x)?;
        let z = conv2d(&x, &self.other, Conv2dConfig::default(), EXACT)?;
        let mut of_y = factors(90, &y)?;
        if let Some(mask) = mask {
            of_y = (of_y * mask.to_dtype(DType::F32)?.gt(0.0)?.to_dtype(DType::F32)?)?;
        }
        let of = |tensor: &Tensor, factors: Tensor| -> Result<Tensor> {
            (convert(tensor, DType::F32)? * factors)?.sum_all()
        };
        let loss = (of(&y, of_y)? + of(&z, factors(91, &z)?)?)?;
        let gradient = tape.backward(&loss)?.get(&x).expect("a gradient").clone();
        Ok([y.detach(), gradient])
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, (size, outputs, kernel, stride, padding, dilation)) in [
        ([2, 7, 9, 3], 5, 3, 1, 1, 1),
        ([1, 13, 8, 8], 16, 3, 2, 1, 1),
        ([2, 9, 11, 16], 8, 3, 1, 4, 4),
        ([1, 6, 5, 8], 24, 1, 1, 0, 1),
        ([3, 5, 7, 6], 10, 1, 1, 0, 1),
        ([2, 8, 7, 5], 3, 1, 2, 0, 1),
    ]
    .into_iter()
    .enumerate()
    {
        for first in [false, true] {
            let seed = 1000 + 20 * index as u64;
            cases.push(Case {
                x: random(seed, &size),
                kernel: random(seed + 1, &[outputs, kernel, kernel, size[3]]),
                other: random(seed + 2, &[4, 1, 1, size[3]]),
                config: Conv2dConfig { stride, padding, dilation },
                first: first.then(|| Parameters::new(seed + 3, size[3])),
                behind: Parameters::new(seed + 7, outputs),
            });
        }
    }
    cases
}

#[test]
fn folded_norms_have_the_values_and_gradients_of_norms_behind_convolutions() {
    let Some(gpu) = gpu() else { return };
    for case in cases() {
        for (elements, bound) in [(DType::F32, 2e-5), (DType::BF16, 4e-2)] {
            // The numbers that the GPU has.
            let rounded = case.there(&Device::Cpu, elements).there(&Device::Cpu, DType::F32);
            let there = case.there(&gpu, elements);
            let name = format!("{:?} {:?} {elements:?}", case.x.dims(), case.config);
            // The first time chooses how convolutions are computed, the second computes them so.
            for _ in 0..2 {
                let [y, gradient] = there.outcome(None, |x| there.folded(x)).unwrap();
                assert_eq!((y.dtype(), gradient.dtype()), (elements, elements));
                let Parameters { weight, bias, statistics } = &rounded.behind;
                let product = rounded.product(&rounded.x, &rounded.kernel).unwrap();
                let source = StatisticsSource::Running;
                let expected = batch_norm_relu(&product, weight, bias, statistics, source, EPS).unwrap();
                let found = difference(&expected, &y);
                assert!(found <= bound, "{name}: the output differs by {found}");
                // Values near zero may pass another `ReLU` in bf16: the GPU's decide.
                let mask = y.to_device(&Device::Cpu).unwrap();
                let scaled = rounded.scaled().unwrap();
                let [_, expected] = rounded.outcome(Some(&mask), |x| rounded.product(x, &scaled)).unwrap();
                let found = difference(&expected, &gradient);
                assert!(found <= bound, "{name}: the gradient differs by {found}");
            }
        }
    }
}

#[test]
fn norms_fold_on_a_gpu_where_nothing_but_the_input_is_tracked() {
    let kernel = random(1, &[4, 3, 3, 2]);
    let parameters = Parameters::new(2, 4);
    let folds = |kernel: &Tensor, parameters: &Parameters, source| {
        FoldedNorm::new(kernel, parameters.norm(source), DType::F32).unwrap().is_some()
    };
    assert!(!folds(&kernel, &parameters, StatisticsSource::Running), "on the CPU");
    let Some(gpu) = gpu() else { return };
    let (kernel, parameters) = (kernel.to_device(&gpu).unwrap(), parameters.to(&gpu));
    assert!(folds(&kernel, &parameters, StatisticsSource::Running));
    assert!(!folds(&kernel, &parameters, StatisticsSource::Batch));
    let tracked = |tensor: &Tensor| Var::from_tensor(tensor).unwrap().into_inner();
    assert!(!folds(&tracked(&kernel), &parameters, StatisticsSource::Running));
    let mut changed = parameters.to(&gpu);
    changed.weight = tracked(&changed.weight);
    assert!(!folds(&kernel, &changed, StatisticsSource::Running));
    let mut changed = parameters.to(&gpu);
    changed.bias = tracked(&changed.bias);
    assert!(!folds(&kernel, &changed, StatisticsSource::Running));
    let wrong = Parameters::new(5, 3).to(&gpu);
    let error = FoldedNorm::new(&kernel, wrong.norm(StatisticsSource::Running), DType::F32).unwrap_err();
    assert!(error.to_string().contains("each of 4 channels"), "{error}");
}
