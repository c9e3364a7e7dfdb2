//! Lists the tensors of a file of torch.save: `cargo run -p robustseg-pytorch --example list FILE`.

use robustseg_pytorch::TorchFile;

fn main() -> Result<(), robustseg_pytorch::Error> {
    for path in std::env::args().skip(1) {
        for (name, tensor) in TorchFile::open(path.as_ref())?.tensors() {
            println!("{name} {:?} {:?}", tensor.dtype(), tensor.shape());
        }
    }
    Ok(())
}
