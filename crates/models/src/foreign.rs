//! Files of other programs, given where weights of ours are wanted: what they are, and what to do with them.

use safetensors::SafeTensors;

/// Turns a PyTorch file into a safetensors file.
const CONVERT: &str = "turn it into a safetensors file, where PyTorch is installed: python3 -c 'import sys, torch; \
    from safetensors.torch import save_file; w = torch.load(sys.argv[1], map_location=\"cpu\", weights_only=True); \
    w = w.get(\"state_dict\", w); save_file({k: v.clone().contiguous() for k, v in w.items() if torch.is_tensor(v)}, \
    sys.argv[2])' IN.pth OUT.safetensors";

/// What the file that begins with these bytes is, and what to do, where that is known.
pub(crate) fn kind(bytes: &[u8]) -> Option<String> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let text = bytes.trim_ascii_start();
    let page = [&b"<!doctype"[..], b"<html"]
        .iter()
        .any(|start| text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)));
    let again = "download it again";
    let (what, advice) = if starts(b"PK\x03\x04") {
        ("a zip archive, as PyTorch's torch.save writes (.pth, .pt)", CONVERT)
    } else if matches!(bytes, [0x80, 2..=5, ..]) || bytes.get(257..262) == Some(b"ustar") {
        ("a pickle or tar, as older versions of PyTorch write (.pth, .pt)", CONVERT)
    } else if starts(b"\x89HDF") {
        ("an HDF5 file, as Keras writes (.h5)", "take the model's safetensors file")
    } else if starts(b"\x93NUMPY") {
        ("an array of NumPy (.npy)", "take the model's safetensors file")
    } else if starts(b"GGUF") {
        ("a GGUF file", "take the model's safetensors file")
    } else if starts(b"\x1f\x8b") {
        ("compressed by gzip", "unpack it first")
    } else if starts(b"version https://git-lfs") {
        ("a pointer of Git LFS in the place of the file", "fetch the file with `git lfs pull`")
    } else if page {
        ("a web page in the place of the file", again)
    } else if starts(b"\x89PNG") || starts(b"\xff\xd8\xff") {
        ("a picture", "give the file of weights")
    } else {
        return None;
    };
    Some(format!("but {what}; {advice}"))
}

/// Whether `name` is a counter of batches, which PyTorch's norms keep beside their statistics and nothing here needs.
pub(crate) fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// What a file is whose tensors have other names than this crate's, and what to do, where that is known. It continues a
/// sentence.
pub(crate) fn names(file: &SafeTensors<'_>) -> Option<String> {
    let names: Vec<&str> = file.names().into_iter().filter(|name| !is_counter(name)).collect();
    let first = names.first()?.split_once('.')?.0;
    let common = names.iter().all(|name| name.split_once('.').is_some_and(|(start, _)| start == first));
    let has = |end: &str| names.iter().any(|name| *name == end || name.ends_with(&format!(".{end}")));
    if has("layer1.0.conv1.weight") {
        return Some(
            "its names (layer1.0.conv1.weight) are those of torchvision's ResNet and of timm's `resnet50`, whose norms \
             follow the convolutions: another network than the ResNet v2 here; take one of timm's `resnetv2` models, for \
             example timm/resnetv2_50.a1h_in1k"
                .into(),
        );
    }
    if has("stem.conv.weight") && common && first != "backbone" && first != "stem" {
        let origin = match first {
            "module" => {
                ", which PyTorch's DataParallel puts before them; save network.module.state_dict() instead"
            }
            "_orig_mod" => {
                ", which torch.compile puts before them; save network._orig_mod.state_dict() instead"
            }
            _ => "; save the part of that name alone",
        };
        return Some(format!("all its names begin with `{first}.`{origin}"));
    }
    if !has("stem.conv.weight") {
        let some: Vec<&str> = names.iter().take(3).copied().collect();
        return Some(format!(
            "its tensors ({}, ...) have not the names of timm's `resnetv2` models, which this network has",
            some.join(", ")
        ));
    }
    None
}
