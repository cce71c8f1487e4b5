use std::{borrow::Cow, fmt, iter::Sum, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// An exact amount of money with at most two decimals, zero or more.
///
/// On the wire it is a JSON number with exactly two decimals (`30.00`). It is read and written as
/// text, so that it is never a binary float on the way. Serialises with `serde_json` only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(Decimal);

/// Why a number is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a plain decimal number.
    #[error("an amount is a decimal number")]
    NotANumber,
    /// Below zero.
    #[error("an amount is zero or more")]
    Negative,
    /// More than two decimals.
    #[error("an amount has at most two decimals")]
    Decimals,
}

impl Money {
    /// The most that a price may be, and that the tables keep: 9999999999.99.
    pub const MOST: Self = Self(Decimal::from_parts(0xD4A5_0FFF, 0xE8, 0, false, 2));
}

impl TryFrom<Decimal> for Money {
    type Error = MoneyError;

    fn try_from(amount: Decimal) -> Result<Self, Self::Error> {
        if amount.is_sign_negative() && !amount.is_zero() {
            return Err(MoneyError::Negative);
        }
        if amount.normalize().scale() > 2 {
            return Err(MoneyError::Decimals);
        }
        Ok(Self(amount.abs()))
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Decimal::from_str_exact(text)
            .map_err(|_| MoneyError::NotANumber)?
            .try_into()
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(|amount| amount.0).sum())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.2}", self.0)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer)?
            .get()
            .parse()
            .map_err(de::Error::custom)
    }
}

impl PartialSchema for Money {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            // No `multipleOf: 0.01`: validators that compute in binary refuse 19.99 for it.
            .description(Some(
                "Exact amount with two decimals, always written with both (`19.90`). Read it as a \
                 decimal number, not as a binary one.",
            ))
            .minimum(Some(0))
            .examples([serde_json::json!(19.99)])
            .into()
    }
}

impl ToSchema for Money {
    fn name() -> Cow<'static, str> {
        "Money".into()
    }
}

#[cfg(test)]
mod tests {
    use super::{Money, MoneyError};

    #[test]
    fn the_most_is_what_the_tables_keep() {
        assert_eq!(Money::MOST.to_string(), "9999999999.99");
    }

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn an_amount_is_written_with_exactly_two_decimals() {
        for (amount, wire) in [
            ("30", "30.00"),
            ("0", "0.00"),
            ("10.5", "10.50"),
            ("9999999999.99", "9999999999.99"),
        ] {
            assert_eq!(serde_json::to_string(&money(amount)).unwrap(), wire);
            assert_eq!(serde_json::from_str::<Money>(wire).unwrap(), money(amount));
        }
    }

    #[test]
    fn sums_are_exact() {
        // 0.10 + 0.20 is not 0.30 in binary floating point.
        let total: Money = [money("0.10"), money("0.20")].into_iter().sum();
        assert_eq!(total, money("0.30"));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        assert_eq!("-0.01".parse::<Money>(), Err(MoneyError::Negative));
        assert_eq!("0.001".parse::<Money>(), Err(MoneyError::Decimals));
        assert_eq!("1e3".parse::<Money>(), Err(MoneyError::NotANumber));
        assert_eq!("10.000".parse::<Money>(), Ok(money("10")));
    }
}
