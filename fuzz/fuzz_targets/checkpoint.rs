#![no_main]
//! Reads any bytes as a checkpoint: the result is an error that names the file, or a network.

use libfuzzer_sys::fuzz_target;
use robustseg_fuzz::on_file;
use robustseg_models::Network;

fuzz_target!(|bytes: &[u8]| {
    on_file(bytes, |path| {
        if let Err(error) = Network::load(path, &candle_core::Device::Cpu) {
            assert!(error.to_string().starts_with("checkpoint "));
        }
    });
});
