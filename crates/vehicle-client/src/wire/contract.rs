//! Holds Vehicle's answers to their contract. Whatever is wrong is never mixed up with an answer.

use std::{collections::HashSet, sync::Arc};

use contracts::{BatchAnswer, RegistrationNumber, Vehicle};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{Answer, Failure, FailureKind, Found};

const VIOLATION: Failure = Failure::lasting(FailureKind::ContractViolation);

/// The answer to a single call (200): the vehicle that was asked for, or a violation.
pub(super) fn single(asked: &RegistrationNumber, body: &[u8]) -> Result<Answer, Failure> {
    let vehicle: Vehicle = object(body)?;
    if vehicle.registration_number != *asked || !vehicle.is_plausible() {
        return Err(VIOLATION);
    }
    Ok(Answer::from([(
        asked.clone(),
        Found::Vehicle(Arc::new(vehicle)),
    )]))
}

/// The answer to a single call (404): Vehicle has no such vehicle, if it says so by the code of its
/// problem document. A proxy's page, an empty answer or a missing route is not Vehicle speaking.
pub(super) fn single_not_found(asked: &RegistrationNumber, body: &[u8]) -> Result<Answer, Failure> {
    #[derive(Deserialize)]
    struct Coded {
        code: String,
    }
    if object::<Coded>(body)?.code == "vehicle_not_found" {
        Ok(Answer::from([(asked.clone(), Found::Nothing)]))
    } else {
        Err(VIOLATION)
    }
}

/// The answer to a batch call (200). A number that was not asked for, or one that is in two
/// places, shows that the answer is for another question: all of it is a violation. A number that
/// is not answered, that Vehicle calls invalid, or whose vehicle is not plausible is a violation
/// of its own; where all are, the answer is.
pub(super) fn batch(asked: &[RegistrationNumber], body: &[u8]) -> Result<Answer, Failure> {
    let batch: BatchAnswer = object(body)?;
    let expected: HashSet<_> = asked.iter().collect();
    let vehicles = batch
        .vehicles
        .into_iter()
        .map(|it| (Some(it.registration_number.clone()), plausible(it)));
    let missing = batch
        .not_found
        .into_iter()
        .map(|number| (Some(number), Found::Nothing));
    let invalid = batch.invalid.into_iter().map(|entry| {
        let number = entry.registration_number.and_then(|text| text.parse().ok());
        (number, Found::Failure(VIOLATION))
    });
    let mut answer = Answer::with_capacity(asked.len());
    for (number, found) in vehicles.chain(missing).chain(invalid) {
        let number = number.filter(|number| expected.contains(number));
        if answer.insert(number.ok_or(VIOLATION)?, found).is_some() {
            return Err(VIOLATION);
        }
    }
    for number in asked {
        answer
            .entry(number.clone())
            .or_insert(Found::Failure(VIOLATION));
    }
    if answer.values().all(|found| found.failure().is_some()) {
        return Err(VIOLATION);
    }
    Ok(answer)
}

fn plausible(vehicle: Vehicle) -> Found {
    if vehicle.is_plausible() {
        Found::Vehicle(Arc::new(vehicle))
    } else {
        Found::Failure(VIOLATION)
    }
}

/// A JSON object; serde alone would take a list for one, member by member.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(VIOLATION);
    }
    serde_json::from_slice(body).map_err(|_| VIOLATION)
}

#[cfg(test)]
mod tests {
    use contracts::RegistrationNumber;

    use super::{VIOLATION, batch, single, single_not_found};
    use crate::Found;

    const VOLVO: &str =
        r#"{"registrationNumber":"ABC123","make":"Volvo","model":"XC60","modelYear":2021}"#;
    const FORD: &str =
        r#"{"registrationNumber":"GHI789","make":"Ford","model":"F-150","modelYear":2020}"#;

    fn number(text: &str) -> RegistrationNumber {
        text.parse().unwrap()
    }

    fn batch_of(vehicles: &[&str], not_found: &str) -> String {
        let vehicles = vehicles.join(",");
        format!(r#"{{"vehicles":[{vehicles}],"notFound":[{not_found}],"invalid":[]}}"#)
    }

    #[test]
    fn a_single_answer_is_used_only_for_the_number_asked_for() {
        assert!(single(&number("ABC123"), VOLVO.as_bytes()).is_ok());
        assert_eq!(single(&number("ABC123"), FORD.as_bytes()), Err(VIOLATION));
    }

    #[test]
    fn a_single_answer_that_is_no_vehicle_is_a_violation() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "5",
            "<html>",
            &VOLVO[..40],
            r#"["ABC123","Volvo","XC60",2021]"#,
            &format!("[{VOLVO}]"),
        ] {
            assert_eq!(
                single(&number("ABC123"), body.as_bytes()),
                Err(VIOLATION),
                "{body}"
            );
        }
        let doubled = VOLVO.replace("\"make\"", "\"make\":\"x\",\"make\"");
        assert_eq!(
            single(&number("ABC123"), doubled.as_bytes()),
            Err(VIOLATION)
        );
        let year = VOLVO.replace("2021", "\"2021\"");
        assert_eq!(single(&number("ABC123"), year.as_bytes()), Err(VIOLATION));
    }

    #[test]
    fn a_vehicle_that_cannot_be_is_a_violation_of_its_own() {
        let asked = [number("ABC123"), number("GHI789")];
        let long = "x".repeat(101);
        for (from, to) in [
            ("Volvo", &*long),
            ("XC60", &long),
            ("Volvo", "Vol\\nvo"),
            ("XC60", "XC\\u009f60"),
            ("2021", "1884"),
            ("2021", "2101"),
        ] {
            let volvo = VOLVO.replace(from, to);
            assert_eq!(single(&asked[0], volvo.as_bytes()), Err(VIOLATION), "{to}");
            let answer = batch(&asked, batch_of(&[&volvo, FORD], "").as_bytes()).unwrap();
            assert_eq!(answer[&asked[0]], Found::Failure(VIOLATION), "{to}");
            assert!(matches!(answer[&asked[1]], Found::Vehicle(_)));
        }
        let longest = VOLVO.replace("Volvo", &"é".repeat(100));
        assert!(single(&asked[0], longest.as_bytes()).is_ok());
    }

    #[test]
    fn a_missing_route_is_no_missing_vehicle() {
        let asked = number("ABC123");
        let of = |body: &str| single_not_found(&asked, body.as_bytes());
        assert_eq!(
            of(r#"{"code":"vehicle_not_found"}"#).unwrap()[&asked],
            Found::Nothing
        );
        for body in [
            r#"{"code":"route_not_found"}"#,
            r#"{"title":"Not Found"}"#,
            r#"["vehicle_not_found"]"#,
            "",
            "<html>",
            "null",
            "{",
        ] {
            assert_eq!(of(body), Err(VIOLATION), "{body}");
        }
    }

    #[test]
    fn a_batch_answers_every_number_asked_for() {
        let asked = [number("ABC123"), number("ZZZ999"), number("GHI789")];
        let body = batch_of(&[VOLVO], "\"ZZZ999\"");
        let answer = batch(&asked, body.as_bytes()).unwrap();
        assert!(
            matches!(&answer[&asked[0]], Found::Vehicle(vehicle) if vehicle.make.as_deref() == Some("Volvo"))
        );
        assert_eq!(answer[&asked[1]], Found::Nothing);
        assert_eq!(answer[&asked[2]], Found::Failure(VIOLATION));
        assert_eq!(answer.len(), 3);
    }

    #[test]
    fn a_number_that_vehicle_calls_invalid_is_a_violation_of_its_own() {
        let asked = [number("ABC123"), number("GHI789")];
        let invalid = r#"{"registrationNumber":"GHI789","reason":"…"}"#;
        let body = batch_of(&[VOLVO], "").replace("[]}", &format!("[{invalid}]}}"));
        let answer = batch(&asked, body.as_bytes()).unwrap();
        assert!(matches!(answer[&asked[0]], Found::Vehicle(_)));
        assert_eq!(answer[&asked[1]], Found::Failure(VIOLATION));
    }

    #[test]
    fn a_batch_with_a_foreign_or_doubled_number_is_a_violation() {
        let asked = [number("ABC123")];
        for body in [
            batch_of(&[VOLVO, FORD], ""),
            batch_of(&[VOLVO, VOLVO], ""),
            batch_of(&[VOLVO], "\"ABC123\""),
            batch_of(&[VOLVO], "\"ZZZ999\""),
            batch_of(&[VOLVO], "")
                .replace("[]}", r#"[{"registrationNumber":"ABC123","reason":"…"}]}"#),
            batch_of(&[VOLVO], "").replace("[]}", r#"[{"registrationNumber":null,"reason":"…"}]}"#),
            batch_of(&["null"], ""),
            "{\"vehicles\":[]}".to_owned(),
            format!("[[{VOLVO}],[],[]]"),
        ] {
            assert_eq!(batch(&asked, body.as_bytes()), Err(VIOLATION), "{body}");
        }
    }

    #[test]
    fn a_batch_answer_that_says_nothing_of_any_number_is_a_violation() {
        let asked = [number("ABC123"), number("DEF456")];
        let empty = batch_of(&[], "");
        assert_eq!(batch(&asked, empty.as_bytes()), Err(VIOLATION));
    }
}
