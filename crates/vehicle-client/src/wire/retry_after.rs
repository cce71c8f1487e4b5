use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};

/// No answer keeps us away for longer, however large its number.
pub(crate) const LONGEST: Duration = Duration::from_mins(1);

/// The `Retry-After` of an answer (RFC 9110, section 10.2.3): seconds or a date. A time that is
/// past means now; what cannot be read (negative, a fraction, words) counts as not sent.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 has is absurdly long, not unreadable.
        text.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or_default()
    };
    Some(after.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};

    use super::retry_after;

    fn read(text: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        retry_after(&headers, now).map(|after| after.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_read_and_capped() {
        assert_eq!(read("0"), Some(0));
        assert_eq!(read(" 7 "), Some(7));
        assert_eq!(read("86400"), Some(60));
        assert_eq!(read("99999999999999999999999"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(read("Sat, 06 Nov 2094 08:49:37 GMT"), Some(60));
    }

    #[test]
    fn what_cannot_be_read_counts_as_not_sent() {
        for text in ["", "-1", "1.5", "soon", "Sun, 99 Nov 1994"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
