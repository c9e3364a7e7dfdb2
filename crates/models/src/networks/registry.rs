//! The macro that makes types of the list of networks.

/// Makes [`Architecture`](crate::Architecture) and the form in which specs write it.
macro_rules! networks {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($settings:ty),)*) => {
        use crate::Upsampling;
        use crate::layers::Settings;
        use serde::de::Error as _;
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        /// A kind of network with its own settings.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Architecture {
            $($(#[$doc])* $variant($settings),)*
        }

        $(impl From<$settings> for Architecture {
            fn from(settings: $settings) -> Self {
                Self::$variant(settings)
            }
        })*

        impl Architecture {
            /// The names of all networks, as specs and checkpoints write them.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// The network's name, as specs and checkpoints write it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($name),)*
                }
            }

            /// A network of each kind, in the order of [`Architecture::NAMES`], as small as it can
            /// sensibly be: to try things in no time.
            ///
            /// ```
            /// use robustseg_models::{Architecture, NetworkConfig};
            /// for small in Architecture::small() {
            ///     let name = small.name();
            ///     let outline = NetworkConfig::new(small, 3).outline()?;
            ///     println!("{name} has {} parameters", outline.parameter_count());
            /// }
            /// # Ok::<(), robustseg_models::Error>(())
            /// ```
            pub fn small() -> Vec<Self> {
                vec![$(<$settings as Settings>::small().into()),*]
            }

            /// The settings as the trait that all networks share.
            pub(crate) fn settings(&self) -> &dyn Settings {
                match self {
                    $(Self::$variant(settings) => settings,)*
                }
            }

            /// Reads the `settings` of the network `name`.
            ///
            /// # Errors
            /// If there is no such network, or the settings are not its own.
            pub(crate) fn read<'de, D: Deserializer<'de>>(name: &str, settings: D) -> Result<Self, D::Error> {
                match name {
                    $(stringify!($name) => Deserialize::deserialize(settings).map(Self::$variant),)*
                    _ => {
                        let known = Self::NAMES.join(", ");
                        Err(D::Error::custom(format!("network `{name}` is not known, only {known}")))
                    }
                }
            }
        }

        /// Writes the settings of a network, without its name.
        pub(crate) struct Flat<'a>(pub(crate) &'a Architecture);

        impl Serialize for Flat<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    $(Architecture::$variant(settings) => settings.serialize(serializer),)*
                }
            }
        }

        /// A [`NetworkSpec`](crate::NetworkSpec) as files write it.
        #[derive(Clone, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct Written {
            $(
                $(#[$doc])*
                #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
                pub(crate) $name: Option<$settings>,
            )*
            /// PSPNet's residual blocks of the four stages, without its name; 3, 4, 6 and 3 by
            /// default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) layers: Option<[usize; 4]>,
            /// PSPNet's channels of the stem, without its name; 64 by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) width: Option<usize>,
            /// Mean of each colour channel, in units of `[0, 1]`.
            pub(crate) mean: [f32; 3],
            /// Standard deviation of each colour channel.
            pub(crate) std: [f32; 3],
            /// Kind of upsampling.
            pub(crate) upsampling: Upsampling,
            /// Weights of the backbone to start from: a model of the hub such as
            /// `timm/resnetv2_50.a1h_in1k`, or a safetensors file (a relative path starts at the
            /// spec's folder). Random weights by default.
            pub(crate) pretrained: Option<String>,
        }

        impl Written {
            /// The networks that are named, at most one of which makes sense.
            pub(crate) fn named(&self) -> Vec<Architecture> {
                [$(self.$name.clone().map(Architecture::from)),*].into_iter().flatten().collect()
            }

            /// Names `architecture`.
            pub(crate) fn name(&mut self, architecture: Architecture) {
                match architecture {
                    $(Architecture::$variant(settings) => self.$name = Some(settings),)*
                }
            }
        }

        impl Default for Written {
            fn default() -> Self {
                let (layers, width, pretrained) = (None, None, None);
                let (mean, std) = ([0.5; 3], [0.5; 3]);
                Self {
                    $($name: None,)*
                    layers,
                    width,
                    mean,
                    std,
                    upsampling: Upsampling::default(),
                    pretrained,
                }
            }
        }

        /// The settings of a network that is named, which may be left empty.
        fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
        where
            T: Default + Deserialize<'de>,
            D: Deserializer<'de>,
        {
            Ok(Some(Option::<T>::deserialize(deserializer)?.unwrap_or_default()))
        }
    };
}
