//! YAML text in, a tree of positioned text out. The only home of the YAML crate.
//!
//! nutcracker.yml knows no types: `redis_auth: 007`, `hash: null` and `redis: true` are all text. So
//! a plain scalar that the YAML crate took for a number, a truth value or null is read again from
//! the source text, and every scalar of the tree is text. Duplicate keys stay in the tree, so that
//! they can be reported together with everything else.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use serde_saphyr::{
    DuplicateKeyPolicy, Error, Location, MergeKeyPolicy, NonFiniteFloatPolicy, Options, Spanned,
};

use crate::config::source::report::{Position, Problem};

/// Nesting of a document: the deepest setting is at 4; the rest is room for being wrong.
const DEPTH_MAX: usize = 16;
/// Events that aliases may repeat: far above any honest file, and soon reached by an alias bomb.
const ALIAS_EVENTS_MAX: usize = 100_000;

/// One value of the file and where it stands.
#[derive(Clone, Debug)]
pub(in crate::config) struct Node {
    /// First character of the value.
    pub(in crate::config) at: Position,
    /// The value.
    pub(in crate::config) content: Content,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(in crate::config) enum Content {
    /// Nothing was written.
    Empty,
    /// A scalar, as written, without quotes.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in file order, duplicates included.
    Map(Vec<(Node, Node)>),
}

/// Reads one document.
///
/// # Errors
/// The first place where the text is not YAML, holds more than one document, or is nested or
/// repeated beyond the budget.
pub(in crate::config) fn read(text: &str) -> Result<Node, Problem> {
    let tree = |duplicates| -> Result<Node, Error> {
        let root = serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options(duplicates))?;
        Ok(node(root, text))
    };
    tree(DuplicateKeyPolicy::Error)
        .or_else(|error| match &error {
            // Read again without the crate's own check, which stops at the first duplicate. Beside
            // keys that look like numbers the crate then drops duplicates: its check stands.
            Error::DuplicateMappingKey { .. } => {
                tree(DuplicateKeyPolicy::LastWins).ok().filter(has_duplicates).ok_or(error)
            }
            _ => Err(error),
        })
        .map_err(|error| problem(&error))
}

fn has_duplicates(node: &Node) -> bool {
    match &node.content {
        Content::Empty | Content::Text(_) => false,
        Content::List(items) => items.iter().any(has_duplicates),
        Content::Map(entries) => {
            let mut seen = HashSet::new();
            entries.iter().any(|(key, value)| {
                let Content::Text(key) = &key.content else { return false };
                !seen.insert(key) || has_duplicates(value)
            })
        }
    }
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIAS_EVENTS_MAX,
        },
        duplicate_keys: duplicate_keys,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

/// A value as the crate hands it out.
enum Raw {
    /// A plain scalar of some type: its text is in the source.
    Typed,
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<Raw>>()? {
            if !matches!(key.value, Raw::Typed | Raw::Text(_)) {
                return Err(A::Error::custom("a key must be text"));
            }
            map.push((key, entries.next_value()?));
        }
        Ok(Raw::Map(map))
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(RawVisitor)
    }
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let content = match raw.value {
        Raw::Typed => typed(raw.defined, text),
        Raw::Text(text) => Content::Text(text),
        Raw::List(items) => Content::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => Content::Map(
            entries.into_iter().map(|(key, value)| (node(key, text), node(value, text))).collect(),
        ),
    };
    Node { at: position(raw.referenced), content }
}

/// The text of a plain scalar that the crate took for something else.
fn typed(location: Location, text: &str) -> Content {
    let span = location.span();
    let slice = span.byte_offset().zip(span.byte_len()).and_then(|(offset, len)| {
        let start = usize::try_from(offset).ok()?;
        text.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    });
    match slice.map(str::trim) {
        None | Some("") => Content::Empty,
        Some(scalar) => Content::Text(scalar.to_owned()),
    }
}

fn position(location: Location) -> Position {
    Position { line: location.line(), column: location.column() }
}

fn problem(error: &Error) -> Problem {
    let reason = match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("directive \"{key}\" is a duplicate")
        }
        other => {
            // The crate ends its message with its own rendering of the position.
            let text = other.to_string();
            text.lines()
                .next()
                .and_then(|line| line.split(" at line ").next())
                .map_or_else(|| "is not YAML".to_owned(), str::to_owned)
        }
    };
    Problem { at: error.location().map(position), path: String::new(), reason, fix: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Vec<(String, String, Position)> {
        let Content::Map(entries) = read(text).unwrap().content else { panic!("no map") };
        let flat = |node: Node| match node.content {
            Content::Text(text) => text,
            other => format!("{other:?}"),
        };
        entries.into_iter().map(|(k, v)| (flat(k), flat(v.clone()), v.at)).collect()
    }

    fn values(text: &str) -> Vec<String> {
        map(text).into_iter().map(|(_, value, _)| value).collect()
    }

    #[test]
    fn every_plain_scalar_is_text_as_written() {
        let text = "a: 007\nb: true\nc: 1e5\nd: null\ne: ~\nf: 0x1F\ng: -3\nh: .inf\ni: yes\n\
                    j: 190:20:30\nk: 12345678901234567890123\nl: 1_000\nm: 1e999\n";
        let want =
            "007 true 1e5 null ~ 0x1F -3 .inf yes 190:20:30 12345678901234567890123 1_000 1e999";
        assert_eq!(values(text), want.split(' ').collect::<Vec<_>>());
    }

    #[test]
    fn quotes_comments_and_spaces_are_not_part_of_a_value() {
        assert_eq!(values("a: \"12 \"  # x\nb: 12   # y\nc: '{}'\n"), ["12 ", "12", "{}"]);
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_shift_nothing() {
        assert_eq!(
            values("\u{feff}é: 12\r\nb: true\r\nc: 1 # é\r\nd: 2\r\n"),
            ["12", "true", "1", "2"]
        );
    }

    #[test]
    fn keys_are_text_too_and_values_know_their_place() {
        let at = Position { line: 2, column: 7 };
        assert_eq!(map("# c\n  1: 2\n")[0].0, "1");
        assert_eq!(map("é: 1\nab:   12\n")[1].2, at);
    }

    #[test]
    fn nothing_written_is_empty_but_quotes_are_not() {
        assert_eq!(values("a:\nb: ''\n"), ["Empty", ""]);
        assert!(matches!(read("").unwrap().content, Content::Empty));
    }

    #[test]
    fn an_alias_stands_where_it_is_used_and_says_what_it_names() {
        let (_, value, at) = map("a: &x 010\nb: *x\n").remove(1);
        assert_eq!((value.as_str(), at), ("010", Position { line: 2, column: 4 }));
    }

    #[test]
    fn duplicates_are_all_kept() {
        assert_eq!(values("a: 1\na: 2\nb: 3\na: 4\n"), ["1", "2", "3", "4"]);
    }

    #[test]
    fn what_is_not_one_document_of_yaml_is_refused_with_its_place() {
        for (text, line) in [("a: [1\n", 1), ("a: 1\n\tb: 2\n", 1), ("a: 1\n---\nb: 2\n", 2)] {
            let problem = read(text).unwrap_err();
            assert!(problem.at.unwrap().line >= line, "{problem:?}");
            assert!(!problem.reason.is_empty());
        }
        let deep = "[".repeat(1000);
        read(&deep).unwrap_err();
        read("? [a]\n: 1\n").unwrap_err();
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let alias = format!("*a{}, ", i - 1).repeat(10);
            text.push_str(&format!("a{i}: &a{i} [{alias}]\n"));
        }
        read(&text).unwrap_err();
    }
}
