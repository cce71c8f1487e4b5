use std::{borrow::Cow, fmt, str::FromStr};

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

/// A day of the calendar, `YYYY-MM-DD` (RFC 3339 `full-date`), from 1900 to 2199.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

/// Why a text or date is no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a day is YYYY-MM-DD, from 1900-01-01 to 2199-12-31")]
pub struct DayError;

/// Years that somebody may mean.
const FIRST: Date = Date::constant(1900, 1, 1);
const LAST: Date = Date::constant(2199, 12, 31);

impl Day {
    /// The nearest day to this date.
    #[must_use]
    pub fn clamped(date: Date) -> Self {
        Self(date.clamp(FIRST, LAST))
    }
}

impl TryFrom<Date> for Day {
    type Error = DayError;

    fn try_from(date: Date) -> Result<Self, DayError> {
        if (FIRST..=LAST).contains(&date) {
            Ok(Self(date))
        } else {
            Err(DayError)
        }
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        // The parser takes more of ISO 8601 than this, a time after the date among it.
        let is_plain = text.len() == 10 && text.as_bytes()[4] == b'-';
        let date = text.parse::<Date>().ok().filter(|_| is_plain);
        date.ok_or(DayError)?.try_into()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl PartialSchema for Day {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
            .description(Some("A day from 1900-01-01 to 2199-12-31."))
            .examples([serde_json::json!("2026-12-01")])
            .into()
    }
}

impl ToSchema for Day {
    fn name() -> Cow<'static, str> {
        "Day".into()
    }
}

#[cfg(test)]
mod tests {
    use super::{Day, DayError};

    #[test]
    fn a_day_is_written_as_it_is_read() {
        for text in ["1900-01-01", "2024-02-29", "2199-12-31"] {
            let day: Day = text.parse().unwrap();
            assert_eq!(day.to_string(), text);
            let json = serde_json::to_string(&day).unwrap();
            assert_eq!(serde_json::from_str::<Day>(&json).unwrap(), day);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2026-1-1",
            "20261201",
            "2026-W49-2",
            "2026-02-29",
            "2026-12-01T00:00",
            "1899-12-31",
            "2200-01-01",
            "infinity",
            "+002026-01-01",
        ] {
            assert_eq!(text.parse::<Day>(), Err(DayError), "{text:?}");
        }
    }
}
