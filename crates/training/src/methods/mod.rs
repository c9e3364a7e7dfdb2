//! The training methods and their registry.
//!
//! The paper's five methods are `basic` and four attacks. Every other method is a file here, named
//! as in its paper. One line in [`register!`] below makes the method known to specs, the command
//! line, the schema, reports and tests.

mod attack;
mod basic;
mod ddc_at;
mod fgsm_ckpt;
mod free;
mod grad_align;
mod linearity;
mod n_fgsm;
mod noise;
mod noisy_newton;
mod pgd_at;
mod pixel_newton;
mod range;
mod rs_fgsm;
mod segpgd_at;
mod sign_steps;
mod sora;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use robustseg_attacks::{AttackConfig, Settings};
use serde::de::VariantAccess;

use crate::method::Method;

pub use basic::Basic;
pub(crate) use noise::noisy;
pub use noisy_newton::{PixelWeights, StepGain};
pub use sign_steps::SignSteps;

/// The attacks that are training methods under their own names.
pub(crate) const ATTACKS: [&str; 4] = ["fgsm", "random_fgsm", "bim", "fast_newton"];

/// Makes the registry from a list of methods.
macro_rules! register {
    ($($file:ident::$method:ident,)+) => {
        $(pub use $file::$method;)+

        /// The registered methods with their default settings.
        fn registered() -> Vec<Arc<dyn Method>> {
            vec![$(Arc::new($method::default())),+]
        }

        /// Reads the settings of the method at `index` of [`methods`].
        pub(crate) fn read<'de, A: VariantAccess<'de>>(
            index: usize,
            variant: A,
        ) -> Result<Arc<dyn Method>, A::Error> {
            if index == 0 {
                variant.unit_variant()?;
                return Ok(Arc::new(Basic {}));
            }
            if let Some(name) = ATTACKS.get(index - 1) {
                return Ok(Arc::new(AttackConfig::read_variant(name, variant)?));
            }
            let mut place = 1 + ATTACKS.len()..;
            $(if place.next() == Some(index) {
                return Ok(Arc::new(variant.newtype_variant::<$method>()?));
            })+
            unreachable!("index {index} of {} methods", methods().len())
        }

        /// The JSON schemas of the settings of [`registered`].
        #[cfg(feature = "schema")]
        pub(crate) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
            vec![$(<$method as schemars::JsonSchema>::json_schema(generator)),+]
        }
    };
}

register! {
    rs_fgsm::RsFgsm,
    n_fgsm::NFgsm,
    fgsm_ckpt::FgsmCkpt,
    grad_align::GradAlign,
    free::Free,
    pgd_at::PgdAt,
    segpgd_at::SegPgdAt,
    ddc_at::DdcAt,
    pixel_newton::PixelNewton,
    sora::Sora,
    noisy_newton::NoisyNewton,
}

/// The five methods of Wiens & Hammer 2022 with the paper's settings.
pub(crate) fn paper() -> Vec<Arc<dyn Method>> {
    let attack = |name| -> Arc<dyn Method> {
        let attack = AttackConfig::by_name(name, &Settings::default());
        Arc::new(attack.expect("a registered attack with its default settings"))
    };
    let mut methods: Vec<Arc<dyn Method>> = vec![Arc::new(Basic {})];
    methods.extend(ATTACKS.map(attack));
    methods
}

/// Every method with its default settings, the paper's first.
pub(crate) fn methods() -> Vec<Arc<dyn Method>> {
    paper().into_iter().chain(registered()).collect()
}
