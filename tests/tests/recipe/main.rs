//! Ten steps of optimisers, schedules and losses compared with PyTorch in double precision. `golden.py`
//! made the case.

use candle_core::{DType, Device, Tensor, Var};
use robustseg_ops::{
    AdamWConfig, AdamWUpdate, Alignment, Hardest, PixelObjective, SgdConfig, SgdUpdate, Tape, adamw_step,
    clip_gradients, dice_loss, lovasz_softmax, ohem_cross_entropy, pixel_objective_mean, sgd_step,
    weighted_cross_entropy,
};
use robustseg_training::{Basic, Constant, Cosine, LearningRate, ScheduleConfig, Step, TrainingConfig};
use std::collections::HashMap;
use std::path::Path;

const STEPS: usize = 10;
const BOUND: f64 = 1e-5;

struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipe/golden.safetensors");
        Self(candle_core::safetensors::load(path, &Device::Cpu).expect("the golden tensors"))
    }

    fn single(&self, name: &str) -> Tensor {
        self.0[name].to_dtype(DType::F32).expect("numbers")
    }

    /// Requires `found` to be within [`BOUND`] of the tensor `name`, in relative L2.
    fn require(&self, name: &str, found: &[f64]) {
        let expected = values(&self.0[name]);
        assert_eq!(found.len(), expected.len(), "{name}");
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let difference = norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
        let error = difference / norm(&mut expected.iter().copied());
        assert!(error <= BOUND, "{name}: relative error {error}");
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all()?.to_vec1());
    flat.expect("numbers")
}

/// Requires ten steps of `update` of (parameter, gradient, two states, rate, number) to be those of
/// PyTorch's optimiser `name`.
fn optimises(name: &str, update: impl Fn(&Var, &Tensor, [&Var; 2], f64, u64) -> Option<usize>) {
    let golden = Golden::new();
    let parameter = Var::from_tensor(&golden.single("parameter")).unwrap();
    let states = [0, 1].map(|_| Var::from_tensor(&parameter.zeros_like().unwrap()).unwrap());
    let gradients = golden.single("gradients");
    let mut path = Vec::new();
    for step in 0..STEPS {
        let rate = 0.1 / (step + 1) as f64;
        let gradient = gradients.get(step).unwrap();
        let states = [&states[0], &states[1]];
        assert_eq!(update(&parameter, &gradient, states, rate, step as u64 + 1), None);
        path.extend(values(&parameter));
    }
    golden.require(&format!("optimiser.{name}"), &path);
}

#[test]
fn sgd_with_and_without_nesterovs_momentum_steps_as_pytorch() {
    for (name, nesterov) in [("sgd", false), ("nesterov", true)] {
        optimises(name, |parameter, gradient, [velocity, _], learning_rate, _| {
            let config = SgdConfig { learning_rate, momentum: 0.9, weight_decay: 0.01, nesterov };
            sgd_step(&[SgdUpdate { parameter, gradient, velocity, config }]).unwrap()
        });
    }
}

#[test]
fn clipped_gradients_step_as_pytorch() {
    optimises("clipped", |parameter, gradient, [velocity, _], learning_rate, _| {
        // The gradient of this sum is the given one.
        let tape = Tape::start();
        let sum = (parameter.as_tensor() * gradient).unwrap().sum_all().unwrap();
        let mut gradients = tape.backward(&sum).unwrap();
        clip_gradients(&[parameter], &mut gradients, 6.5).unwrap();
        let gradient = gradients.get(parameter).expect("a gradient");
        let config = SgdConfig { learning_rate, momentum: 0.9, weight_decay: 0.01, nesterov: false };
        sgd_step(&[SgdUpdate { parameter, gradient, velocity, config }]).unwrap()
    });
}

#[test]
fn adamw_steps_as_pytorch() {
    optimises("adamw", |parameter, gradient, [mean, square], learning_rate, step| {
        let (beta1, beta2, epsilon, weight_decay) = (0.8, 0.95, 1e-6, 0.05);
        let config = AdamWConfig { learning_rate, beta1, beta2, epsilon, weight_decay, step };
        adamw_step(&[AdamWUpdate { parameter, gradient, mean, square, config }]).unwrap()
    });
}

#[test]
fn schedules_give_the_rates_of_pytorch() {
    let golden = Golden::new();
    let cases: [(&str, ScheduleConfig, f64); 5] = [
        ("polynomial", ScheduleConfig::default(), 0.0),
        ("cosine", Cosine { end: 0.01 }.into(), 0.0),
        ("step", Step { at: vec![2.0, 3.5], factor: 0.2 }.into(), 0.0),
        ("constant", Constant {}.into(), 0.0),
        ("warm", ScheduleConfig::default(), 1.5),
    ];
    for (name, schedule, warm_up_epochs) in cases {
        let mut config = TrainingConfig::new(Basic {}, 5);
        (config.learning_rate, config.schedule, config.warm_up_epochs) = (0.3, schedule, warm_up_epochs);
        let rate = LearningRate::new(&config, STEPS as u64);
        let rates: Vec<f64> = (0..STEPS as u64).map(|step| rate.at(step)).collect();
        golden.require(&format!("schedule.{name}"), &rates);
    }
}

/// Requires ten steps down `loss` of (logits, labels, weights of classes) to be those of PyTorch for
/// the loss `name`.
fn descends(name: &str, loss: impl Fn(&Tensor, &Tensor, &[f32]) -> candle_core::Result<Tensor>) {
    let golden = Golden::new();
    let (labels, weights) = (&golden.0["labels"], golden.single("weights").to_vec1().unwrap());
    let logits = Var::from_tensor(&golden.single("logits")).unwrap();
    let velocity = &Var::from_tensor(&logits.zeros_like().unwrap()).unwrap();
    let mut path = Vec::new();
    for _ in 0..STEPS {
        let value = loss(logits.as_tensor(), labels, &weights).unwrap();
        path.extend(values(&value));
        let gradients = value.backward().unwrap();
        let gradient = gradients.get(&logits).expect("a gradient");
        let config = SgdConfig { learning_rate: 3.0, momentum: 0.5, weight_decay: 0.0, nesterov: false };
        let update = SgdUpdate { parameter: &logits, gradient, velocity, config };
        assert_eq!(sgd_step(&[update]).unwrap(), None);
    }
    golden.require(&format!("loss.{name}.values"), &path);
    golden.require(&format!("loss.{name}.logits"), &values(&logits));
}

#[test]
fn cross_entropies_descend_as_pytorchs() {
    let alignment = Alignment::HalfPixel;
    descends("cross_entropy", |logits, labels, _| {
        pixel_objective_mean(logits, labels, PixelObjective::CrossEntropy, alignment)
    });
    descends("weighted", |logits, labels, weights| {
        weighted_cross_entropy(logits, labels, weights, alignment)
    });
    descends("ohem", |logits, labels, _| {
        let hardest = Hardest { threshold: 0.4, share: 0.25 };
        ohem_cross_entropy(logits, labels, hardest, None, alignment)
    });
    descends("ohem_weighted", |logits, labels, weights| {
        let hardest = Hardest { threshold: 0.05, share: 0.25 };
        ohem_cross_entropy(logits, labels, hardest, Some(weights), alignment)
    });
}

#[test]
fn dice_and_lovasz_descend_as_in_pytorch() {
    let alignment = Alignment::HalfPixel;
    descends("dice", |logits, labels, _| dice_loss(logits, labels, 0.5, alignment));
    descends("lovasz", |logits, labels, _| lovasz_softmax(logits, labels, false, alignment));
    descends("lovasz_per_image", |logits, labels, _| lovasz_softmax(logits, labels, true, alignment));
}
