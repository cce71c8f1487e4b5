//! A stored policy that breaks the schema's promises takes nothing with it and does not vanish.

use futures_util::future::join_all;
use serde_json::{Value, json};
use test_support::FakeVehicle;

use super::service::Service;

pub(crate) const PERSON: &str = "197001012222";

/// A person with a policy of a product that this release does not know, and these others.
pub(crate) async fn with_a_boat(others: &[(&str, &str, Option<&str>)]) -> Service {
    let service = Service::healthy().await;
    add_a_boat(&service, others).await;
    service
}

async fn add_a_boat(service: &Service, others: &[(&str, &str, Option<&str>)]) {
    service
        .database
        .execute(
            "alter table insurance.products drop constraint product_is_known;
             insert into insurance.products values ('boat', 40)",
        )
        .await;
    service.insure(PERSON, &[("boat", "40", None)]).await;
    service.insure(PERSON, others).await;
}

async fn number_of_the_boat(service: &Service) -> i64 {
    let mut connection = service.database.connect().await;
    sqlx::query_scalar("select insurance_id from insurance.insurances where product = 'boat'")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_other_policies_are_answered_and_it_is_named() {
    let others = [("pet", "10.50", None), ("car", "30", Some("ABC123"))];
    let service = with_a_boat(&others).await;
    let answer = service.look_up(PERSON).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let profile = answer.json();
    let boat = number_of_the_boat(&service).await;
    assert_eq!(profile["unreadableInsurances"], json!([boat]));
    let products: Vec<_> = profile["insurances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|insurance| insurance["product"].as_str().unwrap())
        .collect();
    assert_eq!(products, ["pet", "car"]);
    assert!(answer.text().contains(r#""totalMonthlyCost":40.50,"#));
    assert_eq!(profile["enrichment"], "complete");
    let counted = [("column", "product")];
    assert_eq!(
        service.metric("policies_unreadable_total", &counted).await,
        1
    );
}

#[tokio::test]
async fn people_looked_up_at_the_same_time_do_not_share_it() {
    let many = [("DATABASE__MAX_CONNECTIONS", "16")];
    let service = Service::with(FakeVehicle::healthy().await, &many).await;
    add_a_boat(&service, &[("pet", "10.50", None)]).await;
    while service.api.get("/readyz").await.status != 200 {}
    let mut lock = service.database.lock("insurance.insurances").await;
    let people = [PERSON, "199001011234", "200310209876", "190001010000"];
    let look_ups = (0..32).map(|caller| service.look_up(people[caller % people.len()]));
    let release = async {
        lock.queued(2).await;
        let used = [("db_client_connection_state", "used")];
        let statements = service.metric("db_client_connection_count", &used).await;
        lock.release().await;
        statements
    };
    let (answers, statements) = tokio::join!(join_all(look_ups), release);
    // One for each, they would take every connection. Two, if the machine is not too busy.
    assert!(statements < 16, "{statements}");
    for (answer, person) in answers.iter().zip(people.iter().cycle()) {
        if *person == people[3] {
            assert_eq!(answer.status, 404, "{}", answer.text());
            continue;
        }
        let profile = answer.json();
        assert_eq!(profile["personalIdentityNumber"], *person);
        let unreadable = profile["unreadableInsurances"].as_array();
        assert_eq!(
            unreadable.map_or(0, Vec::len),
            usize::from(*person == PERSON)
        );
    }
}

#[tokio::test]
async fn a_person_whose_only_policy_it_is_has_a_profile() {
    let service = with_a_boat(&[]).await;
    let answer = service.look_up(PERSON).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let profile = answer.json();
    assert_eq!(profile["insurances"], json!([]));
    let boat = number_of_the_boat(&service).await;
    assert_eq!(profile["unreadableInsurances"], json!([boat]));
    assert_eq!(profile["enrichment"], "not_applicable");
}

#[tokio::test]
async fn whoever_wants_all_or_nothing_gets_nothing() {
    let service = with_a_boat(&[("pet", "10", None)]).await;
    let answer = service.look_up_strictly(PERSON).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "30");
    assert_eq!(answer.header("preference-applied"), "handling=strict");
    insta::assert_json_snapshot!("insurances_incomplete", answer.problem());
}

#[tokio::test]
async fn every_column_that_cannot_be_read_is_told() {
    let service = Service::with(FakeVehicle::healthy().await, &[]).await;
    service
        .database
        .execute(
            "alter table insurance.insurances
                 drop constraint monthly_cost_is_money,
                 drop constraint registration_number_is_canonical;
             alter table insurance.covers
                 drop constraint monthly_cost_is_money,
                 drop constraint registration_number_is_canonical",
        )
        .await;
    let costs = ["-1", "10.005", "'NaN'", "'Infinity'", "1e40", "1e200"];
    let policies = costs.map(|cost| ("pet", cost, None));
    service.insure(PERSON, &policies).await;
    service
        .insure(PERSON, &[("car", "30", Some("?")), ("pet", "10.5", None)])
        .await;
    let answer = service.look_up(PERSON).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let profile = answer.json();
    let unreadable = profile["unreadableInsurances"].as_array().unwrap().len();
    assert_eq!(unreadable, costs.len() + 1, "{profile}");
    assert_eq!(profile["insurances"].as_array().unwrap().len(), 1);
    assert!(answer.text().contains(r#""totalMonthlyCost":10.50,"#));
    for (column, counted) in [("monthly_cost", 6), ("car_registration_number", 1)] {
        let labels = [("column", column)];
        assert_eq!(
            service.metric("policies_unreadable_total", &labels).await,
            counted
        );
    }
}

#[tokio::test]
async fn a_profile_that_is_whole_says_nothing_of_it() {
    let service = Service::healthy().await;
    let answer = service.look_up(super::service::PERSON).await;
    assert_eq!(answer.json()["unreadableInsurances"], Value::Null);
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_a_503_and_not_ready() {
    let service = Service::healthy().await;
    let revoke = "revoke select on insurance.insurances from insurance_service";
    service.database.execute(revoke).await;
    let answer = service.look_up(super::service::PERSON).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem()["code"], "database_unavailable");
    assert_eq!(service.api.get("/readyz").await.status, 503);
}

#[tokio::test]
async fn a_cost_with_many_zeros_can_be_read() {
    let service = Service::healthy().await;
    let cost = "10.50000000000000000000000000000000000000000000";
    service.insure(PERSON, &[("pet", cost, None)]).await;
    let answer = service.look_up(PERSON).await;
    assert!(
        answer.text().contains(r#""totalMonthlyCost":10.50,"#),
        "{}",
        answer.text()
    );
}
