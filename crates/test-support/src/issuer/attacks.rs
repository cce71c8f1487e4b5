use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Issuer, SigningKey, seconds};

/// A token that has to be refused, and what its problem says about it.
pub type Attack = (&'static str, String, &'static str);

const ALGORITHM: &str = "its key is not for its algorithm";
const CLAIM: &str = "a claim is missing, or is not what it should be";
const KEY: &str = "its key is not known";
const MALFORMED: &str = "it is no signed token that can be read";
const SIGNATURE: &str = "its signature is wrong";
const TYPE: &str = "its type is not taken here";

/// Tokens that a service must not take: the attacks of RFC 8725, of the RFCs that it stands on, and
/// of what is known of libraries. Publishes the keys that they need.
pub fn attacks(issuer: &Issuer) -> Vec<Attack> {
    let (pss, curve) = (SigningKey::ps256("pss-1"), SigningKey::es256("ec-1"));
    issuer.publish([issuer.key.jwk(), pss.jwk(), curve.jwk()]);
    let mut attacks = of_algorithms(issuer, &pss, &curve);
    attacks.extend(of_keys(issuer));
    attacks.extend(of_types(issuer));
    attacks.extend(of_claims(issuer));
    attacks.extend(of_form(issuer));
    attacks
}

fn of_algorithms(issuer: &Issuer, pss: &SigningKey, curve: &SigningKey) -> Vec<Attack> {
    let claims = issuer.claims("read");
    let unsigned = |algorithm: &str| {
        let header = json!({ "typ": "at+jwt", "alg": algorithm, "kid": issuer.key.id() });
        without_signature(&issuer.sign(&header, &claims))
    };
    let modulus = issuer.key.jwk()["n"].as_str().unwrap().to_owned();
    let with_public_key = SigningKey::hs256(issuer.key.id(), modulus.as_bytes());
    // The same RSA key signs, by another padding than it is published for.
    let by_another_padding = SigningKey::rs256(pss.id());
    let other = issuer.changed(json!({ "alg": "RS512" }), json!({}));
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    let psychic = without_signature(&curve.sign(&curve.header(), &claims)) + &zeros;
    vec![
        ("no_algorithm", unsigned("none"), MALFORMED),
        ("no_algorithm_in_another_case", unsigned("nOnE"), MALFORMED),
        (
            "the_public_key_as_a_secret",
            with_public_key.sign(&with_public_key.header(), &claims),
            ALGORITHM,
        ),
        (
            "another_padding_than_the_keys",
            by_another_padding.sign(&by_another_padding.header(), &claims),
            ALGORITHM,
        ),
        ("an_algorithm_of_the_same_family", other, ALGORITHM),
        (
            "an_algorithm_of_another_family",
            issuer.changed(json!({ "alg": "ES256" }), json!({})),
            ALGORITHM,
        ),
        ("a_signature_of_zeros", psychic, SIGNATURE),
        (
            "a_password_to_be_hashed_for_long",
            issuer.changed(
                json!({ "alg": "PBES2-HS512+A256KW", "p2c": 2_000_000_000 }),
                json!({}),
            ),
            MALFORMED,
        ),
    ]
}

fn of_keys(issuer: &Issuer) -> Vec<Attack> {
    let claims = issuer.claims("read");
    let foreign = foreign();
    let attacker = format!("{}/attacker", issuer.url());
    let with = |member: &str, value: Value| {
        let mut header = foreign.header();
        header[member] = value;
        foreign.sign(&header, &claims)
    };
    let known = SigningKey::other_rs256(issuer.key.id());
    vec![
        (
            "a_foreign_key",
            known.sign(&known.header(), &claims),
            SIGNATURE,
        ),
        (
            "an_unknown_key",
            foreign.sign(&foreign.header(), &claims),
            KEY,
        ),
        (
            "a_key_that_the_token_brings",
            with("jwk", foreign.jwk()),
            KEY,
        ),
        (
            "keys_at_an_address_of_the_token",
            with("jku", attacker.as_str().into()),
            KEY,
        ),
        (
            "a_certificate_at_an_address_of_the_token",
            with("x5u", attacker.as_str().into()),
            KEY,
        ),
        (
            "a_certificate_that_the_token_brings",
            with("x5c", json!(["MIIB"])),
            KEY,
        ),
        (
            "a_key_id_that_is_a_path",
            issuer.changed(json!({ "kid": "../../dev/null" }), json!({})),
            KEY,
        ),
        (
            "no_key_id",
            issuer.changed(json!({ "kid": null }), json!({})),
            "it names no key",
        ),
        ("a_key_id_twice", with_two_key_ids(issuer), MALFORMED),
    ]
}

/// The key of an attacker, who publishes it at an address of the issuer's own.
pub(super) fn foreign() -> SigningKey {
    SigningKey::other_rs256("foreign-1")
}

fn of_types(issuer: &Issuer) -> Vec<Attack> {
    let of = |kind: Value| issuer.changed(json!({ "typ": kind }), json!({}));
    vec![
        ("an_id_token", of("JWT".into()), TYPE),
        ("a_logout_token", of("logout+jwt".into()), TYPE),
        ("a_proof_of_possession", of("dpop+jwt".into()), TYPE),
        ("no_type", of(Value::Null), TYPE),
        (
            "an_extension_that_is_critical",
            issuer.changed(json!({ "crit": ["b64"], "b64": false }), json!({})),
            "its header demands what is not understood",
        ),
    ]
}

fn of_claims(issuer: &Issuer) -> Vec<Attack> {
    let of = |claims: Value| issuer.changed(json!({}), claims);
    let now = seconds();
    let early = "its time has not come";
    let others = "it is of another issuer";
    let not_ours = "it is not for this service";
    let bound = "it is bound to a key, and its bearer need not have that";
    let mut endless = issuer.claims("read");
    endless["exp"] = "END".into();
    let endless = endless.to_string().replace(r#""END""#, "1e400");
    vec![
        ("no_audience", of(json!({ "aud": null })), CLAIM),
        ("an_empty_audience", of(json!({ "aud": [] })), not_ours),
        (
            "another_audience",
            of(json!({ "aud": ["other", "threadpilot2"] })),
            not_ours,
        ),
        (
            "another_issuer",
            of(json!({ "iss": format!("{}/", issuer.url()) })),
            others,
        ),
        ("no_issuer", of(json!({ "iss": null })), CLAIM),
        (
            "several_issuers",
            of(json!({ "iss": [issuer.url(), "https://other.example"] })),
            others,
        ),
        (
            "an_expired_token",
            of(json!({ "exp": now - 60 })),
            "it has expired",
        ),
        ("no_end", of(json!({ "exp": null })), CLAIM),
        (
            "an_end_that_is_a_text",
            of(json!({ "exp": "never" })),
            CLAIM,
        ),
        ("an_end_that_is_negative", of(json!({ "exp": -1 })), CLAIM),
        (
            "an_end_that_is_no_number",
            issuer.sign_text(&issuer.header().to_string(), endless.as_bytes()),
            MALFORMED,
        ),
        ("a_token_for_later", of(json!({ "nbf": now + 60 })), early),
        (
            "a_beginning_that_is_a_text",
            of(json!({ "nbf": "now" })),
            CLAIM,
        ),
        (
            "a_token_from_the_future",
            of(json!({ "iat": now + 60 })),
            early,
        ),
        (
            "an_issue_that_is_a_text",
            of(json!({ "iat": "now" })),
            CLAIM,
        ),
        ("no_subject", of(json!({ "sub": null })), CLAIM),
        ("an_empty_subject", of(json!({ "sub": "" })), CLAIM),
        ("a_subject_that_is_a_number", of(json!({ "sub": 7 })), CLAIM),
        (
            "a_token_that_is_bound_to_a_key",
            of(json!({ "cnf": { "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } })),
            bound,
        ),
        (
            "a_token_that_is_bound_to_a_certificate",
            of(json!({ "cnf": { "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" } })),
            bound,
        ),
    ]
}

fn of_form(issuer: &Issuer) -> Vec<Attack> {
    let good = issuer.token("read");
    let (header, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let claims = URL_SAFE_NO_PAD.encode(issuer.claims("admin").to_string());
    let twice = format!(r#"{{"exp":1,{}"#, &issuer.claims("read").to_string()[1..]);
    let signed = |claims: &[u8]| issuer.sign_text(&issuer.header().to_string(), claims);
    let twice = signed(twice.as_bytes());
    let wide: Vec<u8> = issuer
        .claims("read")
        .to_string()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let wide = signed(&wide);
    let padding = "x".repeat(8 * 1024);
    vec![
        (
            "changed_claims",
            format!("{header}.{claims}.{signature}"),
            SIGNATURE,
        ),
        ("no_signature", without_signature(&good), SIGNATURE),
        ("two_parts", format!("{header}.{claims}"), MALFORMED),
        (
            "an_encrypted_token",
            format!("{good}.{signature}.{signature}"),
            MALFORMED,
        ),
        ("no_token_at_all", "anything".to_owned(), MALFORMED),
        ("a_claim_twice", twice, MALFORMED),
        ("another_encoding", wide, MALFORMED),
        (
            "a_list_of_claims",
            issuer.sign(&issuer.header(), &json!([])),
            MALFORMED,
        ),
        (
            "a_token_over_8_kib",
            issuer.changed(json!({}), json!({ "padding": padding })),
            "it is too large",
        ),
    ]
}

/// The first is unknown, the second is the good one.
fn with_two_key_ids(issuer: &Issuer) -> String {
    let good = issuer.header().to_string();
    let header = format!(r#"{{"kid":"foreign-1",{}"#, &good[1..]);
    issuer.sign_text(&header, issuer.claims("read").to_string().as_bytes())
}

fn without_signature(token: &str) -> String {
    let (message, _) = token.rsplit_once('.').unwrap();
    format!("{message}.")
}
