#![no_main]
//! Reads any bytes as a file of torch.save: the result is an error, or tensors that have as many
//! numbers as their shapes say.

use libfuzzer_sys::fuzz_target;
use robustseg_pytorch::TorchFile;

fuzz_target!(|bytes: &[u8]| {
    robustseg_fuzz::on_file(bytes, |path| {
        let Ok(mut file) = TorchFile::open(path) else { return };
        for (name, tensor) in file.tensors().clone() {
            if let Ok(numbers) = file.read(&name) {
                assert_eq!(numbers.len(), tensor.shape().iter().product::<usize>());
            }
        }
    });
});
