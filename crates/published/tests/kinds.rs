//! Every kind takes the checkpoints of its program and gives the logits that PyTorch computes, and
//! the names in a checkpoint lead to its kind.
//!
//! `files/make.py` makes the files.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use robustseg_models::{Checkpoint, Network, Origin};
use robustseg_published::{Import, KINDS, Kind, Product, Weights};

/// Files of the kind `name`: `KIND_SIZE.pth`.
fn files(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let is_of_kind = |path: &PathBuf| {
        let (kind, _) = path.file_name().unwrap().to_str().unwrap().split_once('_').unwrap_or_default();
        kind == name && path.extension().is_some_and(|extension| extension == "pth")
    };
    files.retain(is_of_kind);
    files.sort();
    files
}

fn is_tiny(path: &Path) -> bool {
    path.with_extension("safetensors").exists()
}

#[test]
fn every_kind_takes_the_files_of_its_program_and_reads_their_sizes() {
    for kind in KINDS {
        let files = files(kind.name);
        assert!(!files.is_empty(), "{} has no file", kind.name);
        for path in files {
            let name = path.display();
            let weights = Weights::open(&path).unwrap();
            let import = Import::plan(&weights, kind, None).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(import.taken(), import.shapes().len(), "{name}");
            assert_eq!(import.taken() + import.left().len(), weights.shapes().count(), "{name}");
            let config = import.config();
            if !is_tiny(&path) {
                assert_eq!(config.architecture.scale().1, 64, "{name}");
            }
            if kind.product == Product::Checkpoint {
                assert_eq!(config.num_classes, if is_tiny(&path) { 3 } else { 21 }, "{name}");
            }
        }
    }
}

#[test]
fn the_names_of_a_file_lead_to_a_kind_that_takes_it() {
    for kind in KINDS {
        for path in files(kind.name) {
            let weights = Weights::open(&path).unwrap();
            let (nearest, share) = weights.nearest().unwrap();
            assert!(nearest.name == kind.name || kind.name == "timm-resnet", "{}", path.display());
            assert!(share > 0.4, "{}: {share}", path.display());
            assert!(Import::plan(&weights, nearest, None).is_ok(), "{}", path.display());
        }
    }
}

#[test]
fn imported_networks_give_the_logits_of_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours.safetensors");
    for kind in KINDS.iter().filter(|kind| kind.product == Product::Checkpoint) {
        let tiny: Vec<PathBuf> = files(kind.name).into_iter().filter(|path| is_tiny(path)).collect();
        assert!(!tiny.is_empty(), "{} has no logits", kind.name);
        for path in tiny {
            let mut weights = Weights::open(&path).unwrap();
            let import = Import::plan(&weights, kind, Some(3)).unwrap();
            import.write(&mut weights, &Origin::default(), &ours).unwrap();
            let network = Checkpoint::load(&ours, &Device::Cpu).unwrap().network;
            let case =
                candle_core::safetensors::load(path.with_extension("safetensors"), &Device::Cpu).unwrap();
            let far = farthest(&network.logits(&case["image"]).unwrap(), &case["logits"]);
            assert!(far < 1e-5, "{}: {far}", kind.name);
        }
    }
}

/// The largest difference from `golden`, in units of its largest magnitude.
fn farthest(ours: &Tensor, golden: &Tensor) -> f32 {
    let largest = |tensor: &Tensor| {
        tensor.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap()
    };
    largest(&(ours - golden).unwrap()) / largest(golden)
}

#[test]
fn imported_backbones_are_taken_by_the_network_that_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours.safetensors");
    // The backbone of a whole network, with a prefix.
    for (file, kind) in [("torchvision-fcn", "torchvision-resnet"), ("torchvision-fcn", "timm-resnet")] {
        let path = files(file).into_iter().find(|path| is_tiny(path)).unwrap();
        let mut weights = Weights::open(&path).unwrap();
        let import = Import::plan(&weights, Kind::named(kind).unwrap(), None).unwrap();
        import.write(&mut weights, &Origin::default(), &ours).unwrap();
        let network = Network::new(import.config(), 1, &Device::Cpu).unwrap();
        let taken = network.load_backbone(&ours).unwrap();
        assert_eq!((taken.tensors, taken.left.len()), (import.taken(), 0));
    }
}

#[test]
fn kinds_have_names_of_their_own() {
    for kind in KINDS {
        assert!(std::ptr::eq(Kind::named(kind.name).unwrap(), *kind), "{}", kind.name);
        assert!(!kind.title.is_empty() && !kind.title.ends_with('.'), "{}", kind.name);
    }
    assert!(Kind::named("pspnet").is_none());
}
