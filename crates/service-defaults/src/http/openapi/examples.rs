//! Examples: requests that were made and answers that were given to them.
//!
//! Each service keeps a file of them, which a test writes by calling the service. Their names are
//! `<operation>.<status>.<name>` for an answer and `<operation>.request.<name>` for a body; instead
//! of an operation, `head` stands for all, `edge` for all that ask for a key and `body` for all that
//! take a body.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{PROBLEMS, described};
use serde_json::Value;
use utoipa::openapi::{OpenApi, RefOr, Schema, content::Content, example::Example};

/// A document with these examples, which the edge gives to the operations that they are of.
pub fn with_examples(mut document: OpenApi, recorded: &str) -> OpenApi {
    // A test holds every example to the answer, so that a file which cannot be read is seen.
    let examples = serde_json::from_str(recorded).unwrap_or_default();
    document.components.get_or_insert_default().examples = examples;
    document
}

pub(super) struct Examples(pub(super) BTreeMap<String, RefOr<Example>>);

impl Examples {
    pub(super) fn has(&self, source: &str, status: &str) -> bool {
        self.named(&format!("{source}.{status}")).next().is_some()
    }

    /// Adds those of this operation and status to a body, which has one media type.
    pub(super) fn add<'a>(
        &self,
        content: impl IntoIterator<Item = (&'a String, &'a mut RefOr<Content>)>,
        source: &str,
    ) {
        let Some((_, RefOr::T(content))) = content.into_iter().next() else {
            return;
        };
        for (name, full) in self.named(source) {
            let shared = RefOr::Ref(super::shared("examples", full));
            content.examples.insert(name.to_owned(), shared);
        }
    }

    fn named(&self, source: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{source}.");
        self.0.keys().filter_map(move |full| {
            let name = full.strip_prefix(&prefix)?;
            Some((name, full.as_str()))
        })
    }

    /// The schema of `code`: those of the examples, with what each means.
    pub(super) fn problem_codes(&self) -> RefOr<Schema> {
        let mut codes = BTreeSet::new();
        for example in self.0.values() {
            let RefOr::T(Example {
                value: Some(body), ..
            }) = example
            else {
                continue;
            };
            let problem = |body: &Value| Some(body.get("code")?.as_str()?.to_owned());
            codes.extend(problem(body));
            let rules = body.get("errors").and_then(Value::as_array);
            codes.extend(rules.into_iter().flatten().filter_map(problem));
        }
        let known = PROBLEMS.iter().filter(|(code, _)| codes.contains(*code));
        described(
            "The stable name of a kind of problem, for programs.",
            &known.copied().collect::<Vec<_>>(),
        )
    }
}
