//! Families of settings of which a spec names one member.

/// Makes the registry of a family: an enum with one line for each member, written in specs as the
/// member's name, or as a map from its name to its settings.
macro_rules! choices {
    (
        $(#[$about:meta])*
        $family:ident as dyn $interface:ident {
            $($(#[$summary:meta])* $member:ident($file:ident::$settings:ident),)+
        }
    ) => {
        $(pub use $file::$settings;)+

        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(
            feature = "schema",
            derive(schemars::JsonSchema),
            schemars(transform = names_alone)
        )]
        #[serde(rename_all = "snake_case")]
        pub enum $family {
            $($(#[$summary])* $member($settings),)+
        }

        impl $family {
            /// The member's behaviour.
            pub(crate) fn get(&self) -> &dyn $interface {
                match self {
                    $(Self::$member(settings) => settings,)+
                }
            }
        }

        $(impl From<$settings> for $family {
            fn from(settings: $settings) -> Self {
                Self::$member(settings)
            }
        })+

        /// Allows the name of a member without settings.
        #[cfg(feature = "schema")]
        fn names_alone(schema: &mut schemars::Schema) {
            crate::choice::names_alone::<$family>(schema);
        }
    };
}
pub(crate) use choices;

/// Allows the names alone of all members of `T` whose settings all have defaults.
#[cfg(feature = "schema")]
pub(crate) fn names_alone<T: serde::de::DeserializeOwned>(schema: &mut schemars::Schema) {
    use serde_json::{Value, from_value, json};
    let Some(choices) = schema.get_mut("oneOf").and_then(Value::as_array_mut) else { return };
    let name = |choice: &Value| Some(choice.get("properties")?.as_object()?.keys().next()?.clone());
    let names: Vec<String> = choices.iter().filter_map(name).collect();
    for name in names.into_iter().filter(|name| from_value::<T>(json!({ name: {} })).is_ok()) {
        choices.push(json!({ "description": format!("`{name}` with its defaults."), "const": name }));
    }
}
