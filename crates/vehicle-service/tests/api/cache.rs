use http::StatusCode;
use test_support::Answer;

use super::service::Service;

const PATH: &str = "/api/v1/vehicles/ABC123";

async fn if_none_match(service: &Service, tags: &str) -> Answer {
    service.api.get_with(PATH, &[("if-none-match", tags)]).await
}

async fn tag(service: &Service) -> String {
    service.api.get(PATH).await.header("etag").to_owned()
}

#[tokio::test]
async fn a_caller_that_has_the_newest_version_is_told_so() {
    let service = Service::start().await;
    let tag = tag(&service).await;
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    for tags in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        format!("W/\"other\",W/{tag}"),
        "*".to_owned(),
    ] {
        let answer = if_none_match(&service, &tags).await;
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{tags}");
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), tag);
        assert_eq!(answer.header("cache-control"), "private, max-age=60");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn a_caller_that_has_something_else_gets_the_vehicle() {
    let service = Service::start().await;
    let tag = tag(&service).await;
    let unquoted = tag.trim_matches('"').to_owned();
    for tags in ["\"other\"", "", "nonsense", &unquoted] {
        let answer = if_none_match(&service, tags).await;
        assert_eq!(answer.status, StatusCode::OK, "{tags}");
        assert_eq!(answer.json()["make"], "Volvo");
    }
}

#[tokio::test]
async fn the_plate_batch_has_versions_like_any_other() {
    let service = Service::start().await;
    let insert = "insert into vehicle.vehicles (registration_number) values ('BATCH')";
    service.database.execute(insert).await;
    let path = "/api/v1/vehicles/batch";
    let tag = service.api.get(path).await.header("etag").to_owned();
    for (condition, tags, status) in [
        ("if-none-match", &*tag, StatusCode::NOT_MODIFIED),
        ("if-none-match", "\"other\"", StatusCode::OK),
        ("if-match", &*tag, StatusCode::OK),
        ("if-match", "\"other\"", StatusCode::PRECONDITION_FAILED),
    ] {
        let answer = service.api.get_with(path, &[(condition, tags)]).await;
        assert_eq!(answer.status, status, "{condition}: {tags}");
    }
}

#[tokio::test]
async fn a_caller_that_insists_on_a_version_gets_that_one_or_none() {
    let service = Service::start().await;
    let tag = tag(&service).await;
    for (tags, status) in [
        (tag.clone(), StatusCode::OK),
        (format!("\"other\", {tag}"), StatusCode::OK),
        ("*".to_owned(), StatusCode::OK),
        ("\"other\"".to_owned(), StatusCode::PRECONDITION_FAILED),
        // RFC 9110, 13.1.1: a weak tag matches nothing here.
        (format!("W/{tag}"), StatusCode::PRECONDITION_FAILED),
        (
            format!("W/{tag}, \"other\""),
            StatusCode::PRECONDITION_FAILED,
        ),
        (
            tag.trim_matches('"').to_owned(),
            StatusCode::PRECONDITION_FAILED,
        ),
        (String::new(), StatusCode::PRECONDITION_FAILED),
    ] {
        for path in [PATH, "/api/v1/vehicles/abc-123"] {
            let answer = service.api.get_with(path, &[("if-match", &tags)]).await;
            assert_eq!(answer.status, status, "{tags}");
        }
    }
}

#[tokio::test]
async fn if_match_counts_before_if_none_match_and_after_the_vehicle_itself() {
    let service = Service::start().await;
    let tag = tag(&service).await;
    for (tags, status) in [
        (&*tag, StatusCode::NOT_MODIFIED),
        ("\"other\"", StatusCode::PRECONDITION_FAILED),
    ] {
        let conditions = [("if-none-match", &*tag), ("if-match", tags)];
        let answer = service.api.get_with(PATH, &conditions).await;
        assert_eq!(answer.status, status, "{tags}");
    }
    for condition in [
        ("if-match", "*"),
        ("if-match", "\"other\""),
        ("if-none-match", "*"),
    ] {
        let missing = "/api/v1/vehicles/ZZZ999";
        let answer = service.api.get_with(missing, &[condition]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{condition:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn every_change_of_a_vehicle_changes_its_tag_and_no_other() {
    let service = Service::start().await;
    let another = async || {
        let answer = service.api.get("/api/v1/vehicles/GHI789").await;
        answer.header("etag").to_owned()
    };
    let of_another = another().await;
    let mut seen = vec![tag(&service).await];
    for change in [
        "update vehicle.vehicles set model = 'XC90' where registration_number = 'ABC123'",
        "update vehicle.vehicles set model = 'XC60' where registration_number = 'ABC123'",
        "delete from vehicle.vehicles where registration_number = 'ABC123';
         insert into vehicle.vehicles (registration_number, make) values ('ABC123', 'Saab')",
    ] {
        service.database.execute(change).await;
        let stale = seen.join(", ");
        let answer = if_none_match(&service, &stale).await;
        assert_eq!(answer.status, StatusCode::OK, "{change}");
        seen.push(answer.header("etag").to_owned());
        assert_eq!(another().await, of_another);
    }
}

#[tokio::test]
async fn a_setting_says_how_long_an_answer_may_be_reused() {
    for (setting, header) in [("5m", "private, max-age=300"), ("0s", "private, max-age=0")] {
        let service = Service::with(&[("VEHICLES__MAX_AGE", setting)]).await;
        assert_eq!(service.api.get(PATH).await.header("cache-control"), header);
    }
}
