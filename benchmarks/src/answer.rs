//! An answer of HTTP/1.1, out of the bytes of a connection.

use anyhow::Context;

/// An answer that says how long it is, as those of every candidate do.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    head: &'a str,
    pub(crate) body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The answer once it is whole.
    pub(crate) fn parse(bytes: &'a [u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&bytes[..end])?;
        let mut answer = Self {
            status: head.get(9..12).context("no status")?.parse()?,
            head,
            body: &[],
        };
        let length = answer.header("content-length").context("no length")?;
        let length: usize = length.parse()?;
        Ok(bytes[end + 4..].get(..length).map(|body| {
            answer.body = body;
            answer
        }))
    }

    pub(crate) fn header(&self, wanted: &str) -> Option<&'a str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    }

    pub(crate) fn closes(&self) -> bool {
        let connection = self.header("connection");
        connection.is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}
