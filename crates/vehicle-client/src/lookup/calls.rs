//! The calls that are made for numbers: begun, shared and waited for.

use std::{pin::pin, sync::Arc};

use contracts::RegistrationNumber;
use tokio::time::Instant;

use super::{Lookups, cache::Cache, making::Making, single_flight::Joined};
use crate::{Call, CallContext, Found, Strategy, answer::CallResult, call::Origin, group::Waiter};

impl Lookups {
    /// Waits for the calls that carry these numbers, and begins those that there are not yet, which
    /// belong to nobody who waits: they may all go away.
    pub(super) fn join<'a>(
        &self,
        numbers: impl IntoIterator<Item = &'a RegistrationNumber>,
        strategy: Strategy,
        deadline: Instant,
        context: &CallContext,
    ) -> Vec<(Joined, Option<Making>)> {
        let joined = self.0.single_flight.join(numbers, strategy, deadline);
        let making = |mut joined: Joined| {
            let making = joined.begun.take().map(|ending| {
                let call = Arc::new(Call {
                    strategy,
                    group: ending.group().clone(),
                    origin: Origin::of(context),
                });
                Making::new(call.clone(), self.clone().call(call), ending)
            });
            (joined, making)
        };
        joined.into_iter().map(making).collect()
    }

    /// Makes a call and keeps its answers.
    async fn call(self, call: Arc<Call>) -> CallResult {
        let epoch = self.0.cache.as_ref().map(Cache::epoch);
        let answer = self.0.guard.call(&call).await?;
        if let (Some(cache), Some(epoch)) = (&self.0.cache, epoch) {
            let now = Instant::now();
            // Not in the order of the answer, which is no order.
            for number in call.group.numbers() {
                let vehicle = match answer.get(&number) {
                    Some(Found::Vehicle(vehicle)) => Some(vehicle.clone()),
                    Some(Found::Nothing) => None,
                    Some(Found::Failure(_)) | None => continue,
                };
                cache.put(&number, vehicle, epoch, now, self.0.rng.sample());
            }
        }
        Ok(Arc::new(answer))
    }
}

/// Waits for a call's result, and makes the call meanwhile where that is left to the waiter.
pub(super) async fn result(waiter: Waiter, making: Option<Making>) -> CallResult {
    let result = waiter.result();
    let Some(making) = making else {
        return result.await;
    };
    let mut result = pin!(result);
    tokio::select! {
        biased;
        () = making => result.await,
        result = result.as_mut() => result,
    }
}
