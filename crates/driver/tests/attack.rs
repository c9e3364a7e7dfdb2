//! `robustseg attack` and `robustseg predict`, end to end and with bad input.

mod common;

use candle_core::{DType, Device, Tensor};
use common::{CLASSES, case, checkpoint, fails, run_in, save_case, succeeds, tiny};
use robustseg_attacks::{AttackConfig, Settings};
use robustseg_models::{CheckpointClass, Network, NetworkConfig, Origin};

fn attack<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["attack", "--checkpoint", "model.safetensors", "--out", "out"], rest].concat()
}

#[test]
fn a_case_is_attacked_within_its_ball() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    case(folder.path());
    for config in AttackConfig::all() {
        let method = config.name();
        let many = config.attack().settings().number("steps").is_some_and(|steps| steps > 10.0);
        let steps: &[&str] = if many { &["--steps", "10"] } else { &[] };
        let input = ["--method", method, "--input", "case.safetensors", "--json"];
        let arguments = attack(&[&input, steps].concat());
        let output = run_in(folder.path(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let written = std::fs::read(folder.path().join("out/attack.json")).unwrap();
        assert_eq!(printed, serde_json::from_slice::<serde_json::Value>(&written).unwrap());
        assert_eq!(printed["images"].as_array().unwrap().len(), 2);
        let backward = printed["passes"]["backward"].as_u64().unwrap();
        let mut changes = Settings::default();
        if many {
            changes.set("steps", 10);
        }
        let most = AttackConfig::by_name(method, &changes).unwrap().attack().backward_passes(1);
        assert!(0 < backward && backward <= 2 * most, "{method}: {backward} of at most {}", 2 * most);
        let tensors =
            candle_core::safetensors::load(folder.path().join("out/adversarial.safetensors"), &Device::Cpu)
                .unwrap();
        assert_eq!(tensors["adversarial"].dims(), [2, 3, 25, 33]);
        assert_eq!(tensors["logits_clean"].dims(), [2, CLASSES, 25, 33]);
        assert_eq!(tensors["logits_adversarial"].dims(), [2, CLASSES, 25, 33]);
        let epsilons: Vec<f32> = tensors["epsilon"].to_vec1().unwrap();
        for (image, epsilon) in printed["images"].as_array().unwrap().iter().zip(epsilons) {
            let largest = image["largest_perturbation"].as_f64().unwrap();
            assert!(
                largest > 0.0 && largest <= f64::from(epsilon.abs()) + 1e-6,
                "{method}: {largest} {epsilon}"
            );
            if method != "fast_newton" {
                assert!(epsilon <= 0.03);
            }
            // The other attacks maximise a different objective.
            if ["fgsm", "random_fgsm", "bim", "pgd", "mi_fgsm", "apgd"].contains(&method) {
                assert!(image["after"]["loss"].as_f64() > image["before"]["loss"].as_f64(), "{method}");
            }
            for measure in ["loss", "mean_gain", "miou", "pixel_accuracy"] {
                assert!(image["before"][measure].is_number() && image["after"][measure].is_number());
            }
        }
    }
}

/// Writes a picture of 40 x 32 pixels and its label map into `folder`.
fn picture_and_labels(folder: &std::path::Path) {
    let file = |name: &str, colour: png::ColorType, data: &[u8]| {
        let mut encoder = png::Encoder::new(std::fs::File::create(folder.join(name)).unwrap(), 40, 32);
        encoder.set_color(colour);
        encoder.write_header().unwrap().write_image_data(data).unwrap();
    };
    let values: Vec<u8> = (0..40 * 32 * 3_u32).map(|i| (i * 37 % 251) as u8).collect();
    file("street.png", png::ColorType::Rgb, &values);
    file(
        "labels.png",
        png::ColorType::Grayscale,
        &values[..40 * 32].iter().map(|v| v % 4).collect::<Vec<_>>(),
    );
}

#[test]
fn the_rounding_of_an_attacked_picture_is_reported_and_logits_are_written_on_request() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    picture_and_labels(folder.path());
    let arguments =
        attack(&["--method", "bim", "--epsilon", "0.005", "--image", "street.png", "--label", "labels.png"]);
    let output = run_in(folder.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("adversarial.png is rounded to 8 bits, by up to 0.00"), "{printed}");
    let report = std::fs::read(folder.path().join("out/attack.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let rounded = &report["adversarial_png"];
    let number = |key: &str| rounded[key].as_f64().unwrap();
    let path = folder.path().join("out/adversarial.safetensors");
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    assert!(!tensors.contains_key("logits_clean") && !tensors.contains_key("logits_adversarial"));
    // Checked by hand: the picture against the example.
    let mut reader = png::Decoder::new(std::io::BufReader::new(
        std::fs::File::open(folder.path().join("out/adversarial.png")).unwrap(),
    ))
    .read_info()
    .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let example = tensors["adversarial"].get(0).unwrap().permute((1, 2, 0)).unwrap().flatten_all().unwrap();
    let example: Vec<f32> = example.to_vec1().unwrap();
    let differences =
        pixels.iter().zip(&example).map(|(pixel, value)| (f32::from(*pixel) / 255.0 - value).abs());
    let largest = f64::from(differences.fold(0.0, f32::max));
    assert!(largest > 1e-4 && largest < 0.5001 / 255.0);
    assert!((number("largest_rounding") - largest).abs() < 1e-6);
    assert!((number("largest_rounding_in_epsilons") - largest / 0.005).abs() < 1e-4);
    assert!(number("largest_perturbation") <= 0.005 + 0.5001 / 255.0);
    assert!(
        rounded["after"]["loss"].as_f64().unwrap() != report["images"][0]["after"]["loss"].as_f64().unwrap()
    );
    let output = run_in(folder.path(), &[&arguments[..], &["--logits"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    assert_eq!(tensors["logits_clean"].dims(), [1, CLASSES, 32, 40]);
}

#[test]
fn pictures_have_the_checkpoints_colours_and_a_legend() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["road", "sky", "tree", "car"];
    let class = |(index, name): (usize, &&str)| CheckpointClass {
        name: (*name).into(),
        colour: [10 + index as u8, 200, 30],
    };
    let origin = Origin { classes: Some(names.iter().enumerate().map(class).collect()), ..Origin::default() };
    let network = Network::new(&tiny(), 1, &Device::Cpu).unwrap();
    network.save_with(&origin, &folder.path().join("model.safetensors")).unwrap();
    picture_and_labels(folder.path());
    let pair = ["--image", "street.png", "--label", "labels.png"];
    let attacked = attack(&[&["--method", "fgsm"], &pair[..]].concat());
    let predicted = vec!["predict", "--checkpoint", "model.safetensors", "--out", "seen", "street.png"];
    for (arguments, out, picture) in
        [(attacked, "out", "prediction_adversarial.png"), (predicted, "seen", "street.png")]
    {
        let output = run_in(folder.path(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let out = folder.path().join(out);
        let file = std::io::BufReader::new(std::fs::File::open(out.join(picture)).unwrap());
        let reader = png::Decoder::new(file).read_info().unwrap();
        let palette = reader.info().palette.clone().unwrap();
        assert_eq!(palette[..12], [10, 200, 30, 11, 200, 30, 12, 200, 30, 13, 200, 30]);
        let legend = std::fs::read_to_string(out.join("legend.svg")).unwrap();
        for (index, name) in names.iter().enumerate() {
            assert!(legend.contains(&format!(">{index} {name}<")), "{legend}");
            assert!(legend.contains(&format!("rgb({},200,30)", 10 + index)), "{legend}");
        }
        // A second call replaces the command's own files.
        assert!(run_in(folder.path(), &arguments).status.success());
    }
}

#[test]
fn an_attack_says_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    case(folder.path());
    let arguments = attack(&["--method", "bim", "--steps", "7", "--input", "case.safetensors"]);
    let told = String::from_utf8(run_in(folder.path(), &arguments).stderr).unwrap();
    assert!(told.contains(" INFO attacking 1/7"), "{told}");
}

#[test]
fn settings_out_of_range_and_unknown_methods_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = ["--input", "case.safetensors"];
    let with = |rest: &[&'static str]| attack(&[rest, &input].concat());
    fails(folder.path(), &with(&["--method", "bim", "--epsilon", "8"]), 2, &["did you mean 8/255"]);
    fails(folder.path(), &with(&["--method", "bim", "--epsilon", "-0.1"]), 2, &["epsilon = -0.1"]);
    fails(folder.path(), &with(&["--method", "bim", "--steps", "0"]), 2, &["steps", "at least 1"]);
    fails(folder.path(), &with(&["--method", "fgsm", "--steps", "3"]), 2, &["fgsm", "steps"]);
    fails(folder.path(), &with(&["--method", "cw"]), 2, &["`cw`", "bim", "sea"]);
    fails(folder.path(), &with(&["--method", "bim", "--restarts", "2"]), 2, &["bim", "restarts"]);
    fails(folder.path(), &with(&["--method", "bim", "--device", "gpu"]), 2, &["auto, cpu, cuda"]);
    fails(folder.path(), &attack(&["--method", "bim"]), 2, &["--input"]);
    fails(folder.path(), &attack(&["--method", "bim", "--image", "x.png"]), 2, &["--label"]);
}

#[test]
fn a_gpu_is_refused_by_a_build_without_cuda() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = attack(&["--method", "bim", "--input", "case.safetensors", "--device", "cuda:1"]);
    fails(folder.path(), &arguments, 2, &["cuda:1", "without CUDA"]);
}

#[test]
fn invalid_checkpoints_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    case(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let arguments = attack(&["--method", "fgsm", "--input", "case.safetensors"]);
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    fails(folder.path(), &arguments, 3, &["model.safetensors", "truncated"]);
    std::fs::write(&path, b"PK\x03\x04 not safetensors").unwrap();
    fails(folder.path(), &arguments, 3, &["model.safetensors", "safetensors file"]);
    // A shape that contradicts the metadata, sealed and not.
    let (text, other) = (r#"\"width\":4"#.as_bytes(), r#"\"width\":8"#.as_bytes());
    let place = whole.windows(text.len()).position(|window| window == text).unwrap();
    let mut bytes = whole.clone();
    bytes[place..place + other.len()].copy_from_slice(other);
    std::fs::write(&path, &bytes).unwrap();
    fails(folder.path(), &arguments, 3, &["model.safetensors", "is damaged"]);
    let place = whole.windows(8).position(|window| window == br#""sha256""#).unwrap();
    bytes[place..place + 8].copy_from_slice(br#""no_sum""#);
    std::fs::write(&path, &bytes).unwrap();
    fails(folder.path(), &arguments, 3, &["model.safetensors", "expected f32 of shape"]);
    std::fs::remove_file(&path).unwrap();
    fails(folder.path(), &arguments, 3, &["model.safetensors", "no such file"]);
}

#[test]
fn invalid_cases_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    let path = folder.path().join("case.safetensors");
    let arguments = attack(&["--method", "fgsm", "--input", "case.safetensors"]);
    let device = &Device::Cpu;
    fails(folder.path(), &arguments, 3, &["case.safetensors", "no such file"]);
    std::fs::write(&path, b"{}").unwrap();
    fails(folder.path(), &arguments, 3, &["case.safetensors", "safetensors file"]);
    let image = Tensor::full(0.5_f32, (1, 3, 9, 9), device).unwrap();
    let label = |value: u8, size: usize| Tensor::full(value, (1, size, size), device).unwrap();
    save_case(&path, &image, &label(CLASSES as u8, 9));
    fails(folder.path(), &arguments, 3, &["label value 4", "4 classes"]);
    save_case(&path, &image, &label(0, 8));
    fails(folder.path(), &arguments, 3, &["label", "[1, 9, 9]", "[1, 8, 8]"]);
    save_case(&path, &image, &label(0, 9).to_dtype(DType::F32).unwrap());
    fails(folder.path(), &arguments, 3, &["`label` must be U8"]);
    save_case(&path, &(image * 255.0).unwrap(), &label(0, 9));
    fails(folder.path(), &arguments, 3, &["values in [0, 1]"]);
}

#[test]
fn segpgd_and_cospgd_start_at_the_image_by_default() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    case(folder.path());
    let crafted = |more: &[&str]| {
        let arguments = attack(&[&["--input", "case.safetensors", "--steps", "2"][..], more].concat());
        let output = run_in(folder.path(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(folder.path().join("out/adversarial.safetensors")).unwrap()
    };
    for method in ["segpgd", "cospgd"] {
        let with = |more: &[&str]| crafted(&[&["--method", method][..], more].concat());
        assert!(with(&[]) == with(&["--start", "image", "--seed", "3"]), "{method}");
        let random = with(&["--start", "random"]);
        assert!(random != with(&[]) && random != with(&["--start", "random", "--seed", "3"]), "{method}");
    }
    let other = attack(&["--method", "bim", "--input", "case.safetensors", "--start", "random"]);
    fails(folder.path(), &other, 2, &["bim", "start is not a setting"]);
}

#[test]
fn results_are_not_written_into_an_occupied_directory() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    case(folder.path());
    let lock = robustseg_driver::run_directory::RunDirectory::lock(&folder.path().join("out")).unwrap();
    let arguments = attack(&["--method", "fgsm", "--input", "case.safetensors"]);
    fails(folder.path(), &arguments, 1, &["out", "in use"]);
    drop(lock);
    assert!(run_in(folder.path(), &arguments).status.success());
}

#[test]
fn the_attack_uses_the_window() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    case(folder.path());
    let attacked = |window: &'static str| {
        let input = ["--method", "bim", "--input", "case.safetensors", "--json", "--window", window];
        let output = run_in(folder.path(), &attack(&input));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let path = folder.path().join("out/adversarial.safetensors");
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let adversarial = tensors["adversarial"].clone();
        (report, adversarial.dims().to_vec(), adversarial.flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    let (whole, dims, pixels) = attacked("whole");
    assert_eq!((whole["window"].as_str(), &dims[..]), (Some("whole"), &[2, 3, 25, 33][..]));
    // One window that covers the image equals the whole image; several windows do not.
    let (_, _, same) = attacked("sliding:40:40");
    assert!(same == pixels);
    let (sliding, dims, other) = attacked("sliding:16:8");
    assert_eq!((&sliding["window"]["sliding"]["stride"], &dims[..]), (&8.into(), &[2, 3, 25, 33][..]));
    assert!(other != pixels && sliding["passes"]["backward"] == 6);
    let (_, dims, _) = attacked("center_crop:16");
    assert_eq!(dims, [2, 3, 16, 16]);
    let wrong = |window| attack(&["--method", "bim", "--input", "case.safetensors", "--window", window]);
    fails(folder.path(), &wrong("sliding:8:9"), 2, &["--window", "gaps"]);
    fails(folder.path(), &wrong("crop"), 2, &["--window", "center_crop:SIZE"]);
}

#[test]
fn the_attack_perturbs_the_image_that_a_protocol_prepares() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    case(folder.path());
    let under = |protocol: &'static str| {
        let input = ["--method", "bim", "--input", "case.safetensors", "--protocol", protocol];
        attack(&input)
    };
    for (protocol, size) in [
        ("multi_scale", [25, 33]),
        ("{sea: {size: 16}}", [16, 16]),
        ("{semseg: {long_side: 24, crop: 17}}", [25, 33]),
    ] {
        succeeds(folder.path(), &under(protocol));
        let path = folder.path().join("out");
        let report: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path.join("attack.json")).unwrap()).unwrap();
        assert!(report["protocol"].is_object() || report["protocol"].is_string(), "{report}");
        let tensors =
            candle_core::safetensors::load(path.join("adversarial.safetensors"), &Device::Cpu).unwrap();
        let [_, _, height, width] = tensors["adversarial"].dims()[..] else { panic!("no images") };
        assert_eq!([height, width], size, "{protocol}");
    }
    fails(folder.path(), &under("{semseg: {attack: crops}}"), 2, &["--protocol", "attack: protocol"]);
    fails(folder.path(), &under("{sea: {size: 0}}"), 2, &["--protocol"]);
}

#[test]
fn examples_are_crafted_on_a_source_and_judged_on_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    case(folder.path());
    let other = folder.path().join("other.safetensors");
    Network::new(&tiny(), 2, &Device::Cpu).unwrap().save(&other).unwrap();
    let input = ["--method", "fgsm", "--input", "case.safetensors", "--json"];
    let crafted = |source: &[&str]| -> (serde_json::Value, Vec<f32>) {
        let output = run_in(folder.path(), &attack(&[&input, source].concat()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tensors =
            candle_core::safetensors::load(folder.path().join("out/adversarial.safetensors"), &Device::Cpu);
        let image = tensors.unwrap()["adversarial"].flatten_all().unwrap().to_vec1().unwrap();
        (serde_json::from_slice(&output.stdout).unwrap(), image)
    };
    let (own, own_image) = crafted(&[]);
    let (same, same_image) = crafted(&["--source", "model.safetensors"]);
    assert!(own.get("source").is_none() && own_image == same_image);
    assert_eq!((&same["source"], &same["images"]), (&"model.safetensors".into(), &own["images"]));
    let (transferred, image) = crafted(&["--source", "other.safetensors"]);
    assert_ne!(image, own_image);
    // The loss before is that of the judged network.
    assert_eq!(transferred["images"][0]["before"], own["images"][0]["before"]);
    assert_ne!(transferred["images"][0]["after"], own["images"][0]["after"]);
    let wide = NetworkConfig { num_classes: CLASSES + 1, ..tiny() };
    Network::new(&wide, 2, &Device::Cpu).unwrap().save(&other).unwrap();
    let arguments = attack(&[&input[..], &["--source", "other.safetensors"]].concat());
    fails(folder.path(), &arguments, 3, &["other.safetensors", "classes", "model.safetensors"]);
}
