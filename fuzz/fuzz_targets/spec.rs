#![no_main]
//! Any text as a spec: an error, or a spec that reads as the same one after it is written.

use libfuzzer_sys::fuzz_target;
use robustseg_driver::spec::Spec;

fuzz_target!(|text: &str| {
    if let Ok(spec) = Spec::parse(text, &[]) {
        let written = spec.to_yaml().expect("a spec can be written");
        assert_eq!(Spec::parse(&written, &[]).expect("what was written is read"), spec);
    }
});
