use async_nats::ServerAddr;
use settings::{List, Secret, Violations, section};

section! {
    /// The section `[relay]`.
    pub struct RelaySettings {
        /// Servers that keep the stream, where the relay makes it.
        pub replicas: usize = 1, in 1..=5;
        /// NATS JetStream, to which the events are published as well; without a URL they are not.
        pub nats: NatsSettings;
    }
}

section! {
    /// A table such as `[relay.nats]`.
    pub struct NatsSettings checked by NatsSettings::contradictions {
        /// Servers of one NATS system, such as "nats://nats:4222" (tls:// demands TLS), as a list or
        /// separated by commas. Empty = none.
        pub url: List = [], where usable_urls;
        /// User on these servers; empty = none.
        pub user: String = "";
        /// The user's password.
        pub password: Secret = "";
        /// PEM file of certificates to trust for the servers; empty = the system's.
        pub ca_certificate: String = "";
        /// PEM file with the certificate that the servers know us by; empty = none. TLS is demanded
        /// then.
        pub tls_certificate: String = "";
        /// PEM file with its private key.
        pub tls_private_key: String = "";
    }
}

/// User and password have settings of their own, so that a URL may be shown.
fn usable_urls(urls: &List, at: &str, violations: &mut Violations) {
    for url in urls.iter() {
        let address = url.parse::<ServerAddr>().ok();
        let usable = address.filter(|it| ["nats", "tls"].contains(&it.scheme()));
        match usable {
            None => violations.report(at, "is no list of URLs such as nats://host:4222"),
            Some(address) if address.has_user_pass() || address.password().is_some() => {
                violations.report(
                    at,
                    "holds a user or a password: they have settings of their own",
                );
            }
            Some(_) => {}
        }
    }
}

impl RelaySettings {
    /// What `check` says of the relay of the service of this name.
    pub fn facts(&self, service: &str) -> (&'static str, String) {
        let said = if self.nats.is_set() {
            let (subjects, name) = (subjects(service), stream_name(service, "<log id>"));
            format!("{subjects} in the stream {name}")
        } else {
            "off: relay.nats.url is not set".to_owned()
        };
        ("relay.nats", said)
    }
}

impl NatsSettings {
    /// Whether a server is set.
    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }

    fn contradictions(&self, at: &str, violations: &mut Violations) {
        let mut report = |key, rule: &str| violations.report(&Violations::path(at, key), rule);
        let certificate = !self.tls_certificate.is_empty();
        if !self.is_set() && (certificate || !self.user.is_empty()) {
            report("url", "is not set, but who we are to its servers is");
        }
        if self.user.is_empty() != self.password.is_empty() {
            report("password", "and user are both set, or neither");
        }
        if certificate == self.tls_private_key.is_empty() {
            report(
                "tls_private_key",
                "and tls_certificate are both set, or neither",
            );
        }
        if self.password.is_placeholder() {
            violations.secret(&Violations::path(at, "password"), &self.password);
        }
    }
}

/// The name of the stream that has a service's log of this id.
pub(crate) fn stream_name(service: &str, log_id: impl std::fmt::Display) -> String {
    format!("threadpilot-{service}-{log_id}")
}

/// The subjects of all events of a service.
pub(crate) fn subjects(service: &str) -> String {
    format!("threadpilot.{service}.>")
}

#[cfg(test)]
mod tests {
    use settings::parse;

    use super::*;

    fn rules(text: &str) -> Vec<String> {
        let parsed = parse::<NatsSettings>("relay.nats", text);
        let violations = parsed.err().map(|it| it.violations()).unwrap_or_default();
        violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_a_server_nothing_is_published_and_with_one_it_is_said_where() {
        let off = parse::<RelaySettings>("relay", "").unwrap();
        assert_eq!(off.facts("vehicle").1, "off: relay.nats.url is not set");
        let on = r#"nats.url = "nats://a:4222,tls://b""#;
        let on = parse::<RelaySettings>("relay", on).unwrap();
        assert_eq!(on.nats.url.len(), 2);
        let said = "threadpilot.vehicle.> in the stream threadpilot-vehicle-<log id>";
        assert_eq!(on.facts("vehicle").1, said);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, rule) in [
            (
                r#"url = "http://a""#,
                "relay.nats.url: is no list of URLs such as nats://host:4222",
            ),
            (
                r#"url = "nats://me:secret@a""#,
                "relay.nats.url: holds a user or a password: they have settings of their own",
            ),
            (
                r#"url = "nats://token@a""#,
                "relay.nats.url: holds a user or a password: they have settings of their own",
            ),
            (
                "user = \"me\"\npassword = \"secret\"",
                "relay.nats.url: is not set, but who we are to its servers is",
            ),
            (
                "url = \"nats://a\"\nuser = \"me\"",
                "relay.nats.password: and user are both set, or neither",
            ),
            (
                "url = \"tls://a\"\ntls_certificate = \"a.pem\"",
                "relay.nats.tls_private_key: and tls_certificate are both set, or neither",
            ),
            (
                "url = \"nats://a\"\nuser = \"me\"\npassword = \"<password>\"",
                "relay.nats.password: still holds the template's placeholder; run ./init.sh",
            ),
        ] {
            assert_eq!(rules(text), [rule], "{text}");
        }
    }
}
