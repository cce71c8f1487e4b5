//! Whether a text may hold a personal identity number.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;

use super::LENGTH;

/// Digits of the form without a century, `YYMMDDNNNC`.
const SHORT: usize = LENGTH - 2;
/// Nobody who was born before has a personal identity number: they came in 1947.
const FIRST_YEAR: u64 = 1840;
/// Mean Gregorian year in seconds.
const YEAR: u64 = 31_556_952;
const DAY: u64 = 86_400;

/// The gaps between year, month, day and birth number.
const BETWEEN_PARTS: u16 = gap(4) | gap(6) | gap(8);
/// The gaps between pairs of digits, of the date alone and of all 12.
const BETWEEN_PAIRS: [u16; 2] = [gap(2) | BETWEEN_PARTS, gap(2) | BETWEEN_PARTS | gap(10)];
/// Lengths of random ids, in characters.
const SPAN_ID: usize = 16;
const TRACE_ID: usize = 32;
const UUID: usize = 36;
/// So many letters between 12 random digits are rare, and are what a separator looks like.
const MANY_LETTERS: u32 = 7;

/// Whether a text may hold a personal identity number in one of the spellings below; such a text
/// reaches no log, span, metric or error.
///
/// It may if it has, percent-decoded or not, 12 digits that begin with a date of a birth (year
/// 1840 to the present one, month 1 to 12, day 1 to 31, or a coordination number's day + 60), or 10
/// digits that begin with such a date without its century. Between the digits may stand anything
/// that is no letter, and single letters; among 10 digits only between the parts of the date and of
/// the number. A digit of another script stands for any digit.
///
/// A UUID (RFC 9562), a trace id and a span id (W3C Trace Context) are random: 10 of their digits
/// often begin like a date, and count in none of them. Single letters mean little in the longer
/// two: there, 12 digits count whose letters stand between the parts of the date and of the number,
/// between pairs, or nearly everywhere. That is true of 3 in 10,000 random ones.
///
/// So a number is **not** found whose digits stand in a UUID or a trace id with a letter between
/// them at any other place, one is enough (`1990010a11234`), or without their century in a UUID, a
/// trace id or a span id. With every place of a letter found, 25 in 10,000 random ids would be
/// refused. Neither is one found that is encoded otherwise than in percent, such as in Base64.
pub fn may_hold_personal_identity_number(text: &str) -> bool {
    let mut text = Cow::from(text);
    loop {
        if holds(&text) {
            return true;
        }
        if !text.contains('%') {
            return false;
        }
        // Each turn shortens the text.
        let Cow::Owned(decoded) = percent_decode_str(&text).decode_utf8_lossy() else {
            return false;
        };
        text = decoded.into();
    }
}

fn holds(text: &str) -> bool {
    if is_random_id(text) && !has_date_of_birth(text) {
        return false;
    }
    if text.is_ascii() {
        holds_in(text.bytes().filter_map(ascii), text)
    } else {
        holds_in(text.nfkc().filter_map(any_script), text)
    }
}

/// Whether 12 digits begin with a date of the years 1800 to 2999, whatever stands between them: a
/// quick look at every id of every request, of which most random ones have none.
fn has_date_of_birth(text: &str) -> bool {
    let mut values = 0_u64;
    text.bytes().filter(u8::is_ascii_digit).any(|digit| {
        values = values << 4 | u64::from(digit - b'0');
        let year = values >> 32 & 0xffff;
        (0x1800..=0x2999).contains(&year) && is_month_and_day(values >> 16)
    })
}

/// Whether the last four digits, of four bits each, are a month and a day.
fn is_month_and_day(digits: u64) -> bool {
    matches!(digits >> 8 & 0xff, 0x01..=0x12) && matches!(digits & 0xff, 0x01..=0x31 | 0x61..=0x91)
}

/// What counts in a text.
enum Character {
    Digit(u64),
    /// Of another script.
    OtherDigit,
    Letter,
}

fn ascii(byte: u8) -> Option<Character> {
    match byte {
        b'0'..=b'9' => Some(Character::Digit(u64::from(byte - b'0'))),
        b'A'..=b'Z' | b'a'..=b'z' => Some(Character::Letter),
        _ => None,
    }
}

fn any_script(character: char) -> Option<Character> {
    let other = || {
        let letter = character.is_alphabetic().then_some(Character::Letter);
        if character.is_numeric() {
            Some(Character::OtherDigit)
        } else {
            letter
        }
    };
    u8::try_from(character)
        .ok()
        .filter(u8::is_ascii)
        .map_or_else(other, ascii)
}

/// Reads each character once and allocates nothing: every id of every request comes by here.
fn holds_in(characters: impl Iterator<Item = Character>, text: &str) -> bool {
    let mut digits = LastDigits::default();
    for character in characters {
        match character {
            Character::Letter => {
                digits.letters += 1;
                continue;
            }
            Character::Digit(value) => digits.push(value, 0),
            Character::OtherDigit => digits.push(0, 0xf),
        }
        if digits.have_month_and_day() && digits.are_number(text) {
            return true;
        }
    }
    false
}

/// The gap before digit n of the 12, as a bit.
const fn gap(n: usize) -> u16 {
    1 << (LENGTH - 1 - n)
}

/// The last 12 digits of a text, or the last 10 of them with a place for a century.
#[derive(Default)]
struct LastDigits {
    /// Four bits each, so that `0x1990_01_01_1234` is the number that it looks like.
    values: u64,
    /// Those of another script, whose value is unknown, as four bits that are set.
    unknown: u64,
    /// The gaps that hold a letter.
    lettered: u16,
    /// The gaps that hold several.
    apart: u16,
    count: usize,
    /// Letters since the last digit.
    letters: u32,
}

impl LastDigits {
    fn push(&mut self, value: u64, unknown: u64) {
        self.values = self.values << 4 | value;
        self.unknown = self.unknown << 4 | unknown;
        self.lettered = self.lettered << 1 | u16::from(self.letters > 0);
        self.apart = self.apart << 1 | u16::from(self.letters > 1);
        self.count += 1;
        self.letters = 0;
    }

    fn have_month_and_day(&self) -> bool {
        let is_month = |month| matches!(month, 0x01..=0x12);
        let is_day = |day| matches!(day, 0x01..=0x31 | 0x61..=0x91);
        self.count >= SHORT
            && self.number(24, 0xff).is_none_or(is_month)
            && self.number(16, 0xff).is_none_or(is_day)
    }

    fn have_year(&self) -> bool {
        let year = self.number(32, 0xffff).map(|digits| {
            let digits = [12, 8, 4, 0].map(|from| digits >> from & 0xf);
            digits.into_iter().fold(0, |year, digit| year * 10 + digit)
        });
        self.count >= LENGTH && year.is_none_or(|year| (FIRST_YEAR..=this_year()).contains(&year))
    }

    /// The digits from this bit on, if all are known.
    fn number(&self, from: u32, mask: u64) -> Option<u64> {
        (self.unknown >> from & mask == 0).then_some(self.values >> from & mask)
    }

    /// Whether they are a number, after month and day, of which this text is allowed to hold none.
    fn are_number(&self, text: &str) -> bool {
        let long = self.letters_after(0);
        let short = self.letters_after(2);
        let any_letters = || !is_random_id(text) || text.len() == SPAN_ID;
        long.is_some_and(|letters| {
            self.have_year() && (is_grouping(letters, BETWEEN_PAIRS) || any_letters())
        }) || short.is_some_and(|letters| is_grouping(letters, []) && !is_random_id(text))
    }

    /// The gaps after digit n of the 12 that hold a letter, if none holds more than one.
    fn letters_after(&self, n: usize) -> Option<u16> {
        let gaps = gap(n) - 1;
        (self.apart & gaps == 0).then_some(self.lettered & gaps)
    }
}

/// Whether letters in these gaps group the digits as a writer would.
fn is_grouping<const N: usize>(letters: u16, others: [u16; N]) -> bool {
    letters & !BETWEEN_PARTS == 0
        || others.contains(&letters)
        || letters.count_ones() >= MANY_LETTERS
}

/// By the mean length of a year, a day early: New Year is never told too late.
fn this_year() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    1970 + (since_1970.as_secs() + DAY) / YEAR
}

/// Whether a text is a UUID of a version that exists, or as many hexadecimal digits as a trace id or
/// a span id has. Digits alone are hardly ever random.
fn is_random_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let uuid = bytes.len() == UUID;
    let shape = bytes.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 if uuid => *byte == b'-',
        14 if uuid => matches!(byte, b'1'..=b'8'),
        19 if uuid => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
        _ => byte.is_ascii_hexdigit(),
    });
    shape
        && matches!(bytes.len(), SPAN_ID | TRACE_ID | UUID)
        && bytes.iter().any(u8::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::{may_hold_personal_identity_number as may_hold, this_year};

    #[test]
    fn a_number_is_seen_in_every_grouping_with_any_separator() {
        for text in [
            "199001011234",
            "19900101-1234",
            "19900101+1234",
            "199001611234",
            "199012911234",
            "184001011234",
            "19900101T1234",
            "1990x01x01x1234",
            "1x9x9x0x0x1x0x1x1x2x3x4",
            "1a99001b0c1123d4",
            "for 1990 01 01 12 34.",
            "1990--01, 01 (1234)",
            "person:19900101_1234",
            "p199001011234q",
            "00199001011234",
            "1990\u{2013}01\u{2013}01\u{a0}1234",
            "1\u{200b}9\u{200b}9\u{200b}0\u{200b}0\u{200b}1\u{200b}0\u{200b}1\u{200b}1\u{200b}2\u{200b}3\u{200b}4",
            "900101-1234",
            "900101+1234",
            "9001011234",
            "900101T1234",
            "90a01a01a1234",
            "order 12345678901234567890",
        ] {
            assert!(may_hold(text), "{text}");
        }
    }

    #[test]
    fn a_number_is_seen_through_encodings_and_other_scripts() {
        for text in [
            "/api/v1/insurances/19900101%2D1234",
            "%31%39%39%30%30%31%30%31%31%32%33%34",
            "%2531%2539%2539%2530%2530%2531%2530%2531%2531%2532%2533%2534",
            // Only where it is not decoded.
            "1990%01%01%1234",
            "１９９００１０１１２３４",
            "%EF%BC%91９９００１０１１２３４",
            "١٩٩٠٠١٠١١٢٣٤",
            "1990०१०११२३४",
        ] {
            assert!(may_hold(text), "{text}");
        }
    }

    #[test]
    fn a_number_is_seen_in_ids_that_look_random() {
        for id in [
            "19900101-1234-abcd-abcd-abcdefabcdef",
            "19900101-1234-4bcd-8bcd-abcdefabcdef",
            "abcdefab-1990-0101-1234-abcdefabcdef",
            "abcdefab-abcd-4bcd-8bcd-199001011234",
            "00000000000000000000199001011234",
            "19900101123400000000000000000000",
            "00000000000000000000009001011234",
            "abcdef199001611234abcdef00f067aa",
            "19900101a1234bcdefabcdef00f067aa",
            "1990a01b01c1234fabcdef00f067aaff",
            "19a90a01a01a12a34fabcdefabcdefab",
            "1a9b9c0d0e1f0a1b1c2d3e4fabcdefab",
            "199001011234abcd",
            "abcd199001011234",
        ] {
            assert!(may_hold(id), "{id}");
        }
    }

    #[test]
    fn a_number_that_an_id_hides_well_is_not_found() {
        for id in [
            "1990010a11234bcdefabcdef00f067aa",
            "1990010a-1123-4bcd-8bcd-abcdefabcdef",
            "900101-1234",
            "abcdefab-abcd-4bcd-8bcd-ab9001011234",
        ] {
            assert_eq!(may_hold(id), id.len() < 16, "{id}");
        }
        // Base64 of a number.
        assert!(!may_hold("MTk5MDAxMDExMjM0"));
    }

    #[test]
    fn what_cannot_be_a_number_is_left_alone() {
        for text in [
            "",
            "core-42",
            "order-202699999999",
            "0193a3c6-5b8f-7a60-9d5c-0c3f5e7d2b11",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "00f067aa0ba902b7",
            "01JD7Z3V5K8Q2M4N6P0R1S2T3V",
            "INC-12345, p99 1200 ms since 14:30",
            "2026-01-01",
            "900101-123",
            "19900101 and 1234",
            "50% of calls, 100%",
            "%",
            "%zz %é",
        ] {
            assert!(!may_hold(text), "{text}");
        }
    }

    #[test]
    fn twelve_digits_begin_with_the_date_of_a_birth() {
        // In a UUID, of which 10 digits never count.
        let of = |date: &str| may_hold(&format!("{date}-1234-4bcd-8bcd-abcdefabcdef"));
        for date in ["18400101", "19901231", "19900161", "19901291"] {
            assert!(of(date), "{date}");
        }
        for date in [
            "18390101", "19901301", "19900001", "19900100", "19900132", "19900160", "19900192",
        ] {
            assert!(!of(date), "{date}");
        }
        assert!(of(&format!("{}0101", this_year())));
        assert!(!of(&format!("{}0101", this_year() + 1)));
    }

    #[test]
    #[allow(
        clippy::print_stdout,
        reason = "the figures are what the rule is chosen by"
    )]
    fn hardly_any_random_id_falls_to_it() {
        const EACH: u32 = 100_000;
        let mut random = StdRng::seed_from_u64(1947);
        let milliseconds = 1_790_000_000_000_u128;
        let trace_id = |bits: u128| format!("{bits:032x}");
        let uuid = |bits: u128, version: u128| {
            let bits = bits & !(0xf << 76 | 0b11 << 62) | version << 76 | 0b10 << 62;
            let hex = trace_id(bits);
            let groups = [
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..],
            ];
            groups.join("-")
        };
        let mut fallen = [0_u32; 3];
        for _ in 0..EACH {
            let bits: u128 = random.random();
            let late = milliseconds + u128::from(random.random_range(0..31_556_952_000_u64));
            let ids = [
                trace_id(bits),
                uuid(bits, 4),
                uuid((bits & ((1 << 80) - 1)) | (late << 80), 7),
            ];
            for (count, id) in fallen.iter_mut().zip(&ids) {
                *count += u32::from(may_hold(id));
            }
        }
        for (kind, count) in ["trace ids", "UUIDs (4)", "UUIDs (7)"]
            .into_iter()
            .zip(fallen)
        {
            let percent = f64::from(count) * 100.0 / f64::from(EACH);
            println!("{percent:.3} % of random {kind} may hold a personal identity number");
            assert!((0.0..=0.05).contains(&percent) && count > 0, "{kind}");
        }
    }
}
