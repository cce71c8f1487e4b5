use std::time::Duration;

use service_defaults::worst_case::{Figure, Shown};

use crate::{InsuranceSettings, settings::VehicleClientSettings};

/// The example of a person who has many.
const CARS: u64 = 8;
/// The rate for which retries are told as a share: at a higher one it is lower.
const CALLS_PER_SECOND: f64 = 10.0;
/// The longest `Retry-After` that is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

pub(super) fn figures(settings: &InsuranceSettings) -> Vec<Figure> {
    let client = &settings.vehicle_client;
    let in_flight = most_in_flight(client);
    let (queue, answer) = (client.queue_length as u64, client.max_answer_bytes as u64);
    let [single, batch] = per_request(client);
    vec![
        Figure::count(
            "calls_per_lookup",
            per_lookup(client),
            format_args!("1 + vehicle_client.max_retries {}", client.max_retries),
        ),
        per_request_now(settings, &single, &batch),
        single,
        batch,
        retry_amplification(client),
        most_retries_at_once(client),
        Figure::count(
            "most_calls_in_flight",
            in_flight,
            format_args!(
                "vehicle_client.max_degree_of_parallelism_single {} + \
                 vehicle_client.max_degree_of_parallelism_batch {}",
                client.max_degree_of_parallelism_single, client.max_degree_of_parallelism_batch
            ),
        ),
        at_work_when_silent(client),
        Figure::count(
            "longest_queue",
            queue.saturating_mul(2),
            format_args!(
                "vehicle_client.queue_length {queue} for single and as many for batch calls"
            ),
        ),
        Figure::bytes(
            "answer_memory",
            in_flight.saturating_mul(answer),
            format_args!(
                "most_calls_in_flight {in_flight} x vehicle_client.max_answer_bytes {answer}"
            ),
        ),
        Figure::duration(
            "longest_retry_after",
            LONGEST_RETRY_AFTER,
            "what Vehicle asks for beyond this is cut",
        ),
    ]
}

fn per_lookup(client: &VehicleClientSettings) -> u64 {
    1 + u64::from(client.max_retries)
}

fn most_in_flight(client: &VehicleClientSettings) -> u64 {
    let (single, batch) = (
        client.max_degree_of_parallelism_single as u64,
        client.max_degree_of_parallelism_batch as u64,
    );
    single.saturating_add(batch)
}

/// Calls at work in a Vehicle that does not notice that we gave up and answers none in time, until
/// the breaker opens.
fn at_work_when_silent(client: &VehicleClientSettings) -> Figure {
    let (minimum, in_flight) = (client.breaker.minimum_calls, most_in_flight(client));
    Figure::count(
        "most_calls_at_work_when_silent",
        minimum.saturating_sub(1).saturating_add(in_flight),
        format_args!(
            "vehicle_client.breaker.minimum_calls {minimum} - 1 + most_calls_in_flight \
             {in_flight}, then one more for each time that the breaker was open; for a Vehicle \
             that answers nothing in time and works on"
        ),
    )
}

/// Calls at work in a Vehicle that does not notice that we gave up, works for this long on each
/// call and answers enough of them in time for the breaker to stay closed.
pub(crate) fn at_work_when_slow(client: &VehicleClientSettings, work: Duration) -> Figure {
    let (limit, in_flight) = (client.attempt_timeout, most_in_flight(client));
    let rounds = work.as_nanos().div_ceil(limit.as_nanos().max(1));
    let rounds = u64::try_from(rounds).unwrap_or(u64::MAX).saturating_add(1);
    Figure::count(
        "most_calls_at_work_when_slow",
        in_flight.saturating_mul(rounds),
        format_args!(
            "most_calls_in_flight {in_flight} x (1 + --work {} / vehicle_client.attempt_timeout \
             {}, rounded up); for a Vehicle that answers some calls in time and works on at the \
             others",
            Shown(work),
            Shown(limit)
        ),
    )
}

/// The calls that one request makes by itself, with single and with batch calls.
fn per_request(client: &VehicleClientSettings) -> [Figure; 2] {
    let (attempts, size) = (per_lookup(client), client.max_batch_size as u64);
    let batches = CARS.div_ceil(size.max(1));
    [
        Figure::count(
            "calls_for_8_cars_single",
            CARS.saturating_mul(attempts),
            format_args!("{CARS} cars x calls_per_lookup {attempts}"),
        ),
        Figure::count(
            "calls_for_8_cars_batch",
            batches.saturating_mul(attempts),
            format_args!(
                "{CARS} cars / vehicle_client.max_batch_size {size}, rounded up = {batches}, \
                 x calls_per_lookup {attempts}"
            ),
        ),
    ]
}

/// With the toggles as they are.
fn per_request_now(settings: &InsuranceSettings, single: &Figure, batch: &Figure) -> Figure {
    let toggles = settings.feature_toggles;
    if !toggles.enable_vehicle_enrichment {
        let because = "feature_toggles.enable_vehicle_enrichment false";
        return Figure::count("calls_for_8_cars", 0, because);
    }
    let one = if toggles.enable_batch_vehicle_call {
        batch
    } else {
        single
    };
    Figure {
        name: "calls_for_8_cars",
        quantity: one.quantity,
        because: format!(
            "{}, as feature_toggles.enable_batch_vehicle_call is {}",
            one.name, toggles.enable_batch_vehicle_call
        ),
    }
}

/// Calls that are made for each that is wanted, in the long run: what the budget earns.
fn retry_amplification(client: &VehicleClientSettings) -> Figure {
    let budget = &client.retry_budget;
    let (call, second) = (budget.retries_per_good_call, budget.retries_per_second);
    let earned = call + second / CALLS_PER_SECOND;
    let because = format_args!(
        "1 + retry_budget.retries_per_good_call {call} + retries_per_second {second} / \
         {CALLS_PER_SECOND} calls a second or more, in the long run; at most calls_per_lookup"
    );
    let ratio = 1.0 + earned.min(f64::from(client.max_retries));
    Figure::ratio("retry_amplification", ratio, because)
}

fn most_retries_at_once(client: &VehicleClientSettings) -> Figure {
    let saved = client.retry_budget.max_saved;
    let because = if client.max_retries == 0 {
        "vehicle_client.max_retries 0".to_owned()
    } else {
        format!("vehicle_client.retry_budget.max_saved {saved}, rounded down")
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be 1 to 10000"
    )]
    let whole = if client.max_retries == 0 {
        0
    } else {
        saved as u64
    };
    Figure::count("most_retries_at_once", whole, because)
}
