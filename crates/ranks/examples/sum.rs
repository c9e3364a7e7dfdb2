//! Adds up numbers of several processes: `mpirun -n 3 cargo run -p robustseg-ranks --example sum`.

use std::time::Duration;

use robustseg_ranks::{Launch, mpi};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ranks = mpi::start(&Launch::of_this_process())?;
    let mut sum = [ranks.rank() as f64];
    ranks.sum_f64(&mut sum)?;
    println!("rank {} of {}: the sum of all ranks is {}", ranks.rank(), ranks.size(), sum[0]);
    ranks.leave(false, Duration::MAX);
    Ok(())
}
