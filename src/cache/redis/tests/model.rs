//! Random commands, beside a map.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};

use super::{Place, VALUE_MAX};
use crate::cache::redis::Session;

/// What Redis is, written down once more: a map, and no thought of speed.
#[derive(Default)]
struct Model {
    items: BTreeMap<String, (Vec<u8>, Option<u64>)>,
    now: u64,
}

const KEYS: [&str; 4] = ["a", "b", "c", "{long key with spaces}"];

/// A request that the model understands.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Get(&'static str),
    Set(&'static str, Vec<u8>, Option<u64>),
    SetNx(&'static str, Vec<u8>),
    SetKeep(&'static str, Vec<u8>),
    Append(&'static str, Vec<u8>),
    SetRange(&'static str, usize, Vec<u8>),
    IncrBy(&'static str, i64),
    Del(&'static str),
    Expire(&'static str, i64),
    Persist(&'static str),
    Ttl(&'static str),
    Rename(&'static str, &'static str),
    Copy(&'static str, &'static str),
    MSetNx(&'static str, &'static str, Vec<u8>),
    Keys,
}

impl Step {
    fn words(&self) -> Vec<Vec<u8>> {
        let text = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let with = |words: &[&str], value: &Vec<u8>| {
            let mut words: Vec<Vec<u8>> = text(words);
            words.push(value.clone());
            words
        };
        match self {
            Self::Pass(_) => Vec::new(),
            Self::Get(key) => text(&["GET", key]),
            Self::Set(key, value, None) => with(&["SET", key], value),
            Self::Set(key, value, Some(millis)) => {
                with(&["PSETEX", key, &millis.to_string()], value)
            }
            Self::SetNx(key, value) => with(&["SETNX", key], value),
            Self::SetKeep(key, value) => {
                let mut words = with(&["SET", key], value);
                words.push(b"KEEPTTL".to_vec());
                words
            }
            Self::Append(key, value) => with(&["APPEND", key], value),
            Self::SetRange(key, at, value) => with(&["SETRANGE", key, &at.to_string()], value),
            Self::IncrBy(key, by) => text(&["INCRBY", key, &by.to_string()]),
            Self::Del(key) => text(&["DEL", key]),
            Self::Expire(key, millis) => text(&["PEXPIRE", key, &millis.to_string()]),
            Self::Persist(key) => text(&["PERSIST", key]),
            Self::Ttl(key) => text(&["PTTL", key]),
            Self::Rename(from, to) => text(&["RENAME", from, to]),
            Self::Copy(from, to) => text(&["COPY", from, to]),
            Self::MSetNx(one, two, value) => {
                let mut words = with(&["MSETNX", one], value);
                words.extend([two.as_bytes().to_vec(), value.clone()]);
                words
            }
            Self::Keys => text(&["KEYS", "*"]),
        }
    }
}

impl Model {
    fn alive(&mut self) -> &mut BTreeMap<String, (Vec<u8>, Option<u64>)> {
        let now = self.now;
        self.items.retain(|_, (_, expiry)| expiry.is_none_or(|at| at > now));
        &mut self.items
    }

    /// The reply to a step.
    fn answer(&mut self, step: &Step) -> String {
        if let Step::Pass(millis) = step {
            self.now += millis;
        }
        match step {
            Step::Append(..) | Step::SetRange(..) | Step::IncrBy(..) => self.change(step.clone()),
            Step::Rename(..) | Step::Copy(..) | Step::MSetNx(..) => self.copy(step.clone()),
            _ => self.set(step.clone()),
        }
    }

    fn set(&mut self, step: Step) -> String {
        let now = self.now;
        let items = self.alive();
        match step {
            Step::Get(key) => items.get(key).map_or_else(|| "$-1\r\n".to_owned(), |(v, _)| bulk(v)),
            Step::Set(key, value, millis) => {
                items.insert(key.to_owned(), (value, millis.map(|millis| now + millis)));
                "+OK\r\n".to_owned()
            }
            Step::SetNx(key, value) => {
                let free = !items.contains_key(key);
                items.entry(key.to_owned()).or_insert((value, None));
                whether(free)
            }
            Step::SetKeep(key, value) => {
                items.entry(key.to_owned()).or_default().0 = value;
                "+OK\r\n".to_owned()
            }
            Step::Del(key) => whether(items.remove(key).is_some()),
            Step::Expire(key, millis) => {
                let found = items.contains_key(key);
                match u64::try_from(millis) {
                    Ok(millis @ 1..) => {
                        items.entry(key.to_owned()).and_modify(|item| item.1 = Some(now + millis));
                    }
                    _ => drop(items.remove(key)),
                }
                whether(found)
            }
            Step::Persist(key) => {
                whether(items.get_mut(key).is_some_and(|item| item.1.take().is_some()))
            }
            Step::Ttl(key) => match items.get(key) {
                None => ":-2\r\n".to_owned(),
                Some((_, None)) => ":-1\r\n".to_owned(),
                Some((_, Some(at))) => format!(":{}\r\n", at - now),
            },
            Step::Keys => {
                let keys: Vec<String> = items.keys().map(|key| bulk(key.as_bytes())).collect();
                format!("*{}\r\n{}", keys.len(), keys.concat())
            }
            _ => String::new(),
        }
    }

    fn change(&mut self, step: Step) -> String {
        let items = self.alive();
        match step {
            Step::Append(key, value) => {
                let old = &mut items.entry(key.to_owned()).or_default().0;
                if old.len() + value.len() > VALUE_MAX {
                    return TOO_LONG.to_owned();
                }
                old.extend(value);
                format!(":{}\r\n", old.len())
            }
            Step::SetRange(key, at, value) => {
                let mut old = items.get(key).map(|item| item.0.clone()).unwrap_or_default();
                if value.is_empty() {
                    return format!(":{}\r\n", old.len());
                }
                if at + value.len() > VALUE_MAX {
                    return TOO_LONG.to_owned();
                }
                old.resize(old.len().max(at + value.len()), 0);
                old.splice(at..at + value.len(), value);
                let len = old.len();
                items.entry(key.to_owned()).or_default().0 = old;
                format!(":{len}\r\n")
            }
            Step::IncrBy(key, by) => {
                let old = items.get(key).map_or(Some(0), |(value, _)| {
                    let text = std::str::from_utf8(value).ok()?;
                    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
                });
                let Some(old) = old else { return NOT_INTEGER.to_owned() };
                let Some(new) = old.checked_add(by) else {
                    return "-ERR increment or decrement would overflow\r\n".to_owned();
                };
                items.entry(key.to_owned()).or_default().0 = new.to_string().into_bytes();
                format!(":{new}\r\n")
            }
            _ => String::new(),
        }
    }

    fn copy(&mut self, step: Step) -> String {
        let items = self.alive();
        match step {
            Step::Rename(from, to) => {
                let Some(item) = items.remove(from) else {
                    return "-ERR no such key\r\n".to_owned();
                };
                items.insert(to.to_owned(), item);
                "+OK\r\n".to_owned()
            }
            Step::Copy(from, to) if from == to => {
                "-ERR source and destination objects are the same\r\n".to_owned()
            }
            Step::Copy(from, to) => {
                let item = items.get(from).cloned().filter(|_| !items.contains_key(to));
                let done = item.is_some();
                items.extend(item.map(|item| (to.to_owned(), item)));
                whether(done)
            }
            Step::MSetNx(one, two, value) => {
                let free = !items.contains_key(one) && !items.contains_key(two);
                if free {
                    items.insert(one.to_owned(), (value.clone(), None));
                    items.insert(two.to_owned(), (value, None));
                }
                whether(free)
            }
            _ => String::new(),
        }
    }
}

fn whether(truth: bool) -> String {
    format!(":{}\r\n", i32::from(truth))
}

pub(super) const TOO_LONG: &str =
    "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

fn bulk(value: &[u8]) -> String {
    format!("${}\r\n{}\r\n", value.len(), String::from_utf8_lossy(value))
}

/// The keys of a reply to KEYS in order.
fn sorted(reply: &str) -> String {
    let mut lines = reply.split("\r\n$");
    let head = lines.next().unwrap().trim_end_matches("\r\n").to_owned();
    let mut keys: Vec<&str> = lines.map(|key| key.trim_end_matches("\r\n")).collect();
    keys.sort_by_key(|key| key.split("\r\n").nth(1));
    keys.iter().fold(head, |text, key| text + "\r\n$" + key) + "\r\n"
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0..KEYS.len()).prop_map(|at| KEYS[at]);
    let value = || {
        prop_oneof![
            any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            (0i64..50).prop_map(|number| number.to_string().into_bytes()),
            vec(b'a'..b'f', 0..20),
            Just(vec![b'x'; 4000]),
        ]
    };
    prop_oneof![
        2 => (0u64..3000).prop_map(Step::Pass),
        3 => key().prop_map(Step::Get),
        3 => (key(), value(), proptest::option::of(1u64..4000))
            .prop_map(|(key, value, millis)| Step::Set(key, value, millis)),
        1 => (key(), value()).prop_map(|(key, value)| Step::SetNx(key, value)),
        1 => (key(), value()).prop_map(|(key, value)| Step::SetKeep(key, value)),
        2 => (key(), value()).prop_map(|(key, value)| Step::Append(key, value)),
        1 => (key(), 0usize..9990, value()).prop_map(|(key, at, value)| Step::SetRange(key, at, value)),
        2 => (key(), prop_oneof![any::<i64>(), -5i64..5]).prop_map(|(key, by)| Step::IncrBy(key, by)),
        1 => key().prop_map(Step::Del),
        2 => (key(), -10i64..3000).prop_map(|(key, millis)| Step::Expire(key, millis)),
        1 => key().prop_map(Step::Persist),
        2 => key().prop_map(Step::Ttl),
        1 => (key(), key()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (key(), key()).prop_map(|(from, to)| Step::Copy(from, to)),
        1 => (key(), key(), value()).prop_map(|(one, two, value)| Step::MSetNx(one, two, value)),
        1 => Just(Step::Keys),
    ]
}

proptest! {
    #[test]
    fn any_commands_do_what_they_do_to_a_map(
        steps in vec(step(), 1..60),
        in_transactions in any::<bool>(),
    ) {
        let (mut place, mut model) = (Place::new(), Model::default());
        let mut session = Session::default();
        for step in &steps {
            let wanted = model.answer(step);
            if let Step::Pass(millis) = step {
                place.pass(*millis);
                continue;
            }
            let words = step.words();
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut got = if in_transactions {
                place.ask(&mut session, "MULTI");
                place.send(&mut session, &words);
                let all = place.ask(&mut session, "EXEC");
                all.strip_prefix("*1\r\n").unwrap().to_owned()
            } else {
                String::from_utf8_lossy(&place.send(&mut session, &words).0).into_owned()
            };
            if matches!(step, Step::Keys) {
                got = sorted(&got);
            }
            prop_assert_eq!(got, if matches!(step, Step::Keys) { sorted(&wanted) } else { wanted });
        }
    }
}
