//! What a profile holds.

use serde_json::json;

use super::service::{LOOKUP, PERSON, Service, enriched, without_vehicle};

#[tokio::test]
async fn both_forms_give_the_same_profile() {
    let service = Service::healthy().await;
    let by_body = service.look_up(PERSON).await;
    let expected = json!({
        "personalIdentityNumber": PERSON,
        "insurances": [
            { "insuranceId": 1_000_000, "product": "car", "status": "active",
              "validFrom": "2020-01-01", "validUntil": null, "monthlyCost": 30.0, "currency": "SEK",
              "carRegistrationNumber": "ABC123",
              "vehicle": { "registrationNumber": "ABC123", "make": "Volvo", "model": "XC60", "modelYear": 2021 },
              "enrichment": enriched("live") },
            { "insuranceId": 1_000_001, "product": "pet", "status": "active",
              "validFrom": "2020-01-01", "validUntil": null, "monthlyCost": 10.0, "currency": "SEK",
              "carRegistrationNumber": null, "vehicle": null,
              "enrichment": without_vehicle("not_applicable", None) },
        ],
        "totalMonthlyCost": 40.0,
        "currency": "SEK",
        "enrichment": "complete",
    });
    assert_eq!((by_body.status.as_u16(), by_body.json()), (200, expected));
    for spelling in ["199001011234", "19900101-1234", "%31%39900101-1234"] {
        let by_path = service
            .api
            .get(&format!("/api/v1/insurances/{spelling}"))
            .await;
        assert_eq!(by_path.status, 200);
        assert_eq!(by_path.text(), by_body.text(), "{spelling}");
    }
    let hyphenated = service.look_up("19900101-1234").await;
    assert_eq!(hyphenated.text(), by_body.text());
}

#[tokio::test]
async fn only_the_path_form_points_at_the_other_one() {
    let service = Service::healthy().await;
    let by_path = service
        .api
        .get(&format!("/api/v1/insurances/{PERSON}"))
        .await;
    assert_eq!(
        by_path.header("link"),
        format!("<{LOOKUP}>; rel=\"alternate\"")
    );
    let by_body = service.look_up(PERSON).await;
    assert_eq!(by_body.header("link"), "");
    for answer in [by_path, by_body] {
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("preference-applied"), "");
    }
}

#[tokio::test]
async fn money_is_exact_and_has_two_decimals_on_the_wire() {
    let service = Service::healthy().await;
    let person = "197001019999";
    let policies = [
        ("pet", "0.10", None),
        ("pet", "0.20", None),
        ("personal_health", "9999999999.99", None),
        ("pet", "0", None),
        ("pet", "12.5", None),
        ("pet", "7.000", None),
    ];
    service.insure(person, &policies).await;
    let text = service.look_up(person).await.text();
    let costs: Vec<_> = text
        .split("\"monthlyCost\":")
        .skip(1)
        .map(|rest| rest.split(',').next().unwrap())
        .collect();
    let expected = ["0.10", "0.20", "9999999999.99", "0.00", "12.50", "7.00"];
    assert_eq!(costs, expected);
    assert!(
        text.contains("\"totalMonthlyCost\":10000000019.79,"),
        "{text}"
    );
}

#[tokio::test]
async fn policies_come_by_their_ids_whatever_the_order_of_the_rows() {
    let service = Service::healthy().await;
    service
        .database
        .execute(
            "insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost)
             values (30, '197001019999', 'pet', 1), (4, '197001019999', 'pet', 2),
                    (200, '197001019999', 'pet', 3)",
        )
        .await;
    let profile = service.look_up("197001019999").await.json();
    let ids: Vec<_> = profile["insurances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|insurance| insurance["insuranceId"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [4, 30, 200]);
}

#[tokio::test]
async fn a_profile_lists_what_covers_today_whatever_is_stored_of_its_status() {
    let service = Service::healthy().await;
    // Days around today that no midnight reaches.
    service
        .database
        .execute(
            "insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost, status,
                  valid_from, valid_until)
             select row_number() over (), '197001019999', 'pet', 1, status,
                 current_date + valid_from, current_date + valid_until
             from (values
                 ('active', -9, 9), ('suspended', -9, null), ('draft', -9, 9), ('active', 5, 9),
                 ('active', -9, -5), ('cancelled', -9, -5), ('expired', -9, -5)
             ) as policies (status, valid_from, valid_until)",
        )
        .await;
    let profile = service.look_up("197001019999").await.json();
    let found: Vec<_> = profile["insurances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["insuranceId"].as_i64(),
                it["status"].as_str(),
                it["validUntil"].is_null(),
            )
        })
        .collect();
    let expected = [
        (Some(1), Some("active"), false),
        (Some(2), Some("suspended"), true),
    ];
    assert_eq!(found, expected);
    assert_eq!(profile["totalMonthlyCost"], 2.0);
}

#[tokio::test]
async fn the_car_and_the_cost_are_those_of_the_period_that_holds_today() {
    let service = Service::healthy().await;
    service
        .insure("197001019999", &[("car", "19.99", Some("GHI789"))])
        .await;
    service
        .database
        .execute(
            "update insurance.covers set cover = daterange('2020-01-01', current_date - 5)
             where car = 'GHI789';
             insert into insurance.covers (insurance_id, car, cover, monthly_cost)
             select insurance_id, 'JKL012', daterange(current_date - 5, current_date + 5), 25
             from insurance.covers where car = 'GHI789'",
        )
        .await;
    let profile = service.look_up("197001019999").await.json();
    let insurance = &profile["insurances"][0];
    assert_eq!(insurance["carRegistrationNumber"], "JKL012");
    assert_eq!(insurance["monthlyCost"], 25.0);
}

#[tokio::test]
async fn a_person_without_a_car_costs_vehicle_no_call() {
    let service = Service::healthy().await;
    let profile = service.look_up("200310209876").await.json();
    assert_eq!(profile["enrichment"], "not_applicable");
    assert_eq!(profile["totalMonthlyCost"], 10.0);
    assert_eq!(service.vehicle.calls(), 0);
}
