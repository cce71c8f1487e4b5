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
const FIRST_YEAR: u32 = 1840;
/// Mean Gregorian year in seconds.
const YEAR: u64 = 31_556_952;
const DAY: u64 = 86_400;

/// The gaps between year, month, day and birth number, as bits: gap n is the one before digit n of
/// the 12.
const BETWEEN_PARTS: u16 = 1 << 4 | 1 << 6 | 1 << 8;
/// The gaps between pairs of digits, of the date alone and of all 12.
const BETWEEN_PAIRS: [u16; 2] = [
    1 << 2 | 1 << 4 | 1 << 6 | 1 << 8,
    1 << 2 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10,
];
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
    let this_year = this_year();
    let mut text = Cow::from(text);
    loop {
        if holds(&text, this_year) {
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

fn holds(text: &str, this_year: u32) -> bool {
    let mut digits = Vec::with_capacity(text.len());
    if text.is_ascii() {
        collect_digits(text.chars(), &mut digits);
    } else {
        collect_digits(text.nfkc(), &mut digits);
    }
    let random = is_random_id(text);
    let any_letters = !random || text.len() == SPAN_ID;
    let long = digits.windows(LENGTH).any(|window| {
        is_born_by(this_year, &window[..4])
            && is_month_and_day(&window[4..8])
            && letters_between(window)
                .is_some_and(|letters| any_letters || is_grouping(letters, BETWEEN_PAIRS))
    });
    long || !random
        && digits.windows(SHORT).any(|window| {
            is_month_and_day(&window[2..6])
                && letters_between(window).is_some_and(|letters| is_grouping(letters << 2, []))
        })
}

/// A digit, and how many letters stand between it and the one before.
#[derive(Clone, Copy)]
struct Digit {
    /// Unknown for a digit of another script.
    value: Option<u32>,
    letters: usize,
}

fn collect_digits(text: impl Iterator<Item = char>, digits: &mut Vec<Digit>) {
    let mut letters = 0;
    for character in text {
        if character.is_numeric() {
            let value = character.to_digit(10);
            digits.push(Digit { value, letters });
            letters = 0;
        } else if character.is_alphabetic() {
            letters += 1;
        }
    }
}

/// The gaps between the digits that hold a letter, as bits, if none holds more than one.
fn letters_between(digits: &[Digit]) -> Option<u16> {
    let mut gaps = 0;
    for (gap, digit) in digits.iter().enumerate().skip(1) {
        match digit.letters {
            0 => {}
            1 => gaps |= 1 << gap,
            _ => return None,
        }
    }
    Some(gaps)
}

/// Whether letters in these gaps group the digits as a writer would.
fn is_grouping<const N: usize>(letters: u16, others: [u16; N]) -> bool {
    letters & !BETWEEN_PARTS == 0
        || others.contains(&letters)
        || letters.count_ones() >= MANY_LETTERS
}

fn is_born_by(this_year: u32, year: &[Digit]) -> bool {
    number(year).is_none_or(|year| (FIRST_YEAR..=this_year).contains(&year))
}

fn is_month_and_day(digits: &[Digit]) -> bool {
    let (month, day) = digits.split_at(2);
    number(month).is_none_or(|month| (1..=12).contains(&month))
        && number(day).is_none_or(|day| matches!(day, 1..=31 | 61..=91))
}

fn number(digits: &[Digit]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number, digit| Some(number * 10 + digit.value?))
}

/// By the mean length of a year, a day early: New Year is never told too late.
fn this_year() -> u32 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let years = (since_1970.as_secs() + DAY) / YEAR;
    u32::try_from(1970 + years).unwrap_or(u32::MAX)
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
