//! `examples/python/load_checkpoint.py` gives the logits of robustseg, and what it saves is a
//! checkpoint again.
//!
//! `ROBUSTSEG_PYTHON` names the Python to run, else it is `python3`. Without torch, timm and
//! safetensors in it, the tests are skipped with a line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{Device, Tensor};
use robustseg_models::{Backbone, Branch, Checkpoint, Network, NetworkConfig, PspNetConfig, Upsampling};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// The Python that has all that the script needs.
fn python() -> Option<String> {
    let python = std::env::var("ROBUSTSEG_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import torch, timm, safetensors"]).output();
    if has.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {python} has no torch, timm and safetensors");
    None
}

/// Runs `python` with `arguments` and returns its output.
fn run(python: &str, arguments: &[&Path]) -> String {
    let folder = root().join("examples/python");
    let output = Command::new(python).arg("-B").args(arguments).env("PYTHONPATH", folder).output();
    let output = output.expect("it runs");
    let [told, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{arguments:?}: {told} {error}");
    told.into_owned()
}

/// PSPNet on `backbone` with statistics and norms unlike the first ones, saved to `folder` next to an image with
/// its logits.
fn saved(backbone: Backbone, folder: &Path) -> (PathBuf, PathBuf) {
    let settings = PspNetConfig { layers: [1, 2, 1, 2], width: 2, backbone, auxiliary_loss: 0.4 };
    let config = NetworkConfig {
        upsampling: Upsampling::AlignCorners,
        mean: [0.4, 0.5, 0.6],
        branches: vec![Branch::new("further", 2)],
        ..NetworkConfig::new(settings, 3)
    };
    let network = Network::new(&config, 1, &Device::Cpu).expect("a network");
    for parameter in network.parameters().values().filter(|parameter| parameter.var.rank() == 1) {
        let count = parameter.var.elem_count();
        let values: Vec<f32> = (0..count).map(|at| 0.7 + (at * 7 % 5) as f32 / 8.0).collect();
        robustseg_ops::assign(&parameter.var, &Tensor::new(values, &Device::Cpu).expect("values"))
            .expect("the shape");
    }
    let files = ["model", "case"].map(|name| folder.join(format!("{backbone:?}_{name}.safetensors")));
    network.save(&files[0]).expect("a checkpoint");
    let image: Vec<f32> = (0..3 * 41 * 33).map(|at| (at * 31 % 97) as f32 / 97.0).collect();
    let image = Tensor::from_vec(image, (1, 3, 41, 33), &Device::Cpu).expect("an image");
    let logits = network.logits(&image).expect("logits");
    let case = HashMap::from([("image", image), ("logits", logits)]);
    candle_core::safetensors::save(&case, &files[1]).expect("a case");
    let [model, case] = files;
    (model, case)
}

#[test]
fn a_checkpoint_gives_the_same_logits_in_pytorch() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let backbones = [Backbone::ResnetV1, Backbone::ResnetV1c, Backbone::ResnetV2];
    let mut cases: Vec<_> = backbones.map(|backbone| saved(backbone, folder.path())).into();
    let golden = root().join("tests/goldens/positive_gain");
    cases.push((golden.join("model.safetensors"), golden.join("case.safetensors")));
    let script = root().join("examples/python/load_checkpoint.py");
    for (model, case) in cases {
        let told = run(&python, &[&script, &model, &case]);
        assert!(told.contains("largest difference of the logits"), "{told}");
    }
}

#[test]
fn the_checkpoint_that_pytorch_saves_gives_the_same_logits_here() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (model, case) = saved(Backbone::ResnetV1c, folder.path());
    let again = folder.path().join("again.safetensors");
    let program = "import sys; from load_checkpoint import load, save; save(*load(sys.argv[1]), sys.argv[2])";
    run(&python, &["-c".as_ref(), program.as_ref(), &model, &again]);
    let network = Checkpoint::load(&again, &Device::Cpu).expect("a checkpoint").network;
    let case = candle_core::safetensors::load(case, &Device::Cpu).expect("the case");
    let logits = network.logits(&case["image"]).expect("logits");
    let [ours, theirs] = [&logits, &case["logits"]].map(|logits| logits.flatten_all().expect("numbers"));
    assert_eq!(ours.to_vec1::<f32>().expect("numbers"), theirs.to_vec1::<f32>().expect("numbers"));
}
