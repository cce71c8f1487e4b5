use contracts::may_hold_personal_identity_number;
use ring::hmac::{HMAC_SHA256, Key, sign};
use settings::Secret;

/// Longest subject that is kept as it is: an event's actor has 100 characters.
const LONGEST: usize = 64;
/// Nibbles of the HMAC that a pseudonym keeps: 128 bits.
const NIBBLES: usize = 32;
/// What Auth0 puts behind the id of a client.
const CLIENT: &str = "@clients";

/// Subjects as logs and events may have them.
pub(crate) struct Subjects(Key);

impl Subjects {
    pub(crate) fn new(key: &Secret) -> Self {
        Self(Key::new(HMAC_SHA256, key.expose().as_bytes()))
    }

    /// A subject as it is, or a pseudonym of it where it may name a person: where it may hold a
    /// personal identity number or an e-mail address, or is anything but letters, digits and a few
    /// signs of ids. A pseudonym begins with `~`, which no subject does that is kept as it is.
    pub(crate) fn shown(&self, subject: &str) -> String {
        if is_an_id(subject) {
            return subject.to_owned();
        }
        let tag = sign(&self.0, subject.as_bytes());
        let nibbles = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
        // Letters only: digits might look like a personal identity number.
        let letters = nibbles.map(|nibble| char::from(b'a' + nibble));
        "~".chars().chain(letters.take(NIBBLES)).collect()
    }
}

fn is_an_id(subject: &str) -> bool {
    let of_an_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._:|/+=-".contains(&byte);
    let id = subject.strip_suffix(CLIENT).unwrap_or(subject);
    (1..=LONGEST).contains(&subject.len())
        && id.bytes().all(of_an_id)
        && !may_hold_personal_identity_number(subject)
}

#[cfg(test)]
mod tests {
    use contracts::may_hold_personal_identity_number;

    use super::Subjects;

    fn shown(subject: &str) -> String {
        Subjects::new(&"0123456789abcdef0123456789abcdef".into()).shown(subject)
    }

    #[test]
    fn an_id_is_shown_as_it_is() {
        for id in [
            "core-system",
            "service-account.billing",
            "auth0|5f7c8ec7c33c6c004bbafe82",
            "0193a3c6-5b8f-7a60-9d5c-0c3f5e7d2b11",
            "AbCdEf0123456789@clients",
        ] {
            assert_eq!(shown(id), id);
        }
    }

    #[test]
    fn what_may_name_a_person_becomes_a_pseudonym_without_a_digit() {
        let long = "x".repeat(65);
        for person in [
            "199001011234",
            "user:19900101-1234",
            "anna@example.com",
            "anna@localhost",
            "199001011234@clients",
            "Anna Andersson",
            "~aaaa",
            "åsa",
            "",
            &long,
        ] {
            let shown = shown(person);
            assert_eq!(shown.len(), 33, "{shown}");
            let letters = shown.strip_prefix('~').unwrap();
            assert!(letters.bytes().all(|it| it.is_ascii_lowercase()), "{shown}");
            assert!(!may_hold_personal_identity_number(&shown));
        }
        assert_ne!(shown("anna@example.com"), shown("bo@example.com"));
    }

    #[test]
    fn a_pseudonym_depends_on_the_key() {
        let other = Subjects::new(&"another-key-another-key-another-".into());
        let person = "anna@example.com";
        assert_eq!(shown(person), shown(person));
        assert_ne!(shown(person), other.shown(person));
    }
}
