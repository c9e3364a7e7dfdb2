//! Says what a file of weights may be: `cargo run -p robustseg-published --example kind FILE`.

use robustseg_published::{KINDS, Weights};

fn main() -> Result<(), robustseg_published::Error> {
    for kind in KINDS {
        println!("{}: {}", kind.name, kind.title);
    }
    for path in std::env::args().skip(1) {
        println!("{path}: {}", Weights::open(path.as_ref())?.described());
    }
    Ok(())
}
