//! What the options allow at worst, as sums over them: nothing here looks at a clock, a socket or a
//! random number. What no setting names, the code that does it says.

use std::time::Duration;

use settings::{Figure, Shown};

use crate::{
    CacheOptions, Options,
    guard::{JITTER, longest_call},
    wire::LONGEST_RETRY_AFTER,
};

/// The example of a request with many lookups.
const CARS: u64 = 8;
/// The rate for which retries are told as a share: at a higher one it is lower.
const CALLS_PER_SECOND: f64 = 10.0;

impl Options {
    /// Every figure, where all lookups of one request take this long at most.
    pub fn worst_case(&self, deadline: Duration, batch: bool) -> Vec<Figure> {
        let parts: [&[Figure]; 5] = [
            &[self.longest_lookup(deadline)],
            &self.calls(),
            &self.load(),
            &self.breaker(batch),
            &self.cache.worst_case(deadline),
        ];
        parts.concat()
    }

    fn longest_lookup(&self, deadline: Duration) -> Figure {
        let attempts = 1 + self.max_retries;
        let (call, pauses) = longest_call(self);
        let token = if self.token.is_on() {
            format!("token {} + ", Shown(self.longest_wait_for_token()))
        } else {
            String::new()
        };
        let because = format_args!(
            "{attempts} x ({token}queue_wait {} + attempt_timeout {}) + pauses {} of \
             vehicle_client, or enrichment.deadline {} if that is less or Vehicle names a \
             Retry-After",
            Shown(self.queue_wait),
            Shown(self.attempt_timeout),
            Shown(pauses),
            Shown(deadline)
        );
        Figure::duration("longest_lookup", call.min(deadline), because)
    }

    fn calls(&self) -> [Figure; 5] {
        let (retries, size) = (self.max_retries, self.max_batch_size as u64);
        let attempts = 1 + u64::from(retries);
        let batches = CARS.div_ceil(size.max(1));
        [
            Figure::count(
                "calls_per_lookup",
                attempts,
                format_args!("1 + vehicle_client.max_retries {retries}"),
            ),
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
            self.retry_amplification(),
            self.most_retries_at_once(),
        ]
    }

    /// Calls that are made for each that is wanted, in the long run: what the budget earns.
    fn retry_amplification(&self) -> Figure {
        let budget = &self.retry_budget;
        let (call, second) = (budget.retries_per_good_call, budget.retries_per_second);
        let earned = call + second / CALLS_PER_SECOND;
        let because = format_args!(
            "1 + retry_budget.retries_per_good_call {call} + {second} a second / {CALLS_PER_SECOND} \
             calls a second or more, in the long run; at most calls_per_lookup"
        );
        let ratio = 1.0 + earned.min(f64::from(self.max_retries));
        Figure::ratio("retry_amplification", ratio, because)
    }

    fn most_retries_at_once(&self) -> Figure {
        let name = "most_retries_at_once";
        if self.max_retries == 0 {
            return Figure::count(name, 0, "vehicle_client.max_retries 0");
        }
        let saved = self.retry_budget.max_saved;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small constant"
        )]
        let whole = saved as u64;
        let because = format_args!("at most {saved} are saved up");
        Figure::count(name, whole, because)
    }

    fn most_in_flight(&self) -> u64 {
        let single = self.max_degree_of_parallelism_single as u64;
        single.saturating_add(self.max_degree_of_parallelism_batch as u64)
    }

    fn load(&self) -> [Figure; 5] {
        let in_flight = self.most_in_flight();
        let minimum = self.breaker.minimum_calls;
        let (queue, answer) = (self.queue_length as u64, self.max_answer_bytes as u64);
        [
            Figure::count(
                "most_calls_in_flight",
                in_flight,
                format_args!(
                    "vehicle_client.max_degree_of_parallelism_single {} + \
                     vehicle_client.max_degree_of_parallelism_batch {}",
                    self.max_degree_of_parallelism_single, self.max_degree_of_parallelism_batch
                ),
            ),
            // Of a Vehicle that answers none in time, until the breaker opens.
            Figure::count(
                "most_calls_at_work_when_silent",
                minimum.saturating_sub(1).saturating_add(in_flight),
                format_args!(
                    "vehicle_client.breaker.minimum_calls {minimum} - 1 + most_calls_in_flight \
                     {in_flight}, then one more for each time that the breaker was open; for a \
                     Vehicle that answers nothing in time and works on"
                ),
            ),
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

    /// Calls at work in a Vehicle that does not notice that we gave up, works for this long on each
    /// call and answers enough of them in time for the breaker to stay closed.
    pub fn at_work_when_slow(&self, work: Duration) -> Figure {
        let (limit, in_flight) = (self.attempt_timeout, self.most_in_flight());
        let rounds = work.as_nanos().div_ceil(limit.as_nanos().max(1));
        let rounds = u64::try_from(rounds).unwrap_or(u64::MAX).saturating_add(1);
        Figure::count(
            "most_calls_at_work_when_slow",
            in_flight.saturating_mul(rounds),
            format_args!(
                "most_calls_in_flight {in_flight} x (1 + --work {} / \
                 vehicle_client.attempt_timeout {}, rounded up); for a Vehicle that answers some \
                 calls in time and works on at the others",
                Shown(work),
                Shown(limit)
            ),
        )
    }

    /// From when Vehicle stops answering while calls take every place that becomes free.
    fn breaker(&self, batch: bool) -> [Figure; 2] {
        let (places, name) = if batch {
            (self.max_degree_of_parallelism_batch, "batch")
        } else {
            (self.max_degree_of_parallelism_single, "single")
        };
        let minimum = self.breaker.minimum_calls;
        let rounds = minimum.div_ceil(places.max(1) as u64);
        let because = format_args!(
            "breaker.minimum_calls {minimum} / max_degree_of_parallelism_{name} {places}, rounded \
             up = {rounds}, x attempt_timeout {} of vehicle_client, while calls take every free \
             place",
            Shown(self.attempt_timeout)
        );
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        let time = self.attempt_timeout.saturating_mul(rounds);
        [
            Figure::duration("breaker_opens_after", time, because),
            self.longest_open(),
        ]
    }

    fn longest_open(&self) -> Figure {
        let longest = self.breaker.longest_open();
        let because = format_args!(
            "{}, where the doubling of vehicle_client.breaker.open_for {} ends, + {JITTER} of it",
            Shown(longest),
            Shown(self.breaker.open_for)
        );
        let spread = longest.mul_f64(1.0 + JITTER);
        Figure::duration("longest_breaker_open", spread, because)
    }
}

impl CacheOptions {
    /// How old what callers are told can be, and what keeping it takes.
    fn worst_case(&self, deadline: Duration) -> [Figure; 4] {
        let spread = |time: Duration| time.mul_f64(1.0 + self.jitter);
        let age = |name, age, because: String| {
            if self.enabled {
                Figure::duration(name, age, because)
            } else {
                Figure::duration(name, Duration::ZERO, "vehicle_client.cache.enabled false")
            }
        };
        let (soft, hard, jitter) = (self.soft_stale, self.hard_stale, self.jitter);
        [
            age(
                "oldest_enriched_answer",
                spread(self.fresh).max(soft),
                format!(
                    "vehicle_client.cache.soft_stale {}, or fresh {} + {jitter} of it",
                    Shown(soft),
                    Shown(self.fresh),
                ),
            ),
            age(
                "oldest_stale_answer",
                hard.saturating_add(deadline),
                format!(
                    "vehicle_client.cache.hard_stale {} + enrichment.deadline {}",
                    Shown(hard),
                    Shown(deadline)
                ),
            ),
            age(
                "oldest_not_found_answer",
                spread(self.negative),
                format!(
                    "vehicle_client.cache.negative {} + {jitter} of it",
                    Shown(self.negative),
                ),
            ),
            if self.enabled {
                let because = format_args!("vehicle_client.cache.max_bytes {}", self.max_bytes);
                Figure::bytes("cache_memory", self.max_bytes, because)
            } else {
                Figure::bytes("cache_memory", 0, "vehicle_client.cache.enabled false")
            },
        ]
    }
}
