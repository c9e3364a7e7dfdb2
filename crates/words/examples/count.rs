//! Counts the lines of files, with the noun in singular or plural:
//! `cargo run -p robustseg-words --example count -- Cargo.toml README.md`.

use robustseg_words::counted;

fn main() -> std::io::Result<()> {
    for path in std::env::args().skip(1) {
        let lines = std::fs::read_to_string(&path)?.lines().count();
        println!("{path}: {}", counted(lines, "line"));
    }
    Ok(())
}
