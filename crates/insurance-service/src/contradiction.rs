//! Settings that are good by themselves and make no sense together. Each is refused with the
//! setting, the figure that it comes to and the bound that this breaks.

use service_defaults::{
    settings::{CommonSettings, Violations},
    worst_case::Shown,
};

use crate::{
    InsuranceSettings,
    settings::VehicleClientSettings,
    worst_case::{longest_answer, longest_attempts, most_slow_calls_in_window},
};

/// Fewest bytes of a vehicle in a batch answer: the shortest number, and null for the rest.
const SMALLEST_VEHICLE: usize =
    r#"{"registrationNumber":"AB","make":null,"model":null,"modelYear":null}"#.len();
/// Gathering saves calls, but its time is taken from the calls: one part in this many at most.
const GATHERING_PARTS: u32 = 10;

/// Reports them all.
pub(crate) fn check(
    settings: &InsuranceSettings,
    common: &CommonSettings,
    violations: &mut Violations,
) {
    let request_deadline = common.server.request_deadline;
    settings.database.check_within(request_deadline, violations);
    let longest = longest_answer(settings);
    if longest > request_deadline {
        let rule = format_args!(
            "{} + {} for the database ({}) = {}, over server.request_deadline = {}",
            Shown(settings.enrichment.deadline),
            Shown(settings.database.longest_query()),
            settings.database.longest_query_because(),
            Shown(longest),
            Shown(request_deadline)
        );
        violations.report("enrichment.deadline", rule);
    }
    within_the_deadline(settings, violations);
    one_call(&settings.vehicle_client, violations);
    breaker_and_budget(&settings.vehicle_client, violations);
}

fn within_the_deadline(settings: &InsuranceSettings, violations: &mut Violations) {
    let (client, deadline) = (&settings.vehicle_client, settings.enrichment.deadline);
    let attempts = longest_attempts(client);
    if attempts > deadline {
        let rule = format_args!(
            "all attempts with their pauses take up to {}, over enrichment.deadline = {}",
            Shown(attempts),
            Shown(deadline)
        );
        violations.report("vehicle_client.attempt_timeout", rule);
    }
    let queued = client.queue_wait.saturating_add(client.attempt_timeout);
    if queued > deadline {
        let rule = format_args!(
            "{} + vehicle_client.attempt_timeout {} = {}, over enrichment.deadline = {}",
            Shown(client.queue_wait),
            Shown(client.attempt_timeout),
            Shown(queued),
            Shown(deadline)
        );
        violations.report("vehicle_client.queue_wait", rule);
    }
    let most = deadline / GATHERING_PARTS;
    if client.gather_for > most {
        let rule = format_args!(
            "{} is over {}, one part in {GATHERING_PARTS} of enrichment.deadline = {}",
            Shown(client.gather_for),
            Shown(most),
            Shown(deadline)
        );
        violations.report("vehicle_client.gather_for", rule);
    }
}

fn one_call(client: &VehicleClientSettings, violations: &mut Violations) {
    let attempt = client.attempt_timeout;
    if client.connect_timeout > attempt {
        let rule = format_args!(
            "{} is over vehicle_client.attempt_timeout = {}",
            Shown(client.connect_timeout),
            Shown(attempt)
        );
        violations.report("vehicle_client.connect_timeout", rule);
    }
    if client.breaker.slow_after >= attempt {
        let rule = format_args!(
            "{} is never reached within vehicle_client.attempt_timeout = {}",
            Shown(client.breaker.slow_after),
            Shown(attempt)
        );
        violations.report("vehicle_client.breaker.slow_after", rule);
    }
    let (size, answer) = (client.max_batch_size, client.max_answer_bytes);
    let smallest = size.saturating_mul(SMALLEST_VEHICLE);
    if smallest > answer {
        let rule = format_args!(
            "{size} vehicles take {smallest} bytes or more, over \
             vehicle_client.max_answer_bytes = {answer}"
        );
        violations.report("vehicle_client.max_batch_size", rule);
    }
}

fn breaker_and_budget(client: &VehicleClientSettings, violations: &mut Violations) {
    let (minimum, most) = (
        client.breaker.minimum_calls,
        most_slow_calls_in_window(client),
    );
    if minimum > most {
        let rule = format_args!(
            "{minimum} slow calls are never seen: at most {most} of {} fit in \
             vehicle_client.breaker.window = {}",
            Shown(client.breaker.slow_after),
            Shown(client.breaker.window)
        );
        violations.report("vehicle_client.breaker.minimum_calls", rule);
    }
    let (budget, retries) = (&client.retry_budget, client.max_retries);
    let earned = budget.retries_per_good_call + budget.retries_per_second;
    if retries > 0 && earned <= 0.0 {
        let rule = format_args!(
            "{retries} is never made: vehicle_client.retry_budget earns 0 by good calls and 0 a second"
        );
        violations.report("vehicle_client.max_retries", rule);
    }
    let cache = &client.cache;
    if cache.negative > cache.fresh {
        let rule = format_args!(
            "{} is over vehicle_client.cache.fresh = {}",
            Shown(cache.negative),
            Shown(cache.fresh)
        );
        violations.report("vehicle_client.cache.negative", rule);
    }
}
