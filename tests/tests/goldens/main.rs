//! Compares the network, the attacks and training with PyTorch in double precision. The cases are
//! the folders in `$ROBUSTSEG_GOLDENS` (relative to the workspace's root), or else in
//! `tests/goldens`. There is one test per family of tensors.

mod attacks;
mod case;
mod evaluation;
mod faults;
mod training;

use case::cases;
use faults::Faults;

/// Every tensor of a case belongs to a family, so that none is left unchecked because of an unknown
/// name.
#[test]
fn every_tensor_is_known() {
    let mut faults = Faults::default();
    for case in cases() {
        for name in case.names() {
            let known = ["image", "label"].contains(&name)
                || evaluation::NAMES.contains(&name)
                || attacks::is_known(name)
                || training::is_known(name);
            faults.check(known, || format!("{}: no test checks {name}", case.name));
        }
    }
    faults.finish();
}
