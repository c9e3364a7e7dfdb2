#![no_main]
//! Decodes any bytes as if they were an image file: the result is a whole image or an error.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = robustseg_fuzz::on_file(bytes, robustseg_datasets::read_image) {
        assert_eq!(image.data.len(), 3 * image.width * image.height);
    }
});
