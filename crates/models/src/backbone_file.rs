//! What a file of weights tells about the backbone in it.

use crate::Backbone;
use crate::spelling::prefix;
use safetensors::SafeTensors;

/// The settings that fit the backbone in `file`, which has the names of `backbone`, unless they are
/// `layers` and `width`. The text continues a sentence.
pub(crate) fn fitting(
    file: &SafeTensors<'_>,
    backbone: Backbone,
    layers: [usize; 4],
    width: usize,
) -> Option<String> {
    let found = size_of(file, backbone);
    if found == (layers, Some(width)) {
        return None;
    }
    let (layers, width) = found;
    let width = width.map_or(String::new(), |width| format!(" and width {width}"));
    Some(format!(
        "the file has layers {layers:?}{width}, which the network's `layers` and `width` have to name"
    ))
}

/// The blocks of each stage and the width of the backbone's network.
fn size_of(file: &SafeTensors<'_>, backbone: Backbone) -> ([usize; 4], Option<usize>) {
    let names = file.names();
    let tensor = |name: &str| file.tensor(&format!("{}{name}", prefix(&names, name)?)).ok();
    let blocks = |stage: usize| {
        let first = |block: usize| match backbone {
            Backbone::ResnetV2 => format!("stages.{stage}.blocks.{block}.conv1.weight"),
            Backbone::ResnetV1 | Backbone::ResnetV1c => format!("layer{}.{block}.conv1.weight", stage + 1),
        };
        (0..file.len()).take_while(|&block| tensor(&first(block)).is_some()).count()
    };
    // A norm behind the last stage's channels, 32 for each unit of width.
    let last = match backbone {
        Backbone::ResnetV2 => "norm.weight",
        Backbone::ResnetV1 | Backbone::ResnetV1c => "layer4.0.bn3.weight",
    };
    let width = tensor(last).and_then(|view| view.shape().first().map(|channels| channels / 32));
    ([0, 1, 2, 3].map(blocks), width)
}
