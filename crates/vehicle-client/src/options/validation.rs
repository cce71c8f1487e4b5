//! Rules that are more than a bound, about one setting and about several.

use std::time::Duration;

use http::HeaderValue;
use settings::{Secret, Shown, Violations};
use url::Url;

use super::Options;

/// Fewest bytes of a vehicle in a batch answer: the shortest number, and null for the rest.
const SMALLEST_VEHICLE: usize =
    r#"{"registrationNumber":"AB","make":null,"model":null,"modelYear":null}"#.len();

pub(super) fn plain_url(url: &Url, at: &str, violations: &mut Violations) {
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        let rule = "is no http or https URL without user, query and fragment";
        violations.report(at, rule);
    }
}

pub(super) fn usable_key(key: &Secret, at: &str, violations: &mut Violations) {
    if key.is_placeholder() {
        violations.secret(at, key);
    }
    if HeaderValue::from_str(key.expose()).is_err() {
        violations.report(at, "holds characters that no header can");
    }
}

/// Reports settings that are good by themselves and make no sense together, each with the
/// figure that it comes to and the bound that this breaks.
pub(super) fn contradictions(options: &Options, at: &str, violations: &mut Violations) {
    let attempt = options.attempt_timeout;
    if options.api_key.is_empty() && !options.token.is_on() {
        violations.secret(&format!("{at}.api_key"), &options.api_key);
    }
    let mut report = |key: &str, rule: String| violations.report(&format!("{at}.{key}"), rule);
    if options.connect_timeout > attempt {
        let (connect, attempt) = (Shown(options.connect_timeout), Shown(attempt));
        let rule = format!("{connect} is over {at}.attempt_timeout = {attempt}");
        report("connect_timeout", rule);
    }
    let (size, answer) = (options.max_batch_size, options.max_answer_bytes);
    let smallest = size.saturating_mul(SMALLEST_VEHICLE);
    if smallest > answer {
        let rule = format!(
            "{size} vehicles take {smallest} bytes or more, over {at}.max_answer_bytes = \
             {answer}"
        );
        report("max_batch_size", rule);
    }
    let (minimum, most) = (
        options.breaker.minimum_calls,
        most_slow_calls_in_window(options),
    );
    if minimum > most {
        let rule = format!(
            "{minimum} slow calls are never seen: at most {most} of {} fit in \
             {at}.breaker.window = {}",
            Shown(options.slow_after()),
            Shown(options.breaker.window)
        );
        report("breaker.minimum_calls", rule);
    }
}

/// The slow calls that the breaker can see at once, by the strategy that has more places: each is
/// held for as long as makes it slow.
fn most_slow_calls_in_window(options: &Options) -> u64 {
    let (window, slow) = (options.breaker.window, options.slow_after());
    let places = options
        .max_degree_of_parallelism_single
        .max(options.max_degree_of_parallelism_batch);
    let each = window.as_nanos() / slow.max(Duration::from_nanos(1)).as_nanos() + 1;
    u64::try_from(each.saturating_mul(places as u128)).unwrap_or(u64::MAX)
}

impl Options {
    /// Reports calls that do not fit into the time for all lookups of one request.
    pub fn check_within(&self, deadline: Duration, at: &str, violations: &mut Violations) {
        let within = format!("over enrichment.deadline = {}", Shown(deadline));
        // Not their pauses: a retry that has no time left is not made.
        let attempts = self.longest_attempts();
        if attempts > deadline {
            let attempts = Shown(attempts);
            let rule = format!("all attempts take up to {attempts}, {within}");
            violations.report(&format!("{at}.attempt_timeout"), rule);
        }
        let (wait, attempt) = (self.queue_wait, self.attempt_timeout);
        let queued = wait.saturating_add(attempt);
        if queued > deadline {
            let (wait, attempt, queued) = (Shown(wait), Shown(attempt), Shown(queued));
            let rule = format!("{wait} + {at}.attempt_timeout {attempt} = {queued}, {within}");
            violations.report(&format!("{at}.queue_wait"), rule);
        }
    }
}
