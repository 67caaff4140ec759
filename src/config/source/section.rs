//! A mapping whose keys are taken one by one; what nobody took is unknown.
//!
//! The keys that were asked for are the keys that exist: there is no second list to keep in step,
//! and the nearest of them is offered for a misspelt one.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::time::Duration;

use crate::config::source::report::{Position, Reason, Report};
use crate::config::source::units;
use crate::config::source::yaml::{Content, Node};

/// A mapping of the file.
#[derive(Debug)]
pub(in crate::config) struct Section<'a> {
    path: String,
    at: Position,
    report: &'a Report,
    entries: Vec<Entry<'a>>,
    asked: RefCell<Vec<&'static str>>,
}

#[derive(Debug)]
struct Entry<'a> {
    key: &'a str,
    at: Position,
    node: &'a Node,
    taken: Cell<bool>,
}

/// The value of a key.
#[derive(Clone, Debug)]
pub(in crate::config) struct Value<'a> {
    pub(in crate::config) path: String,
    /// The last part of the path.
    pub(in crate::config) key: &'a str,
    pub(in crate::config) node: &'a Node,
    report: &'a Report,
}

impl<'a> Section<'a> {
    /// Opens a mapping; of duplicate keys the first stands and the others are reported. `None`
    /// after a report if the value is no mapping.
    pub(in crate::config) fn open(value: &Value<'a>) -> Option<Self> {
        let Content::Map(map) = &value.node.content else {
            value.refuse("must be a mapping of keys to values");
            return None;
        };
        let mut entries: Vec<Entry<'a>> = Vec::with_capacity(map.len());
        for (key_node, node) in map {
            let key = if let Content::Text(key) = &key_node.content { key.as_str() } else { "" };
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let why = format!("directive \"{key}\" is a duplicate");
                let reason =
                    Reason::from(why).or(format!("the first is in line {}", first.at.line));
                value.report.refuse(key_node.at, &join(&value.path, key), reason);
                continue;
            }
            entries.push(Entry { key, at: key_node.at, node, taken: Cell::new(false) });
        }
        let (path, at) = (value.path.clone(), value.node.at);
        Some(Self { path, at, report: value.report, entries, asked: RefCell::default() })
    }

    /// Takes a key.
    pub(in crate::config) fn take(&self, key: &'static str) -> Option<Value<'a>> {
        self.asked.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        entry.taken.set(true);
        Some(self.value(entry))
    }

    /// Takes a key that must be there, which is reported if it is not.
    pub(in crate::config) fn required(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.take(key);
        if value.is_none() {
            self.refuse(format!("directive \"{key}:\" is missing"));
        }
        value
    }

    /// True if the key stands here, taken or not.
    pub(in crate::config) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Takes every key, for mappings whose keys are names.
    pub(in crate::config) fn take_all(&self) -> Vec<Value<'a>> {
        self.entries.iter().for_each(|entry| entry.taken.set(true));
        self.entries.iter().map(|entry| self.value(entry)).collect()
    }

    fn value(&self, entry: &Entry<'a>) -> Value<'a> {
        let path = join(&self.path, entry.key);
        Value { path, key: entry.key, node: entry.node, report: self.report }
    }

    /// Takes a key's text and reads it; `None` if it is absent or, after a report, refused.
    pub(in crate::config) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        self.take(key)?.parsed(parse)
    }

    /// Takes `true` or `false`.
    pub(in crate::config) fn flag(&self, key: &'static str) -> Option<bool> {
        self.parsed(key, |text| text.parse().map_err(|_| "is not \"true\" or \"false\"".into()))
    }

    /// Takes a number of at least `min`.
    pub(in crate::config) fn number(&self, key: &'static str, min: u32) -> Option<u32> {
        self.parsed(key, |text| number(text, min))
    }

    /// Takes a duration.
    pub(in crate::config) fn duration(&self, key: &'static str) -> Option<Duration> {
        self.parsed(key, units::duration)
    }

    /// Takes a size in bytes of at least 1.
    pub(in crate::config) fn size(&self, key: &'static str) -> Option<u64> {
        self.parsed(key, |text| match units::size(text)? {
            0 => Err("must be at least 1".into()),
            bytes => Ok(bytes),
        })
    }

    /// Takes one of the named values; `otherwise` continues the sentence for any other text.
    pub(in crate::config) fn choice<T: Copy>(
        &self,
        key: &'static str,
        names: &[(&str, T)],
        otherwise: &str,
    ) -> Option<T> {
        self.parsed(key, |text| choose(text, names, otherwise))
    }

    /// Reports something about the section as a whole.
    pub(in crate::config) fn refuse(&self, reason: impl Into<Reason>) {
        self.report.refuse(self.at, &self.path, reason);
    }

    /// Warns about a key, at its value if it was written.
    pub(in crate::config) fn warn(&self, key: &str, text: &str) {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let at = entry.map_or(self.at, |entry| entry.node.at);
        self.report.warn(at, &join(&self.path, key), text);
    }

    /// Reports every key that nobody took.
    pub(in crate::config) fn close(self) {
        for entry in self.entries.iter().filter(|entry| !entry.taken.get()) {
            let mut reason = Reason::from(format!("directive \"{}\" is unknown", entry.key));
            if let Some(near) = nearest(entry.key, &self.asked.borrow()) {
                reason = reason.or(format!("did you mean \"{near}\"?"));
            }
            self.report.refuse(entry.at, &join(&self.path, entry.key), reason);
        }
    }
}

impl<'a> Value<'a> {
    /// The document itself.
    pub(in crate::config) fn root(node: &'a Node, report: &'a Report) -> Self {
        Self { path: String::new(), key: "", node, report }
    }

    /// The scalar; `None` after a report if it is no scalar or empty.
    pub(in crate::config) fn text(&self) -> Option<&'a str> {
        let reason: Reason = match &self.node.content {
            Content::Text(text) if !text.is_empty() => return Some(text),
            Content::Text(_) | Content::Empty => "has no value".into(),
            Content::List(_) => "must be one value, not a list".into(),
            Content::Map(_) => Reason::from("must be one value, not a mapping")
                .or("put text with brackets or braces in quotes"),
        };
        self.refuse(reason);
        None
    }

    /// The items of a list, each with this path; `None` after a report if it is no list.
    pub(in crate::config) fn items(&self) -> Option<Vec<Self>> {
        let Content::List(items) = &self.node.content else {
            self.refuse(Reason::from("must be a list").or("write one \"- entry\" in each line"));
            return None;
        };
        Some(items.iter().map(|node| Self { node, ..self.clone() }).collect())
    }

    /// Reads the scalar; a refusal is reported with the value in front.
    pub(in crate::config) fn parsed<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let text = self.text()?;
        parse(text)
            .map_err(|Reason { why, fix }| {
                let why = format!("directive \"{}\" {why} (found {text:?})", self.key);
                self.refuse(Reason { why, fix });
            })
            .ok()
    }

    /// Warns about the value.
    pub(in crate::config) fn warn(&self, text: &str) {
        self.report.warn(self.node.at, &self.path, text);
    }

    /// Reports the value.
    pub(in crate::config) fn refuse(&self, reason: impl Into<Reason>) {
        self.report.refuse(self.node.at, &self.path, reason);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Digits only, as twemproxy reads numbers, and at most its `int`.
fn number(text: &str, min: u32) -> Result<u32, Reason> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("is not a number".into());
    }
    match text.parse::<u32>() {
        Ok(number) if number < min => Err(Reason::from(format!("must be at least {min}"))),
        Ok(number) if i32::try_from(number).is_ok() => Ok(number),
        _ => Err(Reason::from(format!("is too large, the maximum is {}", i32::MAX))),
    }
}

fn choose<T: Copy>(text: &str, names: &[(&str, T)], otherwise: &str) -> Result<T, Reason> {
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let fix = nearest(text, &names).map_or_else(
        || format!("one of: {}", names.join(", ")),
        |near| format!("did you mean \"{near}\"?"),
    );
    Err(Reason::from(otherwise).or(fix))
}

/// Longer than any name there is.
const NAME_BYTES_MAX: usize = 64;

/// The name that a slip of the finger could have turned into `text`.
fn nearest<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    if text.len() > NAME_BYTES_MAX {
        return None;
    }
    let slips = (text.chars().count() / 3).clamp(1, 3);
    // Of names that are as near, the one that begins alike: slips come late in a word.
    let alike = |name: &str| text.chars().zip(name.chars()).take_while(|(a, b)| a == b).count();
    let near = names.iter().min_by_key(|name| (distance(text, name), Reverse(alike(name))))?;
    (distance(text, near) <= slips).then_some(*near)
}

/// Levenshtein's distance, counted row by row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_slips() {
        for (a, b, slips) in
            [("", "", 0), ("timeot", "timeout", 1), ("abc", "", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), slips, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_name_is_offered() {
        assert_eq!(nearest("servrs", &["listen", "servers"]), Some("servers"));
        assert_eq!(nearest("colour", &["listen", "servers"]), None);
    }

    #[test]
    fn numbers_are_digits_and_fit_an_int() {
        assert_eq!(number("0512", 0), Ok(512));
        for text in ["-1", "1.0", " 1", "0x1", "2147483648", "99999999999999"] {
            number(text, 0).unwrap_err();
        }
        number("0", 1).unwrap_err();
    }
}
