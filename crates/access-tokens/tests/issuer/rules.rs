use access_tokens::{Refused, Tokens};
use serde_json::{Value, json};
use test_support::{Issuer, SigningKey, attacks};

use super::{COOLDOWN, pass, tokens, until};

fn scopes(tokens: &Tokens, token: &str) -> Vec<&'static str> {
    tokens.verify(token).unwrap().scopes
}

#[tokio::test]
async fn each_algorithm_is_taken_from_a_key_that_is_for_it() {
    let issuer = Issuer::start().await;
    let keys = [
        SigningKey::rs256("a"),
        SigningKey::ps256("b"),
        SigningKey::es256("c"),
        SigningKey::eddsa("d"),
    ];
    issuer.publish(keys.iter().map(SigningKey::jwk));
    let tokens = tokens(&issuer, "").await;
    for key in keys {
        let bearer = tokens.verify(&key.sign(&key.header(), &issuer.claims("read")));
        let bearer = bearer.unwrap_or_else(|refused| panic!("{}: {refused}", key.algorithm()));
        assert_eq!(bearer.subject, "core-system");
        assert_eq!(bearer.scopes, ["read"]);
    }
}

#[tokio::test]
async fn every_attack_is_refused_for_what_it_is() {
    let issuer = Issuer::start().await;
    let attacks = attacks(&issuer);
    let tokens = tokens(&issuer, "").await;
    assert!(tokens.verify(&issuer.token("read")).is_ok());
    for (name, token, why) in attacks {
        let refused = tokens.verify(&token).map_err(|refused| refused.to_string());
        assert_eq!(refused, Err(why.to_owned()), "{name}");
    }
    // Whoever follows an address does so behind, as keys are fetched; the unknown ids ask for that.
    pass(COOLDOWN).await;
    until(|| issuer.fetches() == 2).await;
    assert_eq!(issuer.lured(), 0);
}

#[tokio::test]
async fn a_key_without_an_algorithm_is_for_those_of_the_setting_that_fit_it() {
    let issuer = Issuer::start().await;
    let keys = [
        SigningKey::rs256("rsa"),
        SigningKey::es256("ec"),
        SigningKey::eddsa("ed"),
    ];
    issuer.publish(keys.iter().map(|key| without(key.jwk(), "alg")));
    let [rsa, ec, ed] = &keys;
    // The same key as `rsa`, under its id.
    let pss = SigningKey::ps256("rsa");
    for (more, expected) in [
        ("", [true, true, true, false]),
        ("algorithms = \"PS256\"", [false, false, false, true]),
        (
            "algorithms = \"RS256,PS256,ES256\"",
            [true, true, false, true],
        ),
    ] {
        let tokens = tokens(&issuer, more).await;
        let taken = [rsa, ec, ed, &pss].map(|key| {
            let token = key.sign(&key.header(), &issuer.claims("read"));
            tokens.verify(&token).is_ok()
        });
        assert_eq!(taken, expected, "{more}");
    }
}

#[tokio::test]
async fn keys_that_verify_no_access_token_are_not_taken() {
    let issuer = Issuer::start().await;
    let good = SigningKey::rs256("good");
    let secret = SigningKey::hs256("secret", &[7; 32]);
    let with = |id: &str, member: &str, value: Value| {
        let mut jwk = SigningKey::rs256(id).jwk();
        jwk[member] = value;
        jwk
    };
    issuer.publish([
        json!({ "kty": "of tomorrow", "kid": "unknown" }),
        json!("no key"),
        secret.jwk(),
        with("encrypts", "use", "enc".into()),
        with("signs", "key_ops", json!(["sign"])),
        with("longer", "alg", "RS512".into()),
        with("unheard", "alg", "XY1".into()),
        with("mixed", "alg", "ES256".into()),
        without(SigningKey::rs256("x").jwk(), "kid"),
        good.jwk(),
    ]);
    let tokens = tokens(&issuer, "").await;
    let signed = |key: &SigningKey| key.sign(&key.header(), &issuer.claims("read"));
    assert!(tokens.verify(&signed(&good)).is_ok());
    assert_eq!(tokens.verify(&signed(&secret)), Err(Refused::UnknownKey));
    for id in ["encrypts", "signs", "longer", "unheard", "mixed", "x"] {
        let refused = tokens.verify(&signed(&SigningKey::rs256(id)));
        assert_eq!(refused, Err(Refused::UnknownKey), "{id}");
    }
}

#[tokio::test]
async fn a_type_is_compared_without_case_and_without_application() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "").await;
    for kind in [
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "Application/AT+jwt",
    ] {
        let token = issuer.changed(json!({ "typ": kind }), json!({}));
        assert!(tokens.verify(&token).is_ok(), "{kind}");
    }
}

#[tokio::test]
async fn where_jwt_is_a_type_an_id_token_is_told_by_its_claims() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "types = \"at+jwt,JWT\"").await;
    let of = |kind: &str, claims: Value| issuer.changed(json!({ "typ": kind }), claims);
    for claims in [
        json!({}),
        json!({ "scope": null, "scp": "read" }),
        json!({ "scope": null, "roles": ["read"], "azp": "core" }),
        json!({ "scope": null, "roles": ["read"], "appid": "core" }),
        json!({ "scope": null, "roles": ["read"], "client_id": "core" }),
        json!({ "typ": "Bearer" }),
    ] {
        assert!(
            tokens.verify(&of("JWT", claims.clone())).is_ok(),
            "{claims}"
        );
    }
    let (mut header, mut claims) = (issuer.header(), issuer.claims(""));
    (header["typ"], claims["scope"]) = ("JWT".into(), Value::Null);
    let nothing = issuer.sign(&header, &claims);
    assert_eq!(tokens.verify(&nothing), Err(Refused::IdToken));
    for claims in [
        json!({ "nonce": "n" }),
        json!({ "at_hash": "h" }),
        json!({ "c_hash": "h" }),
        json!({ "scope": null }),
        // As Entra ID gives them to who logs in to an app with roles.
        json!({ "scope": null, "roles": ["admin"], "name": "A", "preferred_username": "a" }),
        json!({ "typ": "ID" }),
        json!({ "typ": "Refresh" }),
        json!({ "typ": 7 }),
    ] {
        let refused = tokens.verify(&of("JWT", claims.clone()));
        assert_eq!(refused, Err(Refused::IdToken), "{claims}");
        // RFC 9068 has a type for access tokens, which tells all.
        assert!(tokens.verify(&of("at+jwt", claims)).is_ok());
    }
}

#[tokio::test]
async fn scopes_are_those_of_the_first_claim_that_is_there() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "").await;
    let of = |claims: Value| scopes(&tokens, &issuer.changed(json!({}), claims));
    assert_eq!(of(json!({ "scope": "read  write x" })), ["read", "write"]);
    assert_eq!(of(json!({ "scope": "admin", "scp": "read" })), ["admin"]);
    let listed = json!({ "scope": null, "scp": null, "roles": ["feed", 7, "audit"] });
    assert_eq!(of(listed), ["feed", "audit"]);
    for none in [
        json!({ "scope": null }),
        json!({ "scope": 7 }),
        json!({ "scope": "api operations READ" }),
        json!({ "scope": "", "scp": "read" }),
    ] {
        assert!(of(none.clone()).is_empty(), "{none}");
    }
}

#[tokio::test]
async fn a_provider_may_call_scopes_otherwise() {
    let issuer = Issuer::start().await;
    let more = r#"
        scope_claims = "permissions"
        [scopes]
        read = ["Vehicle.Read", "Vehicle.All"]
        write = "Vehicle.All"
    "#;
    let tokens = tokens(&issuer, more).await;
    let of = |names: Value| {
        let claims = json!({ "permissions": names, "scope": "admin" });
        scopes(&tokens, &issuer.changed(json!({}), claims))
    };
    assert_eq!(of(json!(["Vehicle.Read"])), ["read"]);
    assert_eq!(of(json!("Vehicle.All")), ["read", "write"]);
    assert_eq!(of(json!("read write audit")), ["audit"]);
}

#[tokio::test]
async fn clocks_may_be_half_a_minute_apart() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "").await;
    let now = issuer.claims("")["iat"].as_u64().unwrap();
    for claims in [
        json!({ "exp": now - 20 }),
        json!({ "nbf": now + 20 }),
        json!({ "iat": now + 20 }),
        json!({ "iat": null, "nbf": null }),
        json!({ "exp": f64::from(u32::try_from(now).unwrap()) + 0.5 }),
    ] {
        let token = issuer.changed(json!({}), claims.clone());
        assert!(tokens.verify(&token).is_ok(), "{claims}");
    }
}

fn without(mut jwk: Value, member: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(member);
    jwk
}
