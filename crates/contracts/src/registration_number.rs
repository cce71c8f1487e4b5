use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use unicode_normalization::UnicodeNormalization;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// The most characters that are looked at before an input is refused unread.
const MAX_INPUT_CHARS: usize = 64;

/// The most letters and digits that a number has.
const MOST_CHARACTERS: usize = 7;
/// Bytes of the longest number: `Å`, `Ä` and `Ö` take two.
const MOST_BYTES: usize = 2 * MOST_CHARACTERS;

/// A Swedish vehicle registration number in its canonical form: 2 to 7 characters of
/// `A–Z`, `Å Ä Ö` and `0–9`, in Unicode NFC, upper case, without blanks or hyphens.
///
/// Standard plates are three letters, two digits and a digit or letter; personalised plates are
/// 2 to 7 characters of the same alphabet (Transportstyrelsen), so no stricter pattern would do.
/// `abc 123`, `ABC-123` and `abc123` parse to the same value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationNumber {
    /// The text, and zeros: in place, because numbers are cloned often.
    bytes: [u8; MOST_BYTES],
    length: u8,
}

/// Why a text is no registration number. Never carries the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationNumberError {
    /// Fewer than 2 or more than 7 characters once blanks and hyphens are dropped.
    #[error("a registration number has 2 to 7 characters")]
    Length,
    /// A character outside the alphabet.
    #[error("a registration number has only the letters A-Z, Å, Ä, Ö and the digits 0-9")]
    Character,
}

impl RegistrationNumber {
    /// The canonical text.
    pub fn as_str(&self) -> &str {
        let text = self.bytes.get(..usize::from(self.length));
        std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
    }

    /// From composed characters.
    fn of(characters: impl Iterator<Item = char>) -> Result<Self, RegistrationNumberError> {
        let mut bytes = [0; MOST_BYTES];
        let (mut count, mut length) = (0, 0);
        for character in characters {
            // Only letters of the alphabet change case: full Unicode upper-casing would let
            // `ß` in as `SS` and a dotless `ı` as `I`.
            let upper = match character {
                ' ' | '-' => continue,
                'a'..='z' => character.to_ascii_uppercase(),
                'å' => 'Å',
                'ä' => 'Ä',
                'ö' => 'Ö',
                other => other,
            };
            if !matches!(upper, 'A'..='Z' | 'Å' | 'Ä' | 'Ö' | '0'..='9') {
                return Err(RegistrationNumberError::Character);
            }
            count += 1;
            if count <= MOST_CHARACTERS {
                length += upper.encode_utf8(&mut bytes[length..]).len();
            }
        }
        if !(2..=MOST_CHARACTERS).contains(&count) {
            return Err(RegistrationNumberError::Length);
        }
        let length = u8::try_from(length).map_err(|_| RegistrationNumberError::Length)?;
        Ok(Self { bytes, length })
    }
}

impl FromStr for RegistrationNumber {
    type Err = RegistrationNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.chars().nth(MAX_INPUT_CHARS).is_some() {
            return Err(RegistrationNumberError::Length);
        }
        let text = text.trim();
        if text.is_ascii() {
            // Composed as it is.
            Self::of(text.chars())
        } else {
            Self::of(text.nfc())
        }
    }
}

impl fmt::Debug for RegistrationNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("RegistrationNumber")
            .field(&self.as_str())
            .finish()
    }
}

impl fmt::Display for RegistrationNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for RegistrationNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RegistrationNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl PartialSchema for RegistrationNumber {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "Vehicle registration number in canonical form: upper case, no blanks or hyphens.",
            ))
            .pattern(Some("^[A-ZÅÄÖ0-9]{2,7}$"))
            .examples([serde_json::json!("ABC123")])
            .into()
    }
}

impl ToSchema for RegistrationNumber {
    fn name() -> Cow<'static, str> {
        "RegistrationNumber".into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{RegistrationNumber, RegistrationNumberError};

    fn parse(text: &str) -> Result<String, RegistrationNumberError> {
        text.parse()
            .map(|number: RegistrationNumber| number.to_string())
    }

    #[test]
    fn spellings_of_one_plate_are_one_vehicle() {
        for spelling in [
            "abc 123",
            "ABC-123",
            "abc123",
            "  aBc  1-2-3 ",
            "\tABC123\n",
        ] {
            assert_eq!(parse(spelling).as_deref(), Ok("ABC123"), "{spelling:?}");
        }
    }

    #[test]
    fn letters_of_the_swedish_alphabet_compose_and_upper_case() {
        assert_eq!(parse("åäö").as_deref(), Ok("ÅÄÖ"));
        assert_eq!(parse("a\u{30a}a\u{308}o\u{308}").as_deref(), Ok("ÅÄÖ"));
        assert_eq!(parse("\u{212b}BC123").as_deref(), Ok("ÅBC123"));
    }

    #[test]
    fn the_longest_number_has_room_and_numbers_are_ordered_as_texts() {
        assert_eq!(parse("ÅÄÖÅÄÖÅ").as_deref(), Ok("ÅÄÖÅÄÖÅ"));
        let number = |text: &str| text.parse::<RegistrationNumber>().unwrap();
        let mut numbers = ["ÖAB", "AB1", "AB", "ÅAB", "ZZ"].map(number);
        numbers.sort();
        let texts = numbers.each_ref().map(RegistrationNumber::as_str);
        assert_eq!(texts, ["AB", "AB1", "ZZ", "ÅAB", "ÖAB"]);
    }

    #[test]
    fn lengths_outside_two_to_seven_are_refused() {
        for text in ["", " ", "-", "A", "ABCD1234", &"A".repeat(100_000)] {
            assert_eq!(parse(text), Err(RegistrationNumberError::Length));
        }
        assert!(parse("AB").is_ok() && parse("ABCDEFG").is_ok());
        let padded = |length: usize| format!("A{}B", " ".repeat(length - 2));
        assert_eq!(parse(&padded(64)).as_deref(), Ok("AB"));
        assert_eq!(parse(&padded(65)), Err(RegistrationNumberError::Length));
    }

    #[test]
    fn characters_outside_the_alphabet_are_refused() {
        for text in [
            "ABC/12",
            "..",
            "AB\0C12",
            "🚗🚗",
            "ß12",
            "ıab12",
            "ÉAB12",
            "AB_12",
            "АВС123",
        ] {
            assert_eq!(
                parse(text),
                Err(RegistrationNumberError::Character),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_idempotent(text in "\\PC*") {
            if let Ok(once) = parse(&text) {
                prop_assert_eq!(parse(&once), Ok(once.clone()));
            }
        }
    }
}
