//! Estimates of memory are below measured peaks, and not far below.

use robustseg_models::{
    Architecture, ConvNeXtSize, NetworkConfig, Outline, SegFormerConfig, SegFormerSize, UperNetConfig,
};

fn outline(network: &Architecture) -> Outline {
    NetworkConfig::new(network.clone(), 21).outline().unwrap()
}

#[test]
fn estimates_for_segformer_and_upernet_are_below_peaks_and_not_far() {
    let [b0, b2] = [SegFormerSize::B0, SegFormerSize::B2].map(SegFormerConfig::from).map(Architecture::from);
    let tiny = Architecture::from(UperNetConfig::from(ConvNeXtSize::Tiny));
    let check = |name: &str, bytes: u64, peak: u64| {
        let share = bytes as f64 / (peak << 20) as f64;
        assert!((0.4..1.0).contains(&share), "{name}: {share}");
    };
    // Peaks of `robustseg bench`, in MB: network, batch, side.
    for (network, batch, side, peak) in [
        (&b0, 2, 128, 101),
        (&b0, 1, 256, 147),
        (&b0, 4, 256, 399),
        (&b0, 2, 512, 748),
        (&b2, 2, 128, 422),
        (&b2, 1, 256, 566),
        (&b2, 2, 256, 831),
        (&tiny, 2, 96, 987),
        (&tiny, 2, 192, 1216),
    ] {
        let bytes = outline(network).training_memory(batch, side, side);
        check(&format!("{} {batch} {side}", network.name()), bytes, peak);
    }
    // Peaks of `robustseg predict` for an image of 500x281 pixels, in MB.
    for (network, peak) in [(&b0, 65), (&tiny, 495)] {
        check(network.name(), outline(network).forward_memory(1, 281, 500), peak);
    }
}
