#![no_main]
//! Reads any bytes as a label file: the result is a whole label map or an error.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(label) = robustseg_fuzz::on_file(bytes, robustseg_datasets::read_label) {
        assert_eq!(label.data.len(), label.width * label.height);
    }
});
