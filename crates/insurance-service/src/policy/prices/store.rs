//! Prices in SQL.

use contracts::{Currency, Day, Money, Price, Product};
use sqlx::PgConnection;

use crate::policy::store::parsed;

/// The cost of a product on a day, by the last price that began by then.
pub(crate) async fn price_on(
    connection: &mut PgConnection,
    product: Product,
    day: Day,
) -> sqlx::Result<Option<Money>> {
    let found = sqlx::query_scalar!(
        r#"select trim_scale(monthly_cost)::text as "monthly_cost!" from insurance.prices
         where product = $1 and valid_from <= $2::text::date
         order by valid_from desc limit 1"#,
        product.name(),
        day.to_string()
    )
    .fetch_optional(connection)
    .await?;
    found.as_deref().map(parsed).transpose()
}

/// A price that cannot be read, of a product of this name.
#[derive(Debug)]
pub(crate) struct UnreadablePrice(pub(crate) String);

/// All prices, by product and day. One that cannot be read does not take the others with it.
pub(super) async fn find_all(
    connection: &mut PgConnection,
) -> sqlx::Result<Vec<Result<Price, UnreadablePrice>>> {
    let rows = sqlx::query!(
        r#"select product, valid_from::text as "valid_from!",
             trim_scale(monthly_cost)::text as "monthly_cost!"
         from insurance.prices order by product, valid_from"#
    )
    .fetch_all(connection)
    .await?;
    let price = |product: &str, from: &str, cost: &str| {
        Some(Price {
            product: Product::named(product)?,
            valid_from: from.parse().ok()?,
            monthly_cost: cost.parse().ok()?,
            currency: Currency::Sek,
        })
    };
    let rows = rows.into_iter().map(|row| {
        let price = price(&row.product, &row.valid_from, &row.monthly_cost);
        price.ok_or(UnreadablePrice(row.product))
    });
    Ok(rows.collect())
}

/// The price that begins on this day, if there is one.
pub(super) async fn find_one(
    connection: &mut PgConnection,
    product: Product,
    from: Day,
) -> sqlx::Result<Option<Money>> {
    let found = sqlx::query_scalar!(
        r#"select trim_scale(monthly_cost)::text as "monthly_cost!" from insurance.prices
         where product = $1 and valid_from = $2::text::date"#,
        product.name(),
        from.to_string()
    )
    .fetch_optional(connection)
    .await?;
    found.as_deref().map(parsed).transpose()
}

/// Adds a price and gives its version, unless somebody else has added one of the product meanwhile.
pub(super) async fn add(connection: &mut PgConnection, price: &Price) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "insert into insurance.prices (product, valid_from, monthly_cost, version)
         select $1, $2::text::date, $3::text::numeric, coalesce(max(version), 0) + 1
         from insurance.prices where product = $1
         on conflict do nothing
         returning version",
        price.product.name(),
        price.valid_from.to_string(),
        price.monthly_cost.to_string()
    )
    .fetch_optional(connection)
    .await
}
