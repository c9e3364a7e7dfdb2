//! The convolutional networks compared with PyTorch in double precision: logits, the input's
//! gradient, and a training step with its auxiliary loss. `golden.py` made the cases.

mod folding;

use candle_core::{DType, Device, Tensor, Var};
use robustseg_models::{
    Architecture, Backbone, DeepLabV3Config, DeepLabVariant, FcnConfig, Mode, Network, NetworkConfig,
    Precision, PspNetConfig, Upsampling,
};
use robustseg_ops::{PixelObjective, Tape, pixel_objective_mean};
use robustseg_random::stream;
use robustseg_tests::device;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const LAYERS: [usize; 4] = [1, 1, 2, 2];
const WIDTH: usize = 4;
const CLASSES: usize = 3;
const SIZE: (usize, usize, usize) = (3, 33, 41);

/// The networks by the names of their files.
fn cases() -> Vec<(&'static str, NetworkConfig)> {
    let pspnet = |backbone| PspNetConfig { layers: LAYERS, width: WIDTH, backbone, auxiliary_loss: 0.4 };
    let deeplabv3 = |variant, backbone, auxiliary_loss| DeepLabV3Config {
        layers: LAYERS,
        width: WIDTH,
        backbone,
        variant,
        auxiliary_loss,
    };
    let fcn = FcnConfig { layers: LAYERS, width: WIDTH, backbone: Backbone::ResnetV1, auxiliary_loss: 0.5 };
    let config = |architecture: Architecture, upsampling| NetworkConfig {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        upsampling,
        ..NetworkConfig::new(architecture, CLASSES)
    };
    let (aligned, half) = (Upsampling::AlignCorners, Upsampling::HalfPixel);
    let torchvision = deeplabv3(DeepLabVariant::Torchvision, Backbone::ResnetV1, 0.5);
    let ddc_at = deeplabv3(DeepLabVariant::DdcAt, Backbone::ResnetV1c, 0.4);
    vec![
        ("pspnet_v1", config(pspnet(Backbone::ResnetV1).into(), aligned)),
        ("pspnet_v1c", config(pspnet(Backbone::ResnetV1c).into(), aligned)),
        ("deeplabv3_torchvision", config(torchvision.into(), half)),
        ("deeplabv3_ddc_at", config(ddc_at.into(), aligned)),
        ("fcn", config(fcn.into(), half)),
    ]
}

/// The numbers that `golden.py` gives the tensor `name`: `count` multiples of 2^-16 in [0, 1).
fn hashed(name: &str, count: usize) -> Vec<f32> {
    let key =
        name.bytes().fold(2_166_136_261_u32, |key, byte| (key ^ u32::from(byte)).wrapping_mul(16_777_619));
    let number = |index: u32| {
        let number = index.wrapping_mul(2_654_435_761).wrapping_add(key);
        let number = (number ^ (number >> 15)).wrapping_mul(2_246_822_519);
        ((number ^ (number >> 13)) >> 16) as f32 / 65536.0
    };
    (0..count as u32).map(number).collect()
}

/// The value of the variable `name` of `shape`, in PyTorch's layout, as `golden.py` has it.
fn initial(name: &str, shape: &[usize]) -> Vec<f32> {
    let values = hashed(name, shape.iter().product());
    let vector = shape.len() == 1;
    let of = |change: &dyn Fn(f32) -> f32| values.iter().map(|value| change(*value)).collect();
    if name.ends_with("running_var") || vector && name.ends_with("weight") {
        of(&|value| value + 0.5)
    } else if vector {
        of(&|value| (value - 0.5) / 2.0)
    } else {
        let fan_in: usize = shape[1..].iter().product();
        let scale = (0.5 * (24.0 / fan_in as f64).log2()).round().exp2() as f32;
        of(&|value| (value - 0.5) * scale)
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks").join(name)
}

/// A network with golden weights, the golden tensors, and the errors of PyTorch's own f32.
struct Case {
    name: &'static str,
    network: Network,
    golden: HashMap<String, Tensor>,
    errors: Value,
}

impl Case {
    fn load(name: &'static str, config: &NetworkConfig) -> Self {
        let device = device();
        let network = Network::blank(config, &device).expect("a network");
        for (name, parameter) in network.parameters() {
            let shape = parameter.var.dims();
            let value = if let [o, h, w, i] = *shape {
                let value = Tensor::from_vec(initial(name, &[o, i, h, w]), (o, i, h, w), &device);
                value.and_then(|value| value.permute((0, 2, 3, 1))?.contiguous())
            } else {
                Tensor::from_vec(initial(name, shape), shape, &device)
            };
            robustseg_ops::assign(&parameter.var, &value.expect("a value"))
                .expect("a variable of this shape");
        }
        let golden = candle_core::safetensors::load(file(&format!("{name}.safetensors")), &Device::Cpu);
        let errors = std::fs::read(file("f32_error.json")).expect("the recorded errors");
        let errors: Value = serde_json::from_slice(&errors).expect("JSON");
        Self { name, network, golden: golden.expect("the golden tensors"), errors: errors[name].clone() }
    }

    /// The faults among `found`, the tensors by their golden names.
    fn faults(&self, found: &[(String, Tensor)]) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, tensor) in found {
            let Some(golden) = self.golden.get(name) else { continue };
            let recorded = self.errors[name].as_f64().expect("a recorded error");
            let (bound, distance) = (1e-4 + 10.0 * recorded, relative_l2(tensor, golden));
            if distance.is_nan() || distance > bound {
                faults.push(format!("{}: {name}: {distance:.2e}, at most {bound:.2e}", self.name));
            }
        }
        let missing = self.golden.keys().filter(|name| found.iter().all(|(found, _)| found != *name));
        faults.extend(missing.map(|name| format!("{}: we have no {name}", self.name)));
        faults
    }
}

/// In PyTorch's layout: (N, C, H, W) and (O, I, KH, KW).
fn outside(tensor: &Tensor) -> Tensor {
    match tensor.rank() {
        4 => tensor.permute((0, 3, 1, 2)).and_then(|tensor| tensor.contiguous()).expect("four axes"),
        _ => tensor.clone(),
    }
}

/// The norm of the difference over the norm.
fn relative_l2(ours: &Tensor, golden: &Tensor) -> f64 {
    assert_eq!(ours.dims(), golden.dims());
    let values = |tensor: &Tensor| -> Vec<f64> {
        let flat = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F64)?.to_vec1());
        flat.expect("numbers")
    };
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let (ours, golden) = (values(ours), values(golden));
    let difference = norm(&mut ours.iter().zip(&golden).map(|(a, b)| a - b));
    difference / norm(&mut golden.iter().copied()).max(1e-30)
}

/// All golden tensors of a case, by our network.
fn results(case: &Case) -> candle_core::Result<Vec<(String, Tensor)>> {
    let (images, height, width) = SIZE;
    let pixels = images * height * width;
    let image =
        Tensor::from_vec(hashed("image", 3 * pixels), (images, 3, height, width), case.network.device())?;
    let label = hashed("label", pixels).into_iter().map(|value| match (value * 4.0) as u8 {
        3 => 255,
        class => class,
    });
    let label = Tensor::from_vec(label.collect::<Vec<u8>>(), SIZE, case.network.device())?;
    let network = &case.network;
    let loss = |logits: &Tensor| {
        pixel_objective_mean(logits, &label, PixelObjective::CrossEntropy, network.alignment())
    };

    let image = Var::from_tensor(&image)?;
    let tape = Tape::start();
    let logits = network.forward(&image, &mut Mode::Evaluation)?;
    let gradient = tape.backward(&loss(&logits)?)?.remove(&image).expect("the input's gradient");
    let mut all = vec![("logits".into(), outside(&logits)), ("input_gradient".into(), gradient)];

    let mut random = stream(0, "golden", [0; 3]);
    let mut mode = Mode::Training { dropout: 0.0, random: &mut random };
    let tape = Tape::start();
    let logits = network.forward_all(&image.as_detached_tensor(), &mut mode)?;
    let [main, auxiliary] = &logits[..] else { panic!("a main and an auxiliary head") };
    let (main, auxiliary) = (loss(main)?, loss(auxiliary)?);
    let weight = network.auxiliary_loss().expect("an auxiliary loss");
    let gradients = tape.backward(&(&main + (&auxiliary * weight)?)?)?;
    all.extend([("train.loss".into(), main), ("train.auxiliary_loss".into(), auxiliary)]);
    for (name, parameter) in network.parameters() {
        if parameter.is_trainable() {
            let gradient = gradients.get(&parameter.var).expect("a gradient for each weight");
            all.push((format!("train.gradient.{name}"), outside(gradient)));
        } else {
            all.push((format!("train.after.{name}"), parameter.var.as_detached_tensor()));
        }
    }
    Ok(all)
}

#[test]
fn logits_gradients_and_a_training_step_agree_with_pytorch() {
    let mut faults = Vec::new();
    for (name, config) in cases() {
        let case = Case::load(name, &config);
        faults.extend(case.faults(&results(&case).expect("results")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// With activations of bf16, which has eight bits, results stay near those of f32. These networks of hashed
/// weights amplify rounding: that of the factors of products alone moves their logits by 0.35 to 0.39.
#[test]
fn bf16_stays_near_f32() {
    for (name, config) in cases() {
        let mut case = Case::load(name, &config);
        let exact = results(&case).expect("results");
        let bf16 = Precision { activations: DType::BF16, ..Precision::default() };
        case.network.set_precision(bf16).expect("every device has bf16");
        let of = |kind: &str, results: &[(String, Tensor)]| -> Tensor {
            let all = results.iter().filter(|(name, _)| name.starts_with(kind));
            let flat = all.map(|(_, tensor)| tensor.flatten_all().expect("numbers"));
            Tensor::cat(&flat.collect::<Vec<_>>(), 0).expect("numbers")
        };
        let rounded = results(&case).expect("results");
        // Gradients pass the masks of `ReLU`s, which small changes flip.
        for (kind, bound) in
            [("logits", 0.5), ("train.loss", 0.01), ("input_gradient", 0.9), ("train.gradient.", 0.9)]
        {
            let error = relative_l2(&of(kind, &rounded), &of(kind, &exact));
            println!("{name}, {kind}: {error:.1e}");
            assert!(error < bound, "{name}, {kind}: {error}");
        }
    }
}
