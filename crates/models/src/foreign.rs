//! Recognises safetensors files whose tensors have the names of other networks.

use safetensors::SafeTensors;

/// Whether `name` is a counter of batches. PyTorch's norms keep one next to their statistics;
/// nothing here needs it.
pub(crate) fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// Explains why the tensors in `file` have other names than a ResNet v2's, and what to do, if that
/// is known. The text continues a sentence.
pub(crate) fn names(file: &SafeTensors<'_>) -> Option<String> {
    let names: Vec<&str> = file.names().into_iter().filter(|name| !is_counter(name)).collect();
    let first = names.first()?.split_once('.')?.0;
    let common = names.iter().all(|name| name.split_once('.').is_some_and(|(start, _)| start == first));
    let has = |end: &str| names.iter().any(|name| *name == end || name.ends_with(&format!(".{end}")));
    if has("layer1.0.conv1.weight") {
        return Some(
            "its names (layer1.0.conv1.weight) are those of torchvision's ResNet and of timm's `resnet50`, whose norms \
             follow the convolutions, not those of the ResNet v2 here; take one of timm's `resnetv2` models, for example \
             timm/resnetv2_50.a1h_in1k"
                .into(),
        );
    }
    if has("stem.conv.weight") && common && first != "backbone" && first != "stem" {
        let origin = match first {
            "module" => ", which PyTorch's DataParallel prepends; save network.module.state_dict() instead",
            "_orig_mod" => ", which torch.compile prepends; save network._orig_mod.state_dict() instead",
            _ => "; save only the part of that name",
        };
        return Some(format!("all its names begin with `{first}.`{origin}"));
    }
    if !has("stem.conv.weight") {
        let some: Vec<&str> = names.iter().take(3).copied().collect();
        return Some(format!(
            "its tensors ({}, ...) do not have the names of timm's `resnetv2` models, which this network needs",
            some.join(", ")
        ));
    }
    None
}
