use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

/// A value of the wire and what it means.
pub type Value = (&'static str, &'static str);

/// Declares an enumeration of the wire from a doc comment and a name on the wire for each value.
/// The OpenAPI document tells both: a list of bare names explains nothing.
#[macro_export]
macro_rules! wire_enum {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident {
            $($(#[doc = $meaning:literal])+ $variant:ident = $value:literal,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $meaning])+ #[serde(rename = $value)] $variant,)+
        }

        impl $name {
            /// Each value on the wire with what it means.
            pub const VALUES: &'static [$crate::Value] =
                &[$(($value, concat!($($meaning),+))),+];

            /// Its name on the wire.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $value,)+
                }
            }

            /// The value of this name.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl ::utoipa::PartialSchema for $name {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::Schema> {
                $crate::described(concat!($($about),+), Self::VALUES)
            }
        }

        impl ::utoipa::ToSchema for $name {
            fn name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

/// The schema of an enumeration: JSON Schema has no place for the meaning of a value, so its
/// description lists them.
pub fn described(about: &str, values: &[Value]) -> RefOr<Schema> {
    let lines = values
        .iter()
        .map(|(value, meaning)| format!("\n- `{value}`: {}", meaning.trim()));
    let description = format!(
        "{}\n{}\n\nMore values may come without a new version.",
        about.trim(),
        lines.collect::<String>()
    );
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(values.iter().map(|(value, _)| *value)))
        .into()
}
