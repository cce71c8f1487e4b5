//! What operators do with those who keep the copy of Vehicle's cars.

mod examples;
mod letters;
mod operator;
mod orders;

pub(crate) use examples::record;
use operator::Operator;
