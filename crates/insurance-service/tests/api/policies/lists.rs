//! Policies by car and by status.

use serde_json::{Value, json};

use super::Desk;

fn ids(page: &Value) -> Vec<i64> {
    let policies = page["policies"].as_array().unwrap().iter();
    policies
        .map(|it| it["insuranceId"].as_i64().unwrap())
        .collect()
}

#[tokio::test]
async fn policies_are_listed_by_car_and_by_the_status_that_they_have_today() {
    let desk = Desk::open().await;
    desk.0
        .database
        .execute(
            "insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost,
                  car_registration_number, status, valid_from, valid_until, cancelled_on)
             select row_number() over (), '197001019999', 'car', 1, 'OLD123', status,
                 current_date + valid_from, current_date + valid_until, current_date + cancelled_on
             from (values
                 ('active', -90, -80, null), ('active', -70, -60, -60), ('suspended', -50, -40, null),
                 ('cancelled', -30, -20, -20), ('expired', -20, -10, null), ('active', -9, 9, 9),
                 ('draft', -5, null, null), ('suspended', 20, 30, null)
             ) as policies (status, valid_from, valid_until, cancelled_on)",
        )
        .await;
    let page = async |query: &str| {
        let answer = desk.get(&format!("/api/v1/policies?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()
    };
    for (query, expected) in [
        ("carRegistrationNumber=old-123", &[1, 2, 3, 4, 5, 6, 8][..]),
        ("carRegistrationNumber=OLD123&status=expired", &[1, 3, 5]),
        ("carRegistrationNumber=NONE1", &[]),
        ("status=cancelled", &[2, 4]),
        ("status=expired", &[1, 3, 5]),
        ("status=suspended", &[8]),
        ("status=draft", &[7]),
        ("status=active&limit=1", &[6]),
        (
            "status=active&after=6",
            &[1_000_000, 1_000_001, 1_000_002, 1_000_003, 1_000_004],
        ),
    ] {
        assert_eq!(ids(&page(query).await), expected, "{query}");
    }
    let mut after = json!(0);
    let mut found = Vec::new();
    while !after.is_null() {
        let part = page(&format!("status=active&limit=2&after={after}")).await;
        found.extend(ids(&part));
        after = part["next"].clone();
    }
    assert_eq!(
        found,
        [6, 1_000_000, 1_000_001, 1_000_002, 1_000_003, 1_000_004]
    );
    for (query, code) in [
        ("", "too_broad"),
        ("limit=5", "too_broad"),
        ("status=boat", "invalid_status"),
        ("status=active&limit=501", "invalid_limit"),
        ("status=active&more=1", "unknown_parameter"),
    ] {
        let answer = desk.get(&format!("/api/v1/policies?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.problem()["code"], code, "{query}");
    }
    let prices = desk.get("/api/v1/prices").await.json();
    assert_eq!(prices["prices"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_takes_nothing_with_it() {
    let desk = Desk::open().await;
    desk.0
        .database
        .execute(
            "alter table insurance.products drop constraint product_is_known;
             insert into insurance.products values ('boat', 40);
             insert into insurance.prices values ('boat', '2020-01-01', 40, 1);
             insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost)
             values (7, '197001019999', 'boat', 40)",
        )
        .await;
    let page = desk.get("/api/v1/policies?status=active&limit=2").await;
    assert_eq!(page.status, 200, "{}", page.text());
    let page = page.json();
    assert_eq!(page["unreadableInsurances"], json!([7]));
    assert_eq!(ids(&page), [1_000_000]);
    assert_eq!(page["next"], 1_000_000);
    let whole = desk.get("/api/v1/policies?status=active&after=7").await;
    assert_eq!(whole.json()["unreadableInsurances"], Value::Null);
    let counted = [("column", "product")];
    let unreadable = desk.0.metric("policies_unreadable_total", &counted).await;
    assert_eq!(unreadable, 1);
    assert_eq!(desk.policy(7).await.status, 500);
    let prices = desk.get("/api/v1/prices").await.json();
    assert_eq!(prices["prices"].as_array().unwrap().len(), 3);
}
