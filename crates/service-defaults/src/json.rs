//! JSON objects that are written member by member: a line of the log, and a problem document.
//!
//! Most of their texts are plain, and are copied as they are, which takes a fraction of what serde
//! takes to look at each byte.

use serde::Serialize;

/// Bytes that most objects have room in.
const USUAL_BYTES: usize = 512;

/// An object, as far as it is written.
pub(crate) struct Object(Vec<u8>);

impl Object {
    pub(crate) fn new() -> Self {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        bytes.push(b'{');
        Self(bytes)
    }

    /// Adds a value that always has a form in JSON.
    pub(crate) fn member(&mut self, name: &str, value: &impl Serialize) {
        self.begin(name);
        self.value(value);
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.begin(name);
        self.string(text);
    }

    /// The whole object.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    fn begin(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.string(name);
        self.0.push(b':');
    }

    fn string(&mut self, text: &str) {
        let is_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        // Without an early end, so that the compiler looks at many bytes at once.
        if text.bytes().fold(false, |any, byte| any | is_escaped(byte)) {
            self.value(&text);
            return;
        }
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
    }

    fn value(&mut self, value: &impl Serialize) {
        // Fails for no value that has a form in JSON.
        let _ = serde_json::to_writer(&mut self.0, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::Object;

    #[test]
    fn every_text_is_written_as_serde_writes_it() {
        let mut texts: Vec<String> = (0..=0x2029)
            .filter_map(char::from_u32)
            .map(String::from)
            .collect();
        texts.extend(
            [
                "",
                "plain",
                "line\nbreak \"quote\" \\ \u{1b}[31m",
                "\u{1f600}",
            ]
            .map(String::from),
        );
        for text in texts {
            let mut object = Object::new();
            object.text("text", &text);
            object.member("number", &1.5);
            object.text(&text, "value");
            let expected = [
                r#"{"text":"#,
                &Value::from(text.as_str()).to_string(),
                r#","number":1.5,"#,
                &Value::from(text.as_str()).to_string(),
                r#":"value"}"#,
            ];
            assert_eq!(String::from_utf8(object.end()).unwrap(), expected.concat());
        }
    }
}
