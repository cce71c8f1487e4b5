use std::{ops::RangeInclusive, time::Duration};

use config::ValueKind;
use humantime::format_duration;

/// A value that lies between two others: a number or a duration.
pub trait Bounded: PartialOrd + Sized {
    /// What it is, in words.
    const KIND: &'static str;

    /// Reads it from a file's value or a variable's text. A value of another kind is nothing:
    /// `true` is not 1, and 1.5 is not 2.
    fn read(value: &ValueKind) -> Option<Self>;

    /// As it is written in settings.
    fn shown(&self) -> String;
}

/// Bounds as they are written in the reference.
pub(crate) fn shown<T: Bounded>(bounds: &RangeInclusive<T>) -> String {
    format!("{}..={}", bounds.start().shown(), bounds.end().shown())
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Bounded for $type {
            const KIND: &'static str = "whole number";

            fn read(value: &ValueKind) -> Option<Self> {
                let whole = !matches!(value, ValueKind::Boolean(_) | ValueKind::Float(_));
                whole.then(|| value.to_string().parse().ok()).flatten()
            }

            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, usize);

impl Bounded for f64 {
    const KIND: &'static str = "number";

    fn read(value: &ValueKind) -> Option<Self> {
        let number = !matches!(value, ValueKind::Boolean(_));
        number.then(|| value.to_string().parse().ok()).flatten()
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Bounded for Duration {
    const KIND: &'static str = "duration such as 250ms, 5s or 10m";

    fn read(value: &ValueKind) -> Option<Self> {
        match value {
            ValueKind::String(text) => humantime::parse_duration(text).ok(),
            // The one number that needs no unit, as in a variable.
            ValueKind::I64(0) | ValueKind::U64(0) => Some(Duration::ZERO),
            _ => None,
        }
    }

    fn shown(&self) -> String {
        format_duration(*self).to_string()
    }
}

/// For bounds of durations.
pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// For bounds of durations.
pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
