use std::fmt;

use crate::{Reader, Violations};

/// A table of settings; made by [`section!`](macro@crate::section).
pub trait Section: Clone + fmt::Debug + PartialEq + Send + Sync + Sized + 'static {
    /// The keys that take effect while a service runs; all others do at its start.
    const LIVE: &'static [&'static str] = &[];
    /// Keys of earlier releases with what there is in their place. They are warned of, not refused,
    /// for one release, so that no operator's file stops an upgrade.
    const REMOVED: &'static [(&'static str, &'static str)] = &[];

    /// What it holds, in order.
    fn fields() -> Vec<Field>;

    /// Reads every key, also behind one that is at fault, so that all faults are told at once.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;

    /// Reports what the bounds of single values do not say. `at` is where it is, such as
    /// `vehicle_client`.
    fn rules(&self, at: &str, violations: &mut Violations);

    /// Goes back to what a running service was started with, but for what is live, also within its
    /// tables; says what differs and waits for a restart.
    fn keep_started(&mut self, started: &Self) -> Vec<&'static str>;
}

/// A setting or a table of them.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its key.
    pub key: &'static str,
    /// What it means, line by line.
    pub meaning: &'static [&'static str],
    /// What it is.
    pub kind: Kind,
    /// Whether it takes effect while a service runs.
    pub live: bool,
}

/// What there is under a key.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A value.
    Value {
        /// Its default, in TOML.
        default: &'static str,
        /// The least and the most, if it has such bounds.
        bounds: Option<String>,
    },
    /// A table.
    Table(Vec<Field>),
}

impl Field {
    /// Goes back to a value of the start. Whether the newest one differs, which waits for a restart.
    #[doc(hidden)]
    pub fn keep<T: Clone + PartialEq>(newest: &mut T, started: &T) -> bool {
        let waits = newest != started;
        newest.clone_from(started);
        waits
    }

    /// Those that are settings.
    #[doc(hidden)]
    pub fn all<const N: usize>(
        kinds: [(&'static str, &'static [&'static str], Option<Kind>); N],
        live: &[&str],
    ) -> Vec<Self> {
        let field = |(key, meaning, kind): (&'static str, _, Option<Kind>)| {
            kind.map(|kind| Self {
                key,
                meaning,
                kind,
                live: live.contains(&key),
            })
        };
        kinds.into_iter().filter_map(field).collect()
    }
}

/// Declares a table of settings.
///
/// Each key says once what it means (its doc comment), what it is by default (in TOML), and what
/// it may be: `in` bounds, or `where` a rule, a function `(&value, path, &mut Violations)`, has
/// nothing to report. A key without a default is a table of its own. What stands behind `=>` is no
/// setting but a constant, in its place so that a test can change it. `checked by` names a rule
/// about several keys at once.
///
/// ```
/// settings::section! {
///     /// How the neighbour is called.
///     pub struct Neighbour {
///         /// Time for one call.
///         pub timeout: std::time::Duration = "250ms", in settings::millis(10)..=settings::seconds(5);
///         /// Calls in flight.
///         pub calls: usize = 5, in 1..=100;
///     }
///     removed {
///         "pause" => "is 50 ms",
///     }
/// }
/// ```
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $(#[derive($($derive:ident),*)])?
        $vis:vis struct $name:ident $(checked by $check:path)? {
            $(
                $(#[doc = $meaning:literal])*
                $key_vis:vis $key:ident: $type:ty
                    $(= $default:tt)? $(, in $bounds:expr)? $(, where $rule:path)?
                    $(=> $constant:expr)?;
            )*
        }
        $(live { $($live:ident),* $(,)? })?
        $(removed { $($removed:literal => $instead:literal),* $(,)? })?
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        $(#[derive($($derive),*)])?
        $vis struct $name {
            $($(#[doc = $meaning])* $key_vis $key: $type,)*
        }

        impl $crate::Section for $name {
            const LIVE: &'static [&'static str] = &[$($(stringify!($live)),*)?];
            const REMOVED: &'static [(&'static str, &'static str)] =
                &[$($(($removed, $instead)),*)?];

            fn fields() -> Vec<$crate::Field> {
                let kinds = [$((
                    stringify!($key),
                    &[$($meaning),*] as &[&str],
                    $crate::section!(
                        @kind $type $(, $default)? $(, in $bounds)? $(=> $constant)?
                    ),
                )),*];
                $crate::Field::all(kinds, Self::LIVE)
            }

            fn read(reader: &mut $crate::Reader<'_>) -> Option<Self> {
                let _ = &reader;
                $(
                    let $key = $crate::section!(
                        @read reader, $key, $type $(, $default)? $(, in $bounds)? $(=> $constant)?
                    );
                    $(reader.hold(stringify!($key), $key.as_ref(), $rule);)?
                )*
                Some(Self { $($key: $key?),* })
            }

            fn rules(&self, at: &str, violations: &mut $crate::Violations) {
                $($check(self, at, violations);)?
                let _ = (at, violations);
            }

            fn keep_started(&mut self, started: &Self) -> Vec<&'static str> {
                let _ = started;
                let kept: &[(&'static str, bool)] = &[$((
                    stringify!($key),
                    !Self::LIVE.contains(&stringify!($key))
                        && $crate::section!(
                            @keep &mut self.$key, &started.$key, $type $(, $default)? $(=> $constant)?
                        ),
                )),*];
                let waiting = kept.iter().filter(|(_, waits)| *waits);
                waiting.map(|(key, _)| *key).collect()
            }
        }
    };
    (@kind $type:ty => $constant:expr) => { None };
    (@kind $type:ty) => { Some($crate::Kind::Table(<$type as $crate::Section>::fields())) };
    (@kind $type:ty, $default:tt) => {
        Some($crate::Kind::Value { default: stringify!($default), bounds: None })
    };
    (@kind $type:ty, $default:tt, in $bounds:expr) => {
        Some($crate::Kind::Value {
            default: stringify!($default),
            bounds: Some($crate::Reader::shown::<$type>(&$bounds)),
        })
    };
    (@keep $newest:expr, $started:expr, $type:ty) => {
        !$crate::Section::keep_started($newest, $started).is_empty()
    };
    (@keep $newest:expr, $started:expr, $type:ty $(, $default:tt)? $(=> $constant:expr)?) => {
        $crate::Field::keep($newest, $started)
    };
    (@read $reader:ident, $key:ident, $type:ty => $constant:expr) => { Some($constant) };
    (@read $reader:ident, $key:ident, $type:ty) => { $reader.table::<$type>(stringify!($key)) };
    (@read $reader:ident, $key:ident, $type:ty, $default:tt) => {
        $reader.value::<$type>(stringify!($key))
    };
    (@read $reader:ident, $key:ident, $type:ty, $default:tt, in $bounds:expr) => {
        $reader.bounded::<$type>(stringify!($key), &$bounds)
    };
}
