//! Lists all training methods: how many samples they attack, and the cost of a step per sample in
//! forward passes.
//!
//! `cargo run -p robustseg-training --example methods`

use robustseg_training::MethodConfig;

fn main() {
    // Only `pixel_newton` depends on the number of pixels.
    let pixels = 16 * 16;
    println!("{:<12} {:>9} {:>8}  description", "method", "attacked", "passes");
    for method in MethodConfig::all() {
        let probability = if method.crafts() { method.practice().probability } else { 0.0 };
        let (share, cost) = (100.0 * probability, method.cost(probability, pixels));
        println!("{:<12} {share:>7.0} % {cost:>8.1}  {}", method.name(), method.summary());
    }
}
