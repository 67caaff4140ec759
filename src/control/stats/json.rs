//! A JSON value whose objects keep the order of their keys.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// A JSON value.
pub(crate) enum Json {
    Number(i64),
    Real(f64),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(value) => serializer.serialize_i64(*value),
            Self::Real(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(values) => values.serialize(serializer),
            Self::Object(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// A pair whose value is text.
pub(crate) fn text(key: &str, value: &str) -> (String, Json) {
    (key.to_owned(), Json::Text(value.to_owned()))
}

/// A pair whose value is a cell. Cells are two's complement: a gauge read between two workers'
/// steps may be below zero for a moment.
pub(crate) fn number(key: &str, value: u64) -> (String, Json) {
    (key.to_owned(), Json::Number(value as i64))
}
