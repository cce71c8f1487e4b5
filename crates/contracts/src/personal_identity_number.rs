mod within;

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};
use validator::ValidateLength;

pub use within::may_hold_personal_identity_number;

const LENGTH: usize = 12;

/// A Swedish personal identity number (personnummer or samordningsnummer, folkbokföringslagen
/// 1991:481 § 18–18 b) in its canonical form: the 12 digits `YYYYMMDDNNNC`.
///
/// It is personal data. The type has no `Display` and no `Serialize`, and `Debug` hides the value,
/// so that no log line, span, error or panic message can hold it by accident; the digits are
/// reached by [`expose_digits`](Self::expose_digits) only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PersonalIdentityNumber([u8; LENGTH]);

/// How strictly personal identity numbers are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersonalIdentityNumberCheck {
    /// 12 digits, nothing more. The default, because the published sample persons fail Luhn.
    Format,
    /// Also a real calendar date; a coordination number's day is its day + 60.
    Date,
    /// Also the Luhn check digit over the last ten digits (SKV 704).
    Checksum,
}

/// Why a text is no personal identity number. Never carries the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonalIdentityNumberError {
    /// Not 12 ASCII digits with an optional hyphen before the last four.
    #[error(
        "a personal identity number is 12 digits, YYYYMMDDNNNC, with an optional hyphen before the last four"
    )]
    Format,
    /// The first eight digits are no date.
    #[error(
        "the first eight digits of a personal identity number are a date (a coordination number's day is its day + 60)"
    )]
    Date,
    /// The check digit is wrong.
    #[error("the last digit of a personal identity number is its check digit")]
    Checksum,
}

impl PersonalIdentityNumber {
    /// The 12 digits. Named so that every place where personal data leaves the type can be found.
    pub fn expose_digits(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Holds the number to a stricter rule than its format.
    pub fn verify(
        &self,
        check: PersonalIdentityNumberCheck,
    ) -> Result<(), PersonalIdentityNumberError> {
        if check >= PersonalIdentityNumberCheck::Date && !self.has_date() {
            return Err(PersonalIdentityNumberError::Date);
        }
        if check >= PersonalIdentityNumberCheck::Checksum && !self.has_check_digit() {
            return Err(PersonalIdentityNumberError::Checksum);
        }
        Ok(())
    }

    fn digits(&self, range: std::ops::Range<usize>) -> u32 {
        self.0[range]
            .iter()
            .fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))
    }

    fn has_date(&self) -> bool {
        let (year, month, day) = (self.digits(0..4), self.digits(4..6), self.digits(6..8));
        let day = if day > 60 { day - 60 } else { day };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => 0,
        };
        (1..=days).contains(&day)
    }

    fn has_check_digit(&self) -> bool {
        let sum: u32 = self.0[2..]
            .iter()
            .zip([2, 1].into_iter().cycle())
            .map(|(digit, weight)| u32::from(digit - b'0') * weight)
            .map(|product| product / 10 + product % 10)
            .sum();
        sum.is_multiple_of(10)
    }

    /// For `#[serde(serialize_with)]`: the one way onto the wire.
    pub(crate) fn serialize_exposed<S: Serializer>(
        &self,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose_digits())
    }
}

impl FromStr for PersonalIdentityNumber {
    type Err = PersonalIdentityNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digits = [0; LENGTH];
        match text.as_bytes() {
            bytes if bytes.len() == LENGTH => digits.copy_from_slice(bytes),
            [date @ .., b'-', a, b, c, d] if date.len() == LENGTH - 4 => {
                digits[..LENGTH - 4].copy_from_slice(date);
                digits[LENGTH - 4..].copy_from_slice(&[*a, *b, *c, *d]);
            }
            _ => return Err(PersonalIdentityNumberError::Format),
        }
        if digits.iter().all(u8::is_ascii_digit) {
            Ok(Self(digits))
        } else {
            Err(PersonalIdentityNumberError::Format)
        }
    }
}

impl fmt::Debug for PersonalIdentityNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PersonalIdentityNumber(…)")
    }
}

impl<'de> Deserialize<'de> for PersonalIdentityNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl PartialSchema for PersonalIdentityNumber {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "Personal identity number in canonical form: the 12 digits YYYYMMDDNNNC.",
            ))
            .pattern(Some("^[0-9]{12}$"))
            .examples([serde_json::json!("199001011234")])
            .into()
    }
}

impl ToSchema for PersonalIdentityNumber {
    fn name() -> Cow<'static, str> {
        "PersonalIdentityNumber".into()
    }
}

/// A text that may hold a personal identity number and has not been checked yet. Neither `Debug`
/// nor `Serialize` gives it away (validation libraries keep a serialised copy of refused values).
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct UncheckedText(String);

impl UncheckedText {
    /// The text as it was sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl ValidateLength<u64> for UncheckedText {
    fn length(&self) -> Option<u64> {
        self.0.length()
    }
}

impl fmt::Debug for UncheckedText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UncheckedText(…)")
    }
}

impl Serialize for UncheckedText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::{
        PersonalIdentityNumber, PersonalIdentityNumberCheck as Check,
        PersonalIdentityNumberError as Error,
    };

    fn check(text: &str, check: Check) -> Result<(), Error> {
        text.parse::<PersonalIdentityNumber>()?.verify(check)
    }

    #[test]
    fn the_hyphen_is_optional_and_drops_out() {
        for text in ["199001011234", "19900101-1234"] {
            let number: PersonalIdentityNumber = text.parse().unwrap();
            assert_eq!(number.expose_digits(), "199001011234");
        }
    }

    #[test]
    fn anything_but_twelve_ascii_digits_is_refused() {
        for text in [
            "",
            "19900101123",
            "1990010112345",
            "1990-01011234",
            "199001011-234",
            "19900101+1234",
            "19900101 1234",
            " 199001011234",
            "19900101123a",
            "１９９００１０１１２３４",
            "19900101-123",
            "--------1234",
            "1990010१1234",
        ] {
            assert_eq!(check(text, Check::Format), Err(Error::Format), "{text:?}");
        }
    }

    #[test]
    fn the_date_check_knows_the_calendar_and_coordination_numbers() {
        for text in [
            "200002291234",
            "199001611234",
            "199012311234",
            "199012911234",
        ] {
            assert_eq!(check(text, Check::Date), Ok(()), "{text}");
        }
        for text in [
            "190002291234",
            "199002301234",
            "199013011234",
            "199000011234",
            "199001001234",
            "199001601234",
            "199001921234",
            "199004311234",
            "199006311234",
            "199009311234",
            "199011311234",
            "199004911234",
        ] {
            assert_eq!(check(text, Check::Date), Err(Error::Date), "{text}");
            assert_eq!(check(text, Check::Format), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_check_digit_follows_luhn() {
        // Skatteverket's published test numbers.
        for text in ["189001019802", "199001012385", "201701102384"] {
            assert_eq!(check(text, Check::Checksum), Ok(()), "{text}");
        }
        assert_eq!(check("199001012386", Check::Checksum), Err(Error::Checksum));
        // The right digit of a day that does not exist.
        assert_eq!(check("199002301233", Check::Checksum), Err(Error::Date));
    }

    #[test]
    fn the_published_samples_pass_by_format_and_fail_luhn() {
        for text in ["199001011234", "198505155678", "200310209876"] {
            assert_eq!(check(text, Check::Format), Ok(()));
            assert_eq!(check(text, Check::Checksum), Err(Error::Checksum));
        }
    }

    #[test]
    fn debug_output_hides_the_value() {
        let number: PersonalIdentityNumber = "199001011234".parse().unwrap();
        assert_eq!(
            format!("{number:?} {number:#?}"),
            "PersonalIdentityNumber(…) PersonalIdentityNumber(…)"
        );
    }
}
