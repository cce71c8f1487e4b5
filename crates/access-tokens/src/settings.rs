use jsonwebtoken::Algorithm;
use settings::{List, Secret, Violations, section};
use url::{Host, Url};

use crate::{algorithm::ALGORITHMS, fetch};

/// Types of tokens that a setting may name: RFC 9068, and what providers without it call theirs.
const TYPES: [&str; 2] = ["at+jwt", "JWT"];
/// Fewest characters of the key for subjects: as many as 128 bits take in hexadecimal.
const MIN_SUBJECT_KEY: usize = 32;

section! {
    /// The section `[tokens]`.
    pub struct TokenSettings checked by TokenSettings::contradictions {
        /// OpenID provider whose access tokens are taken in `Authorization: Bearer`, exactly as the
        /// claim `iss` has it, such as "https://login.example.com/realms/core". https, or http on
        /// this machine. Empty = keys only.
        pub issuer: String = "", where usable_issuer;
        /// What the claim `aud` has to contain: the name of this service at the provider.
        pub audience: String = "", where usable_audience;
        /// Types (`typ`) of tokens that are taken: "at+jwt" (RFC 9068), and "JWT" for a provider
        /// that gives its access tokens no other.
        pub types: List = ["at+jwt"], where known_types;
        /// Algorithms that keys without an `alg` are good for, as far as they fit the key: "RS256"
        /// and "PS256" for RSA, "ES256" for P-256, "EdDSA" for Ed25519.
        pub algorithms: List = ["RS256", "ES256", "EdDSA"], where known_algorithms;
        /// Claims that hold the scopes, as a text with blanks or a list; the first that a token has
        /// counts.
        pub scope_claims: List = ["scope", "scp", "roles"], where usable_names;
        /// What the provider calls our scopes. None implies another one.
        pub scopes: ScopeSettings;
        /// Secret of 32 characters or more, such as of `openssl rand -hex 32`. By it a subject that
        /// may name a person becomes a pseudonym in logs and events. All replicas have the same. A
        /// new one makes new pseudonyms, who are other callers, to their `Idempotency-Key`s too.
        pub subject_key: Secret = "";
        /// PEM file of certificates to trust for the provider; empty = the system's.
        pub ca_certificate: String = "", where fetch::usable_certificates;
    }
}

section! {
    /// The section `[tokens.scopes]`.
    pub struct ScopeSettings {
        /// Names of the scope `read` in tokens.
        pub read: List = ["read"], where usable_names;
        /// Names of `write`.
        pub write: List = ["write"], where usable_names;
        /// Names of `admin`.
        pub admin: List = ["admin"], where usable_names;
        /// Names of `feed`.
        pub feed: List = ["feed"], where usable_names;
        /// Names of `audit`.
        pub audit: List = ["audit"], where usable_names;
    }
}

impl ScopeSettings {
    fn all(&self) -> [(&'static str, &List); 5] {
        [
            ("read", &self.read),
            ("write", &self.write),
            ("admin", &self.admin),
            ("feed", &self.feed),
            ("audit", &self.audit),
        ]
    }

    /// What the provider calls this scope of ours, where it is in tokens at all.
    pub fn name_of(&self, own: &str) -> Option<&str> {
        let (_, names) = self.all().into_iter().find(|(it, _)| *it == own)?;
        names.first().map(String::as_str)
    }

    /// Our scopes that are called like this.
    pub(crate) fn called(&self, name: &str) -> impl Iterator<Item = &'static str> {
        self.all()
            .into_iter()
            .filter_map(move |(own, names)| names.iter().any(|it| it == name).then_some(own))
    }
}

impl TokenSettings {
    /// Whether tokens are taken at all.
    pub fn are_on(&self) -> bool {
        !self.issuer.is_empty()
    }

    /// What `check` says about whom these settings trust.
    pub fn facts(&self) -> (&'static str, String) {
        let said = if self.are_on() {
            format!(
                "of {} for {}; types {}; keys without alg: {}",
                self.issuer,
                self.audience,
                self.types.join(", "),
                self.algorithms.join(", ")
            )
        } else {
            "off: tokens.issuer is not set".to_owned()
        };
        ("tokens", said)
    }

    /// What keys without an `alg` may be used for.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let named = ALGORITHMS.into_iter();
        let named = named.filter(|(name, _)| self.algorithms.iter().any(|it| it == name));
        named.map(|(_, algorithm)| algorithm).collect()
    }

    fn contradictions(&self, at: &str, violations: &mut Violations) {
        let mut report = |key, rule: &str| violations.report(&Violations::path(at, key), rule);
        // The issuer alone is the switch: who has to lock all tokens out empties it.
        if !self.are_on() {
            return;
        }
        if self.audience.is_empty() {
            report("audience", "is not set, but tokens.issuer is");
        }
        if self.types.is_empty() {
            report("types", "is empty; there are at+jwt, JWT");
        }
        if self.scope_claims.is_empty() {
            report("scope_claims", "is empty");
        }
        let length = self.subject_key.expose().chars().count();
        if self.subject_key.fault().is_some() {
            let path = Violations::path(at, "subject_key");
            violations.secret(&path, &self.subject_key);
        } else if length < MIN_SUBJECT_KEY {
            let rule = format!("{length} characters are under {MIN_SUBJECT_KEY}");
            report("subject_key", &rule);
        }
    }
}

fn usable_issuer(issuer: &String, at: &str, violations: &mut Violations) {
    // OpenID Connect Discovery, 2.
    let plain = |url: &Url| url.query().is_none() && url.fragment().is_none();
    // The claim is compared as it is; a parser of URLs drops what it does not like.
    let usable =
        !has_blanks(issuer) && Url::parse(issuer).is_ok_and(|url| is_safe(&url) && plain(&url));
    if !issuer.is_empty() && !usable {
        let rule = format_args!(
            "`{issuer}` is no https URL, or http on this machine, without blanks, user, query and \
             fragment"
        );
        violations.report(at, rule);
    }
}

fn usable_audience(audience: &String, at: &str, violations: &mut Violations) {
    if has_blanks(audience) {
        violations.report(at, format_args!("`{audience}` has a blank"));
    }
}

/// Reports an endpoint of an issuer that others could read or answer in its place. It may have a
/// query, but no fragment (RFC 6749, 3.1 and 3.2).
pub fn usable_endpoint(url: &String, at: &str, violations: &mut Violations) {
    let usable = |url: &Url| is_safe(url) && url.fragment().is_none();
    if !url.is_empty() && !Url::parse(url).as_ref().is_ok_and(usable) {
        let rule = format_args!(
            "`{url}` is no https URL, or http on this machine, without user and fragment"
        );
        violations.report(at, rule);
    }
}

/// No scope has a blank (RFC 6749, 3.3).
pub(crate) fn usable_names(names: &List, at: &str, violations: &mut Violations) {
    for name in names.iter() {
        if name.is_empty() || has_blanks(name) {
            violations.report(at, format_args!("`{name}` is empty or has a blank"));
        }
    }
}

fn has_blanks(text: &str) -> bool {
    text.contains(|it: char| it.is_whitespace() || it.is_control())
}

fn known_types(types: &List, at: &str, violations: &mut Violations) {
    for kind in types.iter() {
        if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            violations.report(at, format_args!("`{kind}` is none of {}", TYPES.join(", ")));
        }
    }
}

fn known_algorithms(names: &List, at: &str, violations: &mut Violations) {
    let known = ALGORITHMS.map(|(name, _)| name);
    for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
        violations.report(at, format_args!("`{name}` is none of {}", known.join(", ")));
    }
}

/// Whether keys may be fetched from there: nobody on the way can put in others.
pub(crate) fn is_safe(url: &Url) -> bool {
    let named = url.username().is_empty() && url.password().is_none();
    named && (url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url)))
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use settings::parse;

    use super::TokenSettings;

    const GOOD: &str = r#"
        issuer = "https://login.example.com/realms/core"
        audience = "threadpilot"
        subject_key = "0123456789abcdef0123456789abcdef"
    "#;

    fn parsed(text: &str) -> Result<TokenSettings, Vec<String>> {
        parse("tokens", text).map_err(|error| {
            let violations = error.violations();
            violations.iter().map(ToString::to_string).collect()
        })
    }

    #[test]
    fn check_says_who_is_trusted() {
        assert_eq!(
            parsed("").unwrap().facts().1,
            "off: tokens.issuer is not set"
        );
        assert_eq!(
            parsed(GOOD).unwrap().facts().1,
            "of https://login.example.com/realms/core for threadpilot; types at+jwt; keys without \
             alg: RS256, ES256, EdDSA"
        );
    }

    #[test]
    fn an_empty_issuer_turns_tokens_off_whatever_else_is_set() {
        let off = GOOD.replace("https://login.example.com/realms/core", "");
        assert!(!parsed(&off).unwrap().are_on());
    }

    #[test]
    fn keys_are_fetched_over_tls_or_from_this_machine() {
        for good in [
            "https://a.example",
            "https://a.example:8443/x/",
            "http://127.0.0.1:8080",
            "http://[::1]:1/x",
            "http://localhost:1",
        ] {
            let text = GOOD.replace("https://login.example.com/realms/core", good);
            assert_eq!(parsed(&text).unwrap().issuer, good);
        }
        for bad in [
            "http://a.example",
            "http://127.0.0.1.a.example",
            "ftp://a.example",
            "a.example",
            "https://user@a.example",
            "https://a.example?x",
            "https://a.example#x",
            "https://a.example ",
        ] {
            let text = GOOD.replace("https://login.example.com/realms/core", bad);
            let told = format!("tokens.issuer: `{bad}` is no https URL");
            assert!(parsed(&text).unwrap_err()[0].starts_with(&told), "{bad}");
        }
    }

    #[test]
    fn settings_that_trust_nobody_or_too_many_are_refused_by_name_and_bound() {
        for (text, told) in [
            (
                &GOOD.replace("audience", "ca_certificate = \"\"\n#"),
                "tokens.audience: is not set, but tokens.issuer is",
            ),
            (
                &GOOD.replace("subject_key", "ca_certificate = \"\"\n#"),
                "tokens.subject_key: is not set",
            ),
            (
                &GOOD.replace("0123456789abcdef0", "0"),
                "tokens.subject_key: 16 characters are under 32",
            ),
            (
                &format!("{GOOD}\nalgorithms = \"RS256,HS256\""),
                "tokens.algorithms: `HS256` is none of RS256, PS256, ES256, EdDSA",
            ),
            (
                &format!("{GOOD}\nalgorithms = [\"none\"]"),
                "tokens.algorithms: `none` is none of RS256, PS256, ES256, EdDSA",
            ),
            (
                &format!("{GOOD}\ntypes = \"id+jwt\""),
                "tokens.types: `id+jwt` is none of at+jwt, JWT",
            ),
            (
                &format!("{GOOD}\ntypes = []"),
                "tokens.types: is empty; there are at+jwt, JWT",
            ),
            (
                &format!("{GOOD}\nscope_claims = []"),
                "tokens.scope_claims: is empty",
            ),
            (
                &GOOD.replace("\"threadpilot", "\"threadpilot "),
                "tokens.audience: `threadpilot ` has a blank",
            ),
            (
                &format!("{GOOD}\nscope_claims = [\"\"]"),
                "tokens.scope_claims: `` is empty or has a blank",
            ),
            (
                &format!("{GOOD}\nscopes.read = [\"a b\"]"),
                "tokens.scopes.read: `a b` is empty or has a blank",
            ),
            (
                &format!("{GOOD}\nca_certificate = \"/nowhere\""),
                "tokens.ca_certificate: /nowhere cannot be read",
            ),
        ] {
            let found = parsed(text).unwrap_err();
            assert!(found[0].starts_with(told), "{told}: {found:?}");
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }
}
