//! The network, the attacks and training against PyTorch in double precision: every case folder under
//! `$ROBUSTSEG_GOLDENS` (a relative one starts at the workspace's root), else under `tests/goldens`, one test for each
//! family of tensors.

mod attacks;
mod case;
mod evaluation;
mod faults;
mod training;

use case::cases;
use faults::Faults;

/// Every tensor of a case belongs to one of the families, so that none goes unchecked by an unknown name.
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
