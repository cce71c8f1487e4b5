//! The price list. A price that is set stays: the next one of its product takes over from its day
//! on, and a policy keeps the cost that it was activated with.

pub(super) mod store;

use axum::{extract::State, http::StatusCode};
use contracts::{Currency, Day, FieldError, NewPrice, Price, PriceList, PriceSet, Product};
use event_log::{EventLog, NewEvent, Origin, new_event_id};
use service_defaults::{
    extract::{Json, PathPair},
    problem::Rejection,
};
use sqlx::{PgConnection, error::DatabaseError};

use self::store::UnreadablePrice;
use super::{
    Policies,
    answer::{Answer, EVENT_ID},
    execute::Caller,
    refusal::Failure,
};

/// The price list
#[utoipa::path(
    get, path = "/api/v1/prices", tag = "Policies",
    responses((status = 200, description = "All prices", body = PriceList, headers(("Cache-Control" = String, description = "`no-store`"))))
)]
pub(super) async fn list_prices(
    State(policies): State<Policies>,
) -> Result<Json<PriceList>, Failure> {
    let found = policies
        .database
        .read((), |connection, ()| Box::pin(store::find_all(connection)))
        .await?;
    let prices = found.into_iter().filter_map(|price| {
        let told = |UnreadablePrice(product)| {
            tracing::error!(product, "a stored price cannot be read");
        };
        price.map_err(told).ok()
    });
    Ok(Json(PriceList {
        prices: prices.collect(),
    }))
}

/// Sets what a product costs from a day on
///
/// From today on or later. A price that is set is never changed, so no `If-Match` is needed: sent
/// again, the request finds its price. An `Idempotency-Key` is not read.
#[utoipa::path(
    put, path = "/api/v1/prices/{product}/{validFrom}", tag = "Policies",
    params(
        ("product" = Product, Path, description = "The product", example = "car"),
        ("validFrom" = Day, Path, description = "The first day of the price, in Sweden", example = "2030-01-01"),
        ("X-Causation-Id" = Option<String>, Header, description = "Id of the event that led to this change; the change's event names it. One that cannot be read is left out"),
    ),
    request_body = NewPrice,
    responses(
        (status = 200, description = "The price was set before", body = Price, headers(
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 201, description = "The price is set", body = Price, headers(
            ("Event-Id" = String, description = "Id of the event that tells it"),
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 409, description = "Another price is set for the day, or another one of the product is being set", headers(("Retry-After" = u64, description = "Seconds after which asking again makes sense, where it does"))),
        (status = 422, description = "The day is over, or the product is not insured"),
    )
)]
pub(super) async fn set_price(
    State(policies): State<Policies>,
    caller: Caller,
    PathPair(ProductName(product), valid_from): PathPair<ProductName, Day>,
    Json(body): Json<NewPrice>,
) -> Result<Answer, Failure> {
    let price = Price {
        product,
        valid_from,
        monthly_cost: body.monthly_cost,
        currency: Currency::Sek,
    };
    policies.set_price(&caller, price).await
}

/// A product as it is named in a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProductName(Product);

#[derive(Debug, thiserror::Error)]
#[error("is the name of a product")]
pub(super) struct NoProduct;

impl std::str::FromStr for ProductName {
    type Err = NoProduct;

    fn from_str(text: &str) -> Result<Self, NoProduct> {
        Product::named(text).map(Self).ok_or(NoProduct)
    }
}

/// A price that somebody sets.
struct Setting {
    log: EventLog,
    origin: Origin,
    price: Price,
    today: Day,
}

impl Policies {
    async fn set_price(&self, caller: &Caller, price: Price) -> Result<Answer, Failure> {
        let setting = Setting {
            log: self.log.clone(),
            origin: caller.origin.clone(),
            price,
            today: self.clock.today(),
        };
        let left = caller.time_left();
        let done = self
            .database
            .change(left, &setting, |connection, setting| {
                Box::pin(setting.write(connection))
            })
            .await;
        if done.is_ok() {
            self.log.appended();
        }
        done
    }
}

impl Setting {
    async fn write(&self, connection: &mut PgConnection) -> Result<Answer, Failure> {
        let price = &self.price;
        // First of all, so that a second try after midnight finds what the first one has set.
        match store::find_one(connection, price.product, price.valid_from).await? {
            Some(cost) if cost == price.monthly_cost => return Answer::of(StatusCode::OK, price),
            Some(_) => return Err(Failure::PriceIsSet),
            None => {}
        }
        if price.valid_from < self.today {
            let detail = "a price begins today or later";
            return Err(unprocessable("price_in_the_past", "validFrom", detail));
        }
        let added = store::add(connection, price).await.map_err(not_added)?;
        let version = added.ok_or(Failure::Busy)?;
        let event_id = self.tell(connection, version).await?;
        Ok(Answer::of(StatusCode::CREATED, price)?.with(EVENT_ID, event_id))
    }

    async fn tell(&self, connection: &mut PgConnection, version: i64) -> Result<String, Failure> {
        let data = serde_json::to_string(&PriceSet {
            product: self.price.product,
            valid_from: self.price.valid_from,
            monthly_cost: self.price.monthly_cost,
        })
        .map_err(|error| Rejection::internal().with_cause(error))?;
        let id = new_event_id();
        let event = NewEvent {
            id,
            aggregate_type: "price",
            aggregate_id: self.price.product.name(),
            version,
            event_type: "price.set.v1",
            origin: &self.origin,
            data: &data,
        };
        self.log.append(connection, &event).await?;
        Ok(id.to_string())
    }
}

/// The products are those of the table, which the schema's owner fills.
fn not_added(error: sqlx::Error) -> Failure {
    let answer = error.as_database_error();
    if answer.and_then(DatabaseError::constraint) == Some("prices_product_fkey") {
        let detail = "the product is none that is insured";
        return unprocessable("product_unknown", "product", detail);
    }
    error.into()
}

/// The refusal (422) of a parameter of the path.
fn unprocessable(code: &'static str, parameter: &'static str, detail: &'static str) -> Failure {
    Failure::Rejected(Rejection::unprocessable(vec![FieldError {
        pointer: None,
        parameter: Some(parameter.into()),
        code: code.into(),
        detail: detail.into(),
    }]))
}
