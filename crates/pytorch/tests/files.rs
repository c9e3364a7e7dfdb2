//! Files that PyTorch wrote; `files/make.py` made them.

use std::path::{Path, PathBuf};

use robustseg_pytorch::{Dtype, Error, TorchFile};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

fn open(name: &str) -> TorchFile {
    TorchFile::open(&path(name)).unwrap()
}

fn refused(name: &str) -> String {
    TorchFile::open(&path(name)).unwrap_err().to_string()
}

/// `count` numbers from 0 on.
fn counted(count: u8) -> Vec<f32> {
    (0..count).map(f32::from).collect()
}

#[test]
fn a_state_dict_has_its_names_shapes_and_numbers() {
    let mut file = open("state_dict.pth");
    assert!(file.key().is_empty());
    let names: Vec<_> = file.tensors().keys().map(String::as_str).collect();
    let norm =
        ["norm.bias", "norm.num_batches_tracked", "norm.running_mean", "norm.running_var", "norm.weight"];
    assert_eq!(names, [&["conv.bias", "conv.weight"], &norm[..]].concat());
    assert_eq!(file.tensors()["conv.weight"].shape(), [2, 3, 1, 1]);
    assert_eq!(file.tensors()["norm.num_batches_tracked"].dtype(), Dtype::I64);
    assert_eq!(file.tensors()["norm.num_batches_tracked"].shape(), [0; 0]);
    assert_eq!(file.read("conv.weight").unwrap(), counted(6));
    assert_eq!(file.read("norm.running_var").unwrap(), [1.0, 1.0]);
    assert!(file.read("nothing").unwrap_err().to_string().contains("has no tensor nothing"));
}

#[test]
fn weights_are_found_under_their_key_in_every_format() {
    for name in ["nested.pth", "protocol5.pth", "legacy.pth"] {
        let mut file = open(name);
        assert_eq!(file.key(), ["state_dict"], "{name}");
        assert_eq!(file.tensors().len(), 7, "{name}");
        assert_eq!(file.read("conv.weight").unwrap(), counted(6), "{name}");
        assert_eq!(file.read("conv.bias").unwrap(), counted(2), "{name}");
    }
}

#[test]
fn all_types_of_numbers_are_read() {
    let mut file = open("types.pth");
    for (name, dtype, numbers) in [
        ("f64", Dtype::F64, vec![0.5, 1.5, 2.5]),
        ("f16", Dtype::F16, vec![-1.5, -0.5, 0.5]),
        ("bf16", Dtype::BF16, vec![0.0, 0.5, 1.0]),
        ("i64", Dtype::I64, vec![-1.0, 0.0, 1.0]),
        ("i32", Dtype::I32, vec![-1.0, 0.0, 1.0]),
        ("i16", Dtype::I16, vec![-1.0, 0.0, 1.0]),
        ("i8", Dtype::I8, vec![-1.0, 0.0, 1.0]),
        ("u8", Dtype::U8, vec![0.0, 1.0, 2.0]),
        ("bool", Dtype::Bool, vec![1.0, 0.0]),
    ] {
        assert_eq!(file.tensors()[name].dtype(), dtype, "{name}");
        assert_eq!(file.read(name).unwrap(), numbers, "{name}");
    }
    assert_eq!(file.unknown(), ["complex"]);
}

#[test]
fn views_of_shared_storages_are_read_along_their_strides() {
    let mut file = open("types.pth");
    let shared = counted(20);
    for (name, shape, numbers) in [
        ("parameter", &[2, 2][..], counted(4)),
        ("buffer", &[2], counted(2)),
        ("transposed", &[3, 2], vec![0., 3., 1., 4., 2., 5.]),
        ("same", &[4, 5], shared.clone()),
        ("rows", &[2, 5], shared[5..15].to_vec()),
        ("columns", &[4, 2], vec![1., 3., 6., 8., 11., 13., 16., 18.]),
        ("expanded", &[2, 3], vec![0., 0., 0., 1., 1., 1.]),
        ("scalar", &[], vec![7.0]),
        ("empty", &[0, 3], vec![]),
        ("channels_last", &[1, 2, 2, 2], counted(8)),
    ] {
        assert_eq!(file.tensors()[name].shape(), shape, "{name}");
        assert_eq!(file.read(name).unwrap(), numbers, "{name}");
    }
    let mut file = open("legacy_types.pth");
    assert_eq!(file.read("a").unwrap(), [0., 3., 1., 4., 2., 5.]);
    assert_eq!(file.read("b").unwrap(), counted(3));
}

#[test]
fn a_hostile_pickle_is_refused_by_the_name_of_its_function() {
    for name in ["hostile.pth", "hostile_legacy.pth"] {
        let error = TorchFile::open(&path(name)).unwrap_err();
        let Error::Hostile { global, .. } = &error else { panic!("{error}") };
        assert_eq!(global, "posix.system");
        assert!(error.to_string().contains("names the function posix.system"), "{error}");
    }
}

#[test]
fn files_without_weights_say_what_they_hold() {
    for (name, part) in [
        ("module.pth", "a whole object of the class torch.nn.modules.container.Sequential"),
        ("script.pt", "a whole object of the class __torch__."),
        ("list.pth", "holds no dictionary of weights"),
        ("two.pth", "has weights under several keys (generator, critic)"),
        ("make.py", "is no file of torch.save"),
        ("none.pth", "cannot be read"),
        (".", "is no regular file"),
    ] {
        let told = refused(name);
        assert!(told.contains(part), "{name}: {told}");
    }
}
