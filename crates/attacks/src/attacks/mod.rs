//! The attacks and their registry.
//!
//! One line in [`register!`] below makes an attack known to specs, the command line, the schema,
//! reports and tests.

mod alma_prox;
mod apgd;
mod bim;
mod cospgd;
mod dag;
mod fast_newton;
mod fgsm;
mod mi_fgsm;
mod padam;
mod pgd;
mod random_fgsm;
mod sea;
mod segfgsm;
mod segpgd;
mod tsallis_apgd;
mod tsallis_pgd;

use std::sync::Arc;

use serde::Deserialize;
use serde::de::Deserializer;

use crate::attack::{Attack, CurveDefaults};
use crate::settings::Settings;

/// Where an attack is used. This decides its default settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// For single examples, as in training and on the command line.
    Examples,
    /// For a robustness curve.
    Curve,
}

/// A registered attack: all that is known without an instance.
pub(crate) struct Entry {
    /// The attack with its default settings for a use.
    default: fn(Use) -> Arc<dyn Attack>,
    /// The default epsilons of a curve.
    pub(crate) epsilons: fn() -> Vec<f64>,
    /// The JSON schema of its settings.
    #[cfg(feature = "schema")]
    pub(crate) schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

impl Entry {
    /// The attack with its default settings for `used`.
    pub(crate) fn default(&self, used: Use) -> Arc<dyn Attack> {
        (self.default)(used)
    }
}

fn default<A: Attack + CurveDefaults + 'static>(used: Use) -> Arc<dyn Attack> {
    match used {
        Use::Examples => Arc::new(A::default()),
        Use::Curve => Arc::new(A::in_curves()),
    }
}

/// Makes the registry from a list of attacks.
macro_rules! register {
    ($($file:ident::$attack:ident,)+) => {
        $(pub use $file::$attack;)+

        /// Every attack, in the order of help texts and tables.
        pub(crate) static ENTRIES: &[Entry] = &[$(Entry {
            default: default::<$attack>,
            epsilons: <$attack as CurveDefaults>::epsilons,
            #[cfg(feature = "schema")]
            schema: <$attack as schemars::JsonSchema>::json_schema,
        }),+];

        /// Reads the settings of the attack at `index` of [`ENTRIES`].
        pub(crate) fn read<'de, D: Deserializer<'de>>(
            index: usize,
            deserializer: D,
        ) -> Result<Arc<dyn Attack>, D::Error> {
            let mut place = 0..;
            $(if place.next() == Some(index) {
                return Ok(Arc::new($attack::deserialize(deserializer)?));
            })+
            unreachable!("index {index} of {} attacks", ENTRIES.len())
        }
    };
}

register! {
    fgsm::Fgsm,
    random_fgsm::RandomFgsm,
    bim::Bim,
    fast_newton::FastNewton,
    pgd::Pgd,
    mi_fgsm::MiFgsm,
    segfgsm::SegFgsm,
    segpgd::SegPgd,
    cospgd::CosPgd,
    tsallis_pgd::TsallisPgd,
    padam::Padam,
    apgd::Apgd,
    tsallis_apgd::TsallisApgd,
    sea::Sea,
    dag::Dag,
    alma_prox::AlmaProx,
}

pub use fast_newton::NegativeGain;
pub use padam::AdamObjective;

/// Every registered attack with its default settings, in the order of help texts and tables.
///
/// ```
/// for attack in robustseg_attacks::attacks() {
///     println!("{:<12} {:<12} {}", attack.name(), attack.title(), attack.summary());
/// }
/// ```
pub fn attacks() -> Vec<Arc<dyn Attack>> {
    ENTRIES.iter().map(|entry| entry.default(Use::Examples)).collect()
}

/// The index of the attack `name` in [`ENTRIES`].
pub(crate) fn index_of(name: &str) -> Option<usize> {
    attacks().iter().position(|attack| attack.name() == name)
}

/// The title of the attack `name` in papers. `None` if the name is not registered.
///
/// ```
/// assert_eq!(robustseg_attacks::title_of("mi_fgsm"), Some("MI-FGSM"));
/// ```
pub fn title_of(name: &str) -> Option<&'static str> {
    attacks().into_iter().find(|attack| attack.name() == name).map(|attack| attack.title())
}

/// Settings of the attack `name` that come from a curve in a result file. Settings that the file
/// lacks, because an older version wrote it, get their defaults.
pub fn completed(name: &str, settings: &Settings) -> Settings {
    let Some(index) = index_of(name) else { return settings.clone() };
    let mut complete = ENTRIES[index].default(Use::Curve).settings();
    for (name, value) in settings.iter() {
        complete.set(name, value.clone());
    }
    complete
}
