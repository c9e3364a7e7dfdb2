//! The layouts and their registry.
//!
//! One line in [`register!`] below makes a layout known to manifests, datasets, tests and
//! documentation.

mod cityscapes;
mod folders;
mod kind;
mod list;
mod names;
mod pairs;
mod place;
mod scene;
mod synthetic;
#[cfg(test)]
mod tests;
mod voc;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use folders::Folder;
pub use voc::VocLabels;

pub(crate) use kind::{Found, IdFiles, Kind, Labels, Mixup, Search};
pub(crate) use names::is_clutter;
pub(crate) use pairs::files as pair_of_line;

/// A registered layout: all that is known without its settings.
struct Entry {
    name: fn() -> &'static str,
    summary: fn() -> &'static str,
    id_files: fn() -> Option<&'static IdFiles>,
}

/// Makes the registry from a list of layouts. `settings` marks a layout that has some.
macro_rules! register {
    ($($file:ident::$layout:ident $(($settings:ident))?,)+) => {
        $(pub use $file::$layout;)+

        /// How the files of a dataset are arranged: the key `layout` of a manifest. [`layouts`]
        /// lists all layouts.
        ///
        /// ```
        /// use robustseg_datasets::{Layout, Synthetic};
        /// let layout = Layout::from(Synthetic { height: 96, width: 128, seed: 1 });
        /// assert_eq!(layout.name(), "synthetic");
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        pub enum Layout {
            $(
                #[doc = concat!("See [`struct@", stringify!($layout), "`].")]
                $layout $((#[doc = concat!("Its ", stringify!($settings), ".")] $layout))?,
            )+
        }

        $(impl From<$layout> for Layout {
            fn from(layout: $layout) -> Self {
                register!(@make layout, $layout $($settings)?)
            }
        })+

        impl Layout {
            /// The layout's name in manifests.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$layout { .. } => $layout::name(),)+
                }
            }

            /// The layout behind the trait that all layouts share.
            pub(crate) fn kind(&self) -> &dyn Kind {
                match self {
                    $(Self::$layout $(($settings))? => register!(@kind $layout $($settings)?),)+
                }
            }
        }

        /// Every layout, in the order of the documentation.
        static ENTRIES: &[Entry] = &[$(Entry {
            name: $layout::name,
            summary: $layout::summary,
            id_files: $layout::id_files,
        }),+];

        /// A small dataset of every layout.
        #[cfg(test)]
        fn fixtures() -> Vec<tests::Fixture> {
            vec![$($file::fixture()),+]
        }
    };
    (@make $value:ident, $layout:ident) => {{
        let $layout = $value;
        Self::$layout
    }};
    (@make $value:ident, $layout:ident $settings:ident) => { Self::$layout($value) };
    (@kind $layout:ident) => { &$layout };
    (@kind $layout:ident $settings:ident) => { $settings };
}

register! {
    voc::Voc(settings),
    cityscapes::Cityscapes,
    pairs::Pairs,
    folders::Folders(settings),
    synthetic::Synthetic(settings),
}

/// The name and the summary of every layout.
///
/// ```
/// for (name, summary) in robustseg_datasets::layouts() {
///     println!("{name:<12} {summary}");
/// }
/// ```
pub fn layouts() -> impl Iterator<Item = (&'static str, &'static str)> {
    ENTRIES.iter().map(|entry| ((entry.name)(), (entry.summary)()))
}

/// What the name of the label file `path` reveals about ids in it.
pub(crate) fn id_files(path: &Path) -> Option<&'static IdFiles> {
    let name = path.file_name()?.to_string_lossy();
    ENTRIES.iter().filter_map(|entry| (entry.id_files)()).find(|files| name.ends_with(files.suffix))
}
