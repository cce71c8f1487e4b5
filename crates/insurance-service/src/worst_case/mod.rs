//! What the settings of the Insurance service allow at worst, as sums over them: nothing here looks
//! at a clock, a socket or a random number. Each sum bounds what `vehicle-client` does; where it
//! does something that no setting names, a constant here says so.

mod answer;
mod breaker;
mod cache;
mod calls;
#[cfg(test)]
mod tests;

use service_defaults::worst_case::Figure;

use crate::InsuranceSettings;

pub(crate) use answer::{longest_answer, longest_attempts};
pub(crate) use breaker::most_slow_calls_in_window;
pub(crate) use calls::at_work_when_slow;

/// Every figure, most asked for first.
pub(crate) fn figures(settings: &InsuranceSettings) -> Vec<Figure> {
    let mut figures = answer::figures(settings);
    figures.extend(calls::figures(settings));
    figures.extend(breaker::figures(settings));
    figures.extend(cache::figures(settings));
    figures.extend(settings.database.worst_case());
    figures
}
