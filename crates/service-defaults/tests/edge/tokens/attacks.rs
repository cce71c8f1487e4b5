use axum::http::StatusCode;
use test_support::{Issuer, attacks};

use super::{BAD, bearing, challenges, trusting};

macro_rules! each_attack {
    ($($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            assert_refused(stringify!($name)).await;
        })*

        #[tokio::test]
        async fn each_has_a_test() {
            let issuer = Issuer::start().await;
            let all = attacks(&issuer);
            let names: Vec<_> = all.iter().map(|(name, ..)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

each_attack! {
    no_algorithm
    no_algorithm_in_another_case
    the_public_key_as_a_secret
    another_padding_than_the_keys
    an_algorithm_of_the_same_family
    an_algorithm_of_another_family
    a_signature_of_zeros
    a_password_to_be_hashed_for_long
    a_foreign_key
    an_unknown_key
    a_key_that_the_token_brings
    keys_at_an_address_of_the_token
    a_certificate_at_an_address_of_the_token
    a_certificate_that_the_token_brings
    a_key_id_that_is_a_path
    no_key_id
    a_key_id_twice
    an_id_token
    a_logout_token
    a_proof_of_possession
    no_type
    an_extension_that_is_critical
    no_audience
    an_empty_audience
    another_audience
    another_issuer
    no_issuer
    several_issuers
    an_expired_token
    no_end
    an_end_that_is_a_text
    an_end_that_is_negative
    an_end_that_is_no_number
    a_token_for_later
    a_beginning_that_is_a_text
    a_token_from_the_future
    an_issue_that_is_a_text
    no_subject
    an_empty_subject
    a_subject_that_is_a_number
    a_token_that_is_bound_to_a_key
    a_token_that_is_bound_to_a_certificate
    changed_claims
    no_signature
    two_parts
    an_encrypted_token
    no_token_at_all
    a_claim_twice
    another_encoding
    a_list_of_claims
    a_token_over_8_kib
}

async fn assert_refused(name: &str) {
    let issuer = Issuer::start().await;
    let attacks = attacks(&issuer);
    let api = trusting(&issuer, &[]).await;
    let good = bearing(&api, "/own", &issuer.token("read")).await;
    assert_eq!(good.status, StatusCode::OK);
    let (_, token, why) = attacks.iter().find(|(it, ..)| *it == name).unwrap();
    let answer = bearing(&api, "/own", token).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(challenges(&answer), BAD);
    let problem = answer.problem();
    assert_eq!(problem["code"], "invalid_token");
    assert_eq!(problem["detail"], format!("The token is refused: {why}."));
    assert_eq!(issuer.lured(), 0);
}
