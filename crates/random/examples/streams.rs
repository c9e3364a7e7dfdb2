//! Draws depend only on their purpose, not on earlier draws.
//!
//! `cargo run -p robustseg-random --example streams`

use rand::RngExt;
use robustseg_random::{standard_normal, stream};

fn main() {
    for epoch in 0..2 {
        for sample in [3, 1, 2] {
            let mut random = stream(7, "augmentation", [epoch, sample, 0]);
            let flip: bool = random.random();
            println!(
                "epoch {epoch}, sample {sample}: flip {flip}, scale {:.3}",
                random.random_range(0.5..2.0)
            );
        }
    }
    let mut weights = [0.0; 4];
    standard_normal(&mut stream(7, "weights of the stem", [0; 3]), &mut weights);
    println!("weights {weights:.3?}");
}
