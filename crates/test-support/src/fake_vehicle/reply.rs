use std::{sync::Arc, time::Duration};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::Request;

/// What the fake does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with this status, these more headers and this body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Answers like this, but only after a time.
    After(Duration, Box<Reply>),
    /// Works on it for a time, also when its caller has hung up, and then answers like this.
    WorkedOn(Duration, Box<Reply>),
    /// Answers like this, but only when the gate lets it.
    Held(Gate, Box<Reply>),
    /// Answers 200 with this body, a byte at a time with a pause before each.
    Dribble(Duration, String),
    /// Writes these bytes and closes the connection.
    Raw(Vec<u8>),
    /// Begins an answer of 200 and writes its body without end.
    Endless,
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
}

/// Holds answers back until a test lets them go. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A gate that holds every answer.
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets every answer go from now on.
    pub fn open(&self) {
        self.0.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    pub(super) async fn passed(&self) {
        self.0.acquire().await.unwrap().forget();
    }
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer(
            status,
            vec![("content-type", "application/json".into())],
            body.to_string(),
        )
    }

    /// An answer with this status and nothing to it.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), String::new())
    }

    /// An answer with this status and one more header.
    pub fn with_header(status: u16, name: &'static str, value: &str) -> Self {
        Self::Answer(status, vec![(name, value.to_owned())], String::new())
    }

    /// The same answer, after a time.
    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        Self::After(pause, Box::new(self))
    }

    /// The same answer, after work of so long that goes on when the caller has hung up.
    #[must_use]
    pub fn worked_on(self, time: Duration) -> Self {
        Self::WorkedOn(time, Box::new(self))
    }

    /// The same answer, once the gate is open.
    #[must_use]
    pub fn held(self, gate: &Gate) -> Self {
        Self::Held(gate.clone(), Box::new(self))
    }

    /// What a Vehicle in good health says: every number is a Volvo, but those that begin with `Z`
    /// are not found.
    pub fn healthy(request: &Request) -> Self {
        if request.method == "POST" {
            let (not_found, found): (Vec<_>, Vec<_>) = request
                .numbers()
                .into_iter()
                .partition(|number| number.starts_with('Z'));
            let vehicles: Vec<_> = found.iter().map(|number| Self::vehicle(number)).collect();
            let body = json!({ "vehicles": vehicles, "notFound": not_found, "invalid": [] });
            return Self::json(200, &body);
        }
        let number = request.path.rsplit('/').next().unwrap();
        let number = &*percent_decode_str(number).decode_utf8().unwrap();
        if number.starts_with('Z') {
            return Self::json(404, &json!({ "code": "vehicle_not_found" }));
        }
        Self::json(200, &Self::vehicle(number))
    }

    /// The Volvo that a Vehicle in good health has under this number.
    pub fn vehicle(number: &str) -> Value {
        json!({ "registrationNumber": number, "make": "Volvo", "model": "XC60", "modelYear": 2021 })
    }
}
