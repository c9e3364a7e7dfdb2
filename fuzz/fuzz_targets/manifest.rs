#![no_main]
//! Reads any text as a manifest: the result is an error with its position, or a usable manifest.

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use robustseg_datasets::Manifest;

fuzz_target!(|text: &str| {
    match Manifest::parse(text, Path::new("m.yaml")) {
        Ok(manifest) => assert_eq!(manifest.palette().len(), manifest.num_classes()),
        Err(error) => assert!(error.to_string().starts_with("manifest m.yaml")),
    }
});
