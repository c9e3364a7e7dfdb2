//! What the tests of several networks need.

use candle_core::{Device, Tensor};
use robustseg_models::{Network, NetworkConfig};

/// Two images (2, 3, H, W).
pub fn image(height: usize, width: usize) -> Tensor {
    let values = (0..2 * 3 * height * width).map(|index| (index * 37 % 101) as f32 / 101.0).collect();
    Tensor::from_vec::<_, f32>(values, (2, 3, height, width), &Device::Cpu).unwrap()
}

pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Saves a network of `config` and requires that the file has its settings and gives its logits for
/// `image`.
pub fn comes_back(config: &NetworkConfig, image: &Tensor) {
    let network = Network::new(config, 4, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    network.save(&path).unwrap();
    let loaded = Network::load(&path, &Device::Cpu).unwrap();
    assert_eq!(loaded.config(), config);
    assert_eq!(values(&loaded.logits(image).unwrap()), values(&network.logits(image).unwrap()));
}
