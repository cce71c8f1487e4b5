//! What operators do with those who keep the copy of Vehicle's cars.

mod examples;
mod feed;
mod letters;
mod operator;
mod orders;
mod replays;
mod sight;

pub(crate) use examples::record;
use operator::Operator;
