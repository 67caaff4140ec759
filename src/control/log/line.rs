//! One event as one line: `ts=… level=… msg=… key=value`, or the same as a JSON object.
//!
//! Bytes that come from clients, servers or files end up in values. So every control character is
//! escaped, in both formats: nobody outside can begin a line of ours or steer a terminal.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format of a line.
pub(crate) struct Line {
    /// A JSON object instead of `key=value` pairs.
    pub(crate) json: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut pairs = Pairs { out: &mut writer, json: self.json, first: true, result: Ok(()) };
        pairs.text("ts", &time);
        pairs.text("level", &metadata.level().as_str().to_ascii_lowercase());
        event.record(&mut pairs);
        pairs.text("target", metadata.target());
        pairs.result?;
        writer.write_str(if self.json { "}\n" } else { "\n" })
    }
}

/// Writes the pairs of a line, in the order in which they come.
struct Pairs<'a> {
    out: &'a mut dyn Write,
    json: bool,
    first: bool,
    result: fmt::Result,
}

impl Pairs<'_> {
    /// A pair whose value is text.
    fn text(&mut self, key: &str, value: &str) {
        let bare = !self.json && is_bare(value);
        self.pair(key, |out| if bare { out.write_str(value) } else { quote(out, value) });
    }

    /// A pair whose value needs no escape: a number or a boolean.
    fn plain(&mut self, key: &str, value: impl fmt::Display) {
        self.pair(key, |out| write!(out, "{value}"));
    }

    fn pair(&mut self, key: &str, value: impl FnOnce(&mut dyn Write) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.key(key).and_then(|()| value(self.out));
        }
    }

    fn key(&mut self, key: &str) -> fmt::Result {
        let key = if key == "message" { "msg" } else { key };
        let first = std::mem::replace(&mut self.first, false);
        match (self.json, first) {
            (true, true) => write!(self.out, "{{\"{key}\":"),
            (true, false) => write!(self.out, ",\"{key}\":"),
            (false, true) => write!(self.out, "{key}="),
            (false, false) => write!(self.out, " {key}="),
        }
    }
}

impl Visit for Pairs<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field.name(), value);
    }
}

/// Whether a logfmt value may stand without quotes.
fn is_bare(value: &str) -> bool {
    !value.is_empty()
        && value.chars().all(|it| !is_unsafe(it) && !matches!(it, ' ' | '"' | '=' | '\\'))
}

/// Whether a character must not reach a line as it is: controls (C0, DEL, C1), line separators
/// that are none, and the marks that make a terminal show text in another order than it is in.
fn is_unsafe(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The value in quotes, escaped as JSON (RFC 8259 §7) has it; all escapes are of the basic plane.
fn quote(out: &mut dyn Write, value: &str) -> fmt::Result {
    out.write_char('"')?;
    for it in value.chars() {
        match it {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            it if is_unsafe(it) => write!(out, "\\u{:04x}", u32::from(it))?,
            it => out.write_char(it)?,
        }
    }
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use crate::control::log::line::{Pairs, is_unsafe};

    fn pairs(json: bool, write: impl FnOnce(&mut Pairs<'_>)) -> String {
        let mut text = String::new();
        let mut pairs = Pairs { out: &mut text, json, first: true, result: Ok(()) };
        write(&mut pairs);
        pairs.result.unwrap();
        text
    }

    #[test]
    fn logfmt_quotes_only_where_it_must() {
        let line = pairs(false, |pairs| {
            pairs.text("message", "ready to serve");
            pairs.text("node", "10.0.0.1:11211");
            pairs.text("empty", "");
            pairs.text("hostile", "a=b\r\nlevel=error \u{1b}[31m");
            pairs.plain("workers", 2);
        });
        let hostile = r#"hostile="a=b\r\nlevel=error \u001b[31m""#;
        assert_eq!(
            line,
            format!("msg=\"ready to serve\" node=10.0.0.1:11211 empty=\"\" {hostile} workers=2")
        );
    }

    proptest! {
        #[test]
        fn any_text_stays_on_its_line_and_comes_back_from_json(value in any::<String>()) {
            let line = pairs(true, |pairs| pairs.text("key", &value)) + "}";
            prop_assert!(!line.chars().any(is_unsafe));
            let back: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(back["key"].as_str(), Some(value.as_str()));
            let line = pairs(false, |pairs| pairs.text("key", &value));
            prop_assert!(!line.chars().any(is_unsafe));
        }
    }
}
