//! Holds the events of Vehicle's feed to their contract.

use contracts::{RegistrationNumber, Vehicle, VersionedVehicle};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

/// What an event says: the whole state of one vehicle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VehicleEvent {
    /// Its id.
    pub id: Uuid,
    /// Its place in the log.
    pub position: i64,
    /// Which vehicle.
    pub registration_number: RegistrationNumber,
    /// Of two states of a vehicle the one with the higher version counts.
    pub version: i64,
    /// The vehicle; `None` where it is gone.
    pub vehicle: Option<Vehicle>,
}

/// Why an event says nothing. Never carries what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct EventFault {
    /// What is wrong.
    pub kind: EventFaultKind,
    /// What exactly.
    pub detail: &'static str,
    /// Which event it is, where its envelope could be read.
    pub id: Option<Uuid>,
}

/// What is wrong with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFaultKind {
    /// It is no event of `CloudEvents`, or has no id or place.
    Unreadable,
    /// It is an event, but not one of those that Vehicle promises.
    Contract,
    /// A later version of a kind that is known. For one release it comes beside the known one, which
    /// tells the same change.
    Later {
        /// The version of the vehicle that it tells.
        version: i64,
    },
}

#[derive(Deserialize)]
struct Envelope {
    specversion: String,
    id: String,
    r#type: String,
    subject: String,
    sequence: String,
    aggregateversion: i64,
    method: Option<String>,
    data: Box<RawValue>,
}

impl VehicleEvent {
    /// Reads an event as it was sent.
    pub fn read(event: &str) -> Result<Self, EventFault> {
        let unreadable = |detail| EventFault {
            kind: EventFaultKind::Unreadable,
            detail,
            id: None,
        };
        let envelope: Envelope =
            object(event).ok_or(unreadable("it is no event of CloudEvents with all members"))?;
        let id = Uuid::parse_str(&envelope.id).map_err(|_| unreadable("its id is no UUID"))?;
        let position = position(&envelope.sequence).ok_or(unreadable("its place is no number"))?;
        Self::checked(&envelope, (id, position)).map_err(|(kind, detail)| EventFault {
            kind,
            detail,
            id: Some(id),
        })
    }

    /// The vehicle that an event is about, as far as that can be read.
    pub fn subject(event: &str) -> Option<RegistrationNumber> {
        let members: Value = serde_json::from_str(event).unwrap_or_default();
        members["subject"].as_str().and_then(vehicle_of)
    }

    fn checked(
        envelope: &Envelope,
        (id, position): (Uuid, i64),
    ) -> Result<Self, (EventFaultKind, &'static str)> {
        let broken = |what| (EventFaultKind::Contract, what);
        if envelope.specversion != "1.0" {
            return Err(broken("it is not of CloudEvents 1.0"));
        }
        let number = vehicle_of(&envelope.subject).ok_or(broken("it is about no vehicle"))?;
        let version = envelope.aggregateversion;
        if version < 1 {
            return Err(broken("its version is below 1"));
        }
        if is_later(&envelope.r#type) {
            let later = EventFaultKind::Later { version };
            return Err((later, "it is of a later version"));
        }
        let gone = envelope.method.as_deref() == Some("DELETE");
        let vehicle = match envelope.r#type.as_str() {
            "vehicle.registered.v1" | "vehicle.changed.v1" if envelope.method.is_none() => {
                let state: VersionedVehicle = object(envelope.data.get())
                    .ok_or(broken("its data is no vehicle with all members"))?;
                if state.version != version || state.vehicle.registration_number != number {
                    return Err(broken("its data is of another vehicle or version"));
                }
                if !state.vehicle.is_plausible() {
                    return Err(broken("its data is of a vehicle that cannot be"));
                }
                Some(state.vehicle)
            }
            "vehicle.deregistered.v1" if gone && envelope.data.get() == "null" => None,
            _ => return Err(broken("its type is not known, or does not fit the rest")),
        };
        Ok(Self {
            id,
            position,
            registration_number: number,
            version,
            vehicle,
        })
    }
}

/// Whether a type is one of those that are known in a version from 2 on.
fn is_later(kind: &str) -> bool {
    let Some((name, version)) = kind.rsplit_once(".v") else {
        return false;
    };
    let known = [
        "vehicle.registered",
        "vehicle.changed",
        "vehicle.deregistered",
    ];
    known.contains(&name) && version.parse::<u32>().is_ok_and(|version| version > 1)
}

/// A place in the log: digits, from 1 on.
fn position(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let position = text.parse().ok().filter(|position| *position >= 1);
    position.filter(|_| digits)
}

/// The vehicle that a subject names in its canonical form.
fn vehicle_of(subject: &str) -> Option<RegistrationNumber> {
    let text = subject.strip_prefix("vehicle/")?;
    let number: RegistrationNumber = text.parse().ok()?;
    (number.as_str() == text).then_some(number)
}

/// A JSON object; serde alone would take a list for one, member by member.
fn object<T: DeserializeOwned>(text: &str) -> Option<T> {
    let object = text.trim_start().starts_with('{');
    object.then(|| serde_json::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{EventFaultKind, VehicleEvent};

    const CHANGED: &str = r#"{"specversion":"1.0","id":"0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11","source":"/local/vehicle","type":"vehicle.changed.v1","subject":"vehicle/ABC123","time":"2026-11-21T10:15:30Z","datacontenttype":"application/json","sequence":"00000000000000000042","partitionkey":"vehicle/ABC123","aggregateversion":7,"correlationid":"none","causationid":null,"traceparent":null,"authtype":"system","authid":"database/x","method":null,"data":{"registrationNumber":"ABC123","make":"Volvo","model":null,"modelYear":2021,"version":7}}"#;

    fn gone() -> String {
        let (head, _) = CHANGED.split_once("\"method\"").unwrap();
        let head = head.replace("changed", "deregistered");
        format!("{head}\"method\":\"DELETE\",\"data\":null}}")
    }

    #[test]
    fn an_event_is_the_whole_state_of_a_vehicle() {
        let changed = VehicleEvent::read(CHANGED).unwrap();
        assert_eq!((changed.position, changed.version), (42, 7));
        assert_eq!(changed.registration_number.as_str(), "ABC123");
        assert_eq!(changed.vehicle.unwrap().make.as_deref(), Some("Volvo"));
        let gone = VehicleEvent::read(&gone()).unwrap();
        assert_eq!((gone.version, gone.vehicle), (7, None));
    }

    #[test]
    fn what_is_no_event_is_unreadable_and_says_what_can_be_read_of_it() {
        for text in [
            "null",
            "5",
            "[]",
            "{}",
            &CHANGED.replace("0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11", "x"),
            &CHANGED.replace("00000000000000000042", "-1"),
            &CHANGED.replace("\"aggregateversion\":7,", ""),
        ] {
            let fault = VehicleEvent::read(text).unwrap_err();
            assert_eq!(
                (fault.kind, fault.id),
                (EventFaultKind::Unreadable, None),
                "{text}"
            );
        }
        let number = VehicleEvent::subject(&CHANGED.replace("0192f3c4", "x"));
        assert_eq!(number.unwrap().as_str(), "ABC123");
        assert_eq!(VehicleEvent::subject("["), None);
    }

    #[test]
    fn an_event_that_vehicle_does_not_promise_breaks_the_contract() {
        let gone = gone();
        for text in [
            CHANGED.replace("\"1.0\"", "\"2.0\""),
            CHANGED.replace("vehicle.changed.v1", "vehicle.inspected.v1"),
            CHANGED.replace("vehicle.changed.v1", "vehicle.inspected.v2"),
            CHANGED.replace("vehicle.changed.v1", "vehicle.changed.v0"),
            CHANGED.replace("vehicle.changed.v1", "vehicle.changed.vx"),
            CHANGED.replace("vehicle/ABC123", "policy/1"),
            CHANGED.replace("vehicle/ABC123", "vehicle/abc 123"),
            CHANGED.replace("vehicle/ABC123", "vehicle/DEF456"),
            CHANGED.replace("\"version\":7", "\"version\":8"),
            CHANGED.replace("\"modelYear\":2021,", ""),
            CHANGED.replace("2021", "1700"),
            CHANGED.replace("\"method\":null", "\"method\":\"DELETE\""),
            CHANGED.replace(":7", ":0"),
            gone.replace("\"DELETE\"", "null"),
            gone.replace("\"data\":null", "\"data\":{}"),
        ] {
            let fault = VehicleEvent::read(&text).unwrap_err();
            assert_eq!(fault.kind, EventFaultKind::Contract, "{text}");
        }
    }
    #[test]
    fn a_later_version_of_a_known_kind_is_no_breach() {
        for kind in ["registered", "changed", "deregistered"] {
            let text = CHANGED.replace("changed.v1", &format!("{kind}.v12"));
            let fault = VehicleEvent::read(&text).unwrap_err();
            let later = EventFaultKind::Later { version: 7 };
            assert_eq!(fault.kind, later, "{text}");
            assert!(fault.id.is_some());
        }
    }
}
