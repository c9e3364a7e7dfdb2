//! Networks that start from weights for ImageNet.

use robustseg_models::{Architecture, NetworkSpec};

/// `architecture` with the normalisation of networks that start from ImageNet.
pub(super) fn imagenet(architecture: impl Into<Architecture>) -> NetworkSpec {
    NetworkSpec {
        architecture: architecture.into(),
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        ..NetworkSpec::default()
    }
}
