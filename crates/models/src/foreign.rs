//! Recognises safetensors files whose tensors have the names of other networks.

use crate::Backbone;
use safetensors::SafeTensors;

/// Whether `name` is a counter of batches. PyTorch's norms keep one next to their statistics;
/// nothing here needs it.
pub(crate) fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// A tensor that every file of a family of backbones has.
const V2: &str = "stem.conv.weight";
const V1: &str = "layer1.0.conv1.weight";

/// The backbone that takes files with these `names`, and a tensor by which it is known.
fn family(names: &[&str]) -> Option<(Backbone, &'static str)> {
    let prefix_of = |marker: &str| {
        let mut prefixes = names.iter().filter_map(|name| name.strip_suffix(marker));
        prefixes.find(|prefix| prefix.is_empty() || prefix.ends_with('.'))
    };
    if let Some(prefix) = prefix_of(V1) {
        let has = |name: &str| names.contains(&&*format!("{prefix}{name}"));
        let deep = has("conv3.weight") || has("conv1.0.weight");
        return Some((if deep { Backbone::ResnetV1c } else { Backbone::ResnetV1 }, V1));
    }
    prefix_of(V2).map(|_| (Backbone::ResnetV2, V2))
}

/// Whose names the tensors of a file for `backbone` have.
fn origin(backbone: Backbone) -> &'static str {
    match backbone {
        Backbone::ResnetV2 => "timm's `resnetv2` models",
        Backbone::ResnetV1 => {
            "torchvision's ResNet and of timm's `resnet50`, whose norms follow the convolutions"
        }
        Backbone::ResnetV1c => "semseg's ResNet, whose stem has three convolutions",
    }
}

/// Where to find weights for `backbone`. The text continues a sentence.
fn example(backbone: Backbone) -> String {
    let name = backbone.name();
    match backbone {
        Backbone::ResnetV2 => {
            format!(
                "`backbone: {name}` needs one of timm's `resnetv2` models, for example timm/resnetv2_50.a1h_in1k"
            )
        }
        Backbone::ResnetV1 => {
            format!(
                "`backbone: {name}` needs torchvision's ResNet or one of timm's, for example timm/resnet50.a1_in1k"
            )
        }
        Backbone::ResnetV1c => format!("`backbone: {name}` needs semseg's ResNet"),
    }
}

/// Explains why the tensors in `file` have other names than those of `backbone`, and what to do, if
/// they are those of another backbone or of none. The text continues a sentence.
pub(crate) fn names(file: &SafeTensors<'_>, backbone: Backbone) -> Option<String> {
    let names = all(file);
    let Some((found, marker)) = family(&names) else {
        let some: Vec<&str> = names.iter().take(3).copied().collect();
        let (some, origin) = (some.join(", "), origin(backbone));
        return Some(format!(
            "its tensors ({some}, ...) do not have the names of {origin}, which this network needs"
        ));
    };
    (found != backbone).then(|| {
        format!(
            "its names ({marker}) are those of {}, for which there is `backbone: {}`; {}",
            origin(found),
            found.name(),
            example(backbone)
        )
    })
}

/// Explains the common start of all names in `file`, if they have one. The text continues a
/// sentence.
pub(crate) fn start(file: &SafeTensors<'_>) -> Option<String> {
    let names = all(file);
    let first = names.first()?.split_once('.')?.0;
    let common = names.iter().all(|name| name.split_once('.').is_some_and(|(start, _)| start == first));
    let origin = match first {
        _ if !common || names.len() == 1 => return None,
        "module" => ", which PyTorch's DataParallel prepends; save network.module.state_dict() instead",
        "_orig_mod" => ", which torch.compile prepends; save network._orig_mod.state_dict() instead",
        _ => "; save only the part of that name",
    };
    Some(format!("all its names begin with `{first}.`{origin}"))
}

/// Says what to do with a `file` that is no checkpoint. The text continues a sentence.
pub(crate) fn no_checkpoint(file: &SafeTensors<'_>) -> String {
    let Some((found, _)) = family(&all(file)) else {
        return "if it is a backbone, name it as model.pretrained of a spec, from which a training starts"
            .into();
    };
    format!(
        "its names are those of {}; name it as model.pretrained of a spec with `backbone: {}`, from which a training starts",
        origin(found),
        found.name()
    )
}

/// The names of the tensors in `file` without counters.
fn all<'a>(file: &'a SafeTensors<'_>) -> Vec<&'a str> {
    file.names().into_iter().filter(|name| !is_counter(name)).collect()
}
