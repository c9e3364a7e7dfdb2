#![no_main]
//! Reads any text as a spec: the result is an error, or a spec that is the same after it is written
//! and read again.

use libfuzzer_sys::fuzz_target;
use robustseg_driver::spec::Spec;

fuzz_target!(|text: &str| {
    if let Ok(spec) = Spec::parse(text, &[]) {
        let written = spec.to_yaml().expect("a spec can be written");
        assert_eq!(Spec::parse(&written, &[]).expect("what was written is read"), spec);
    }
});
