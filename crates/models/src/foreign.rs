//! Safetensors files with the names of other networks: what they are, and what to do with them.

use safetensors::SafeTensors;

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
