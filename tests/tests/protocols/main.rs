//! Evaluation protocols compared with PyTorch in double precision, and with Pillow. `golden.py` made
//! the cases.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Tensor};
use robustseg_attacks::{
    Alignment, CurveConfig, Fgsm, Model, PixelObjective, check_gradient, input_gradient,
};
use robustseg_evaluation::{
    AttackedPart, EvaluationBatch, Presented, Protocol, Sea, Semseg, evaluate_presented,
};
use robustseg_ops::{Arithmetic, Conv2dConfig, conv2d, softmax};
use serde_json::Value;

type Tensors = HashMap<String, Tensor>;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocols").join(name)
}

fn golden() -> (Tensors, Value) {
    let text = std::fs::read(file("golden.json")).expect("the settings");
    let tensors = candle_core::safetensors::load(file("golden.safetensors"), &Device::Cpu);
    (tensors.expect("the tensors"), serde_json::from_slice(&text).expect("JSON"))
}

/// The model of `golden.py`.
struct Smooth {
    first: Tensor,
    second: Tensor,
}

impl Smooth {
    fn of(golden: &Tensors) -> Self {
        let weight = |name: &str| golden[name].permute((0, 2, 3, 1)).and_then(|weight| weight.contiguous());
        Self { first: weight("first").expect("a weight"), second: weight("second").expect("a weight") }
    }
}

impl Model for Smooth {
    fn logits(&self, image: &Tensor) -> Result<Tensor> {
        let channel = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu);
        let x = image.permute((0, 2, 3, 1))?.contiguous()?;
        let x = x.broadcast_sub(&channel([0.485, 0.456, 0.406])?)?;
        let x = x.broadcast_div(&channel([0.229, 0.224, 0.225])?)?;
        let conv = |x: &Tensor, weight: &Tensor, stride| {
            let config = Conv2dConfig { stride, padding: 1, ..Conv2dConfig::default() };
            conv2d(x, weight, config, Arithmetic::default())
        };
        conv(&conv(&x, &self.first, 3)?.tanh()?, &self.second, 1)
    }

    fn alignment(&self) -> Alignment {
        Alignment::AlignCorners
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32")
}

/// The norm of the difference over the norm.
fn relative_l2(ours: &Tensor, golden: &Tensor) -> f64 {
    assert_eq!(ours.dims(), golden.dims());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let (ours, golden) = (values(ours), values(golden));
    let mut difference = ours.iter().zip(&golden).map(|(a, b)| f64::from(*a) - f64::from(*b));
    norm(&mut difference) / norm(&mut golden.iter().map(|value| f64::from(*value)))
}

/// The protocols of the golden cases by name.
fn protocols(settings: &Value) -> Vec<(String, Protocol)> {
    let cases = settings["protocols"].as_object().expect("protocols");
    let read = |(name, value): (&String, &Value)| {
        (name.clone(), serde_json::from_value(value.clone()).expect("a protocol"))
    };
    cases.iter().map(read).collect()
}

#[test]
fn probabilities_and_input_gradients_are_those_of_pytorch()
-> std::result::Result<(), Box<dyn std::error::Error>> {
    let (golden, settings) = golden();
    let model = Smooth::of(&golden);
    for (name, protocol) in protocols(&settings) {
        let of = |key: &str| &golden[&format!("{name}.{key}")];
        let presented = Presented::new(&model, &protocol);
        let (image, label) = presented.prepare(of("image"), of("label"))?;
        let ours = softmax(&presented.logits(&image)?)?.permute((0, 3, 1, 2))?;
        let found = relative_l2(&ours, of("probabilities"));
        assert!(found < 1e-5, "{name}: probabilities differ by {found:.2e}");
        let ours = input_gradient(&presented, &image, &label, PixelObjective::CrossEntropy)?;
        let found = relative_l2(&ours.gradient, of("gradient"));
        assert!(found < 1e-4, "{name}: gradients differ by {found:.2e}");
        let check = check_gradient(&presented, &image, &label)?.expect("labels");
        assert!(check.agrees(), "{name}: {check:?}");
    }
    Ok(())
}

#[test]
fn attacks_on_crops_are_those_of_pytorch() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (golden, settings) = golden();
    let model = Smooth::of(&golden);
    let mut compared = 0;
    for (name, protocol) in protocols(&settings) {
        let (expected, Protocol::Semseg(semseg)) = (&settings["attacked_in_crops"][&name], protocol) else {
            continue;
        };
        if expected.is_null() {
            continue;
        }
        let protocol = Protocol::Semseg(Semseg { attack: AttackedPart::Crops, ..semseg });
        let presented = Presented::new(&model, &protocol);
        let (image, label) =
            (golden[&format!("{name}.image")].clone(), golden[&format!("{name}.label")].clone());
        let batch = EvaluationBatch { ids: vec!["x".into()], image: image.clone(), label: label.clone() };
        let curves = [CurveConfig::new(Fgsm {}, vec![0.02])];
        let found = evaluate_presented(&presented, 3, [batch], &curves, 1, 0)?;
        let (loss, accuracy) =
            (found.images[1].loss, found.evaluation.curves[0].points[0].scores.pixel_accuracy);
        let expected =
            ["attacked_loss", "attacked_accuracy"].map(|key| expected[key].as_f64().expect("a number"));
        assert!((f64::from(loss) / expected[0] - 1.0).abs() < 1e-4, "{name}: {loss} and {expected:?}");
        assert!((accuracy - expected[1]).abs() < 2e-3, "{name}: {accuracy} and {expected:?}");
        // Without an attack, crops give the scores of the whole protocol.
        let whole = found.images[0].loss;
        let gradient = input_gradient(&presented, &image, &label, PixelObjective::CrossEntropy)?;
        assert!((gradient.value.to_vec1::<f32>()?[0] - whole).abs() < 1e-5);
        let (_, height, width) = label.dims3()?;
        assert_eq!((found.examples[0].height, found.examples[0].width), (height, width));
        compared += 1;
    }
    assert_eq!(compared, 2);
    Ok(())
}

#[test]
fn sea_prepares_images_as_pillow_does() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (golden, _) = golden();
    let model = Smooth::of(&golden);
    for (name, size) in [("larger", 23), ("smaller", 23), ("square", 21)] {
        let of = |key: &str| &golden[&format!("{name}.{key}")];
        let image = (of("image").permute((2, 0, 1))?.unsqueeze(0)?.to_dtype(DType::F32)? / 255.0)?;
        for void_class in [None, Some(0)] {
            let protocol = Protocol::Sea(Sea { size, void_class });
            let presented = Presented::new(&model, &protocol);
            let (image, label) = presented.prepare(&image, &of("label").unsqueeze(0)?)?;
            let ours = ((image.squeeze(0)?.permute((1, 2, 0))? * 255.0)? + 0.5)?.to_dtype(DType::U8)?;
            let bytes = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<u8>();
            assert_eq!(bytes(&ours)?, bytes(of("cut"))?, "{name}");
            let void = |label: u8| if label == 255 { void_class.unwrap_or(255) } else { label };
            let expected: Vec<u8> = bytes(of("cut_label"))?.into_iter().map(void).collect();
            assert_eq!(bytes(&label)?, expected, "{name}");
        }
    }
    Ok(())
}
