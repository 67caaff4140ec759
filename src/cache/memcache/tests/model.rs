//! Random commands, beside a model of memcached.

use std::collections::{HashMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{option, prop_assert, prop_assert_eq, proptest};

use super::Client;

/// What the model knows of an item. Written as memcached's documents put it, apart from the code.
#[derive(Clone, Debug)]
struct Row {
    value: Vec<u8>,
    flags: u32,
    /// Milliseconds on the storage clock.
    dies: Option<u64>,
    cas: u64,
    fetched: bool,
    stale: bool,
    won: bool,
    read_at: u64,
}

#[derive(Default)]
struct Model {
    rows: HashMap<&'static str, Row>,
    now: u64,
    /// Stands for a version that the model cannot know: the next probe tells it.
    renewed: bool,
}

const KEYS: [&str; 3] = ["a", "b", "c"];

impl Model {
    fn dies(&self, exptime: i64) -> Option<u64> {
        match exptime {
            0 => None,
            ..0 => Some(self.now),
            more => Some(self.now + more as u64 * 1000),
        }
    }

    fn left(&self, row: &Row) -> Option<u64> {
        row.dies.map(|dies| (dies - self.now.min(dies)).div_ceil(1000))
    }

    fn t(&self, row: &Row) -> String {
        self.left(row).map_or_else(|| "-1".to_owned(), |left| left.to_string())
    }

    fn alive(&mut self, key: &'static str) -> Option<&mut Row> {
        let now = self.now;
        self.rows.retain(|_, row| row.dies.is_none_or(|dies| dies > now));
        self.rows.get_mut(key)
    }

    fn put(&mut self, key: &'static str, value: Vec<u8>, flags: u32, dies: Option<u64>) {
        self.renewed = true;
        let row = Row {
            value,
            flags,
            dies,
            cas: 0,
            fetched: false,
            stale: false,
            won: false,
            read_at: self.now / 1000,
        };
        self.rows.insert(key, row);
    }

    fn read(&mut self, key: &'static str) -> Option<Row> {
        let second = self.now / 1000;
        let row = self.alive(key)?;
        let seen = row.clone();
        row.fetched = true;
        row.read_at = second;
        Some(seen)
    }

    /// What the classic storage commands answer; meta ones by other words for the same.
    fn store(
        &mut self,
        (mode, key): (&str, &'static str),
        value: &[u8],
        (flags, exptime): (u32, i64),
        (compare, invalidate): (u64, bool),
    ) -> &'static str {
        let old = self.alive(key).cloned();
        let dies = self.dies(exptime);
        match (mode, old) {
            ("set", _) | ("add", None) | ("replace", Some(_)) => {
                self.put(key, value.to_vec(), flags, dies);
                "STORED"
            }
            ("cas", None) => "NOT_FOUND",
            ("cas", Some(old)) if compare == old.cas => {
                self.put(key, value.to_vec(), flags, dies);
                "STORED"
            }
            ("cas", Some(old)) if invalidate && compare > 0 && compare < old.cas => {
                self.put(key, value.to_vec(), flags, old.dies);
                let row = self.rows.get_mut(key).unwrap();
                (row.stale, row.won) = (true, old.won);
                "STORED"
            }
            ("append" | "prepend", Some(old)) if compare == 0 || compare == old.cas => {
                let both = if mode == "append" { [&old.value, value] } else { [value, &old.value] };
                self.put(key, both.concat(), old.flags, old.dies);
                "STORED"
            }
            ("append" | "prepend", Some(_)) | ("cas", Some(_)) => "EXISTS",
            _ => "NOT_STORED",
        }
    }

    /// The new number, or why there is none.
    fn add(
        &mut self,
        key: &'static str,
        up: bool,
        by: u64,
        compare: u64,
    ) -> Result<u64, &'static str> {
        let row = self.alive(key).ok_or("NOT_FOUND")?;
        let text = String::from_utf8(row.value.clone()).unwrap();
        if !text.is_empty() && compare != 0 && compare != row.cas {
            return Err("EXISTS");
        }
        let old: u64 =
            text.split(' ').next().unwrap_or_default().parse().map_err(|_| "NOT_NUMERIC")?;
        let new = if up { old.wrapping_add(by) } else { old.saturating_sub(by) };
        let grown = new.to_string().len() > text.len();
        let mut next = row.clone();
        next.value = format!("{new:<width$}", width = text.len()).into_bytes();
        self.put(key, next.value, next.flags, next.dies);
        let row = self.rows.get_mut(key).unwrap();
        if !grown {
            (row.fetched, row.stale, row.won) = (next.fetched, next.stale, next.won);
        }
        Ok(new)
    }

    fn mg(&mut self, key: &'static str, ask: &Mg) -> String {
        let seen = if ask.unseen { self.alive(key).cloned() } else { self.read(key) };
        let created = seen.is_none() && ask.vivify.is_some();
        let mut row = match (seen, ask.vivify) {
            (Some(row), _) => row,
            (None, Some(seconds)) => {
                let dies = self.dies(seconds);
                self.put(key, Vec::new(), 0, dies);
                self.rows[key].clone()
            }
            (None, None) if ask.quiet => return String::new(),
            (None, None) => return format!("EN k{key} Oq\r\n"),
        };
        // It stands before the flag that touches.
        let due = ask.recache > 0 && self.left(&row).is_some_and(|left| left < ask.recache as u64);
        if let Some(seconds) = ask.touch {
            row.dies = self.dies(seconds);
        }
        let won = created || (!row.won && (row.stale || due));
        let hit = u8::from(row.fetched);
        let t = self.t(&row);
        let mut line = format!("VA {} k{key} Oq s{0} h{hit} t{t}", row.value.len());
        for (set, flag) in [(row.won, " Z"), (row.stale, " X"), (won, " W")] {
            line += if set { flag } else { "" };
        }
        let kept = self.rows.get_mut(key).unwrap();
        (kept.dies, kept.won) = (row.dies, row.won || won);
        if created && !ask.unseen {
            kept.fetched = true;
        }
        format!("{line}\r\n{}\r\n", String::from_utf8(row.value).unwrap())
    }

    fn md(
        &mut self,
        key: &'static str,
        compare: Option<u64>,
        stale: bool,
        touch: Option<i64>,
    ) -> &'static str {
        let dies = touch.map(|seconds| self.dies(seconds));
        let Some(row) = self.alive(key) else { return "NF\r\n" };
        if compare.is_some_and(|compare| compare != row.cas) {
            return "EX\r\n";
        }
        if !stale {
            self.rows.remove(key);
            return "HD\r\n";
        }
        (row.stale, row.won, row.dies) = (true, false, dies.unwrap_or(row.dies));
        self.renewed = true;
        "HD\r\n"
    }
}

/// What a random mg asks for.
#[derive(Clone, Debug)]
struct Mg {
    unseen: bool,
    quiet: bool,
    vivify: Option<i64>,
    touch: Option<i64>,
    recache: i64,
}

/// A random command; `usize` chooses a key, the last number of some a version to compare with.
#[derive(Clone, Debug)]
enum Act {
    Get(Vec<usize>),
    Gat(usize, i64),
    Store(usize, usize, &'static str, (u32, i64), usize),
    Count(usize, bool, u64),
    Touch(usize, i64),
    Delete(usize),
    Flush(i64),
    Mg(usize, Mg),
    Ms(usize, usize, &'static str, (u32, i64), (usize, bool, bool)),
    Md(usize, usize, bool, bool, Option<i64>),
    Ma(usize, bool, u64, (usize, bool, Option<i64>)),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let key = || 0..KEYS.len();
    let secs = || prop_oneof![4 => Just(0i64), 1 => Just(-1), 4 => 1i64..20];
    let by = || prop_oneof![4 => 0u64..200, 1 => Just(u64::MAX)];
    let value = || {
        prop_oneof![
            Just("hi"),
            Just("5"),
            Just("99"),
            Just("10  "),
            Just(""),
            Just("18446744073709551615")
        ]
    };
    let mg = (any::<bool>(), any::<bool>(), option::of(secs()), option::of(secs()), -1i64..20);
    prop_oneof![
        vec(key(), 1..4).prop_map(Act::Get),
        (key(), secs()).prop_map(|(key, secs)| Act::Gat(key, secs)),
        (key(), 0usize..6, value(), (any::<u32>(), secs()), 0usize..4)
            .prop_map(|(key, mode, value, item, cas)| Act::Store(key, mode, value, item, cas)),
        (key(), any::<bool>(), by()).prop_map(|(key, up, by)| Act::Count(key, up, by)),
        (key(), secs()).prop_map(|(key, secs)| Act::Touch(key, secs)),
        key().prop_map(Act::Delete),
        (-1i64..3).prop_map(Act::Flush),
        (key(), mg).prop_map(|(key, (unseen, quiet, vivify, touch, recache))| {
            Act::Mg(key, Mg { unseen, quiet, vivify, touch, recache })
        }),
        (
            key(),
            0usize..6,
            value(),
            (any::<u32>(), secs()),
            (0usize..4, any::<bool>(), any::<bool>())
        )
            .prop_map(|(key, mode, value, item, more)| Act::Ms(key, mode, value, item, more)),
        (key(), 0usize..5, any::<bool>(), any::<bool>(), option::of(secs()))
            .prop_map(|(key, cas, stale, quiet, secs)| Act::Md(key, cas, stale, quiet, secs)),
        (key(), any::<bool>(), by(), (0usize..4, any::<bool>(), option::of(secs())))
            .prop_map(|(key, up, by, more)| Act::Ma(key, up, by, more)),
        (0u64..4_000).prop_map(Act::Pass),
    ]
}

/// The client's bytes for `act` and what the model has for an answer.
#[expect(clippy::too_many_lines, reason = "one arm for each command of the model")]
fn perform(model: &mut Model, act: &Act) -> (String, String) {
    const MODES: [&str; 6] = ["set", "add", "replace", "append", "prepend", "cas"];
    let version = |model: &mut Model, key: &'static str, which: usize| {
        let cas = model.alive(key).map_or(77, |row| row.cas);
        [0, cas, cas.saturating_sub(1), u64::MAX][which.min(3)]
    };
    match act {
        Act::Get(keys) => {
            let mut reply = String::new();
            let words: String = keys.iter().map(|key| format!(" {}", KEYS[*key])).collect();
            for key in keys {
                let Some(row) = model.read(KEYS[*key]) else { continue };
                let (len, text) = (row.value.len(), String::from_utf8(row.value).unwrap());
                reply += &format!("VALUE {} {} {len}\r\n{text}\r\n", KEYS[*key], row.flags);
            }
            (format!("get{words}\r\n"), reply + "END\r\n")
        }
        Act::Gat(key, secs) => {
            let (key, dies) = (KEYS[*key], model.dies(*secs));
            let mut reply = String::new();
            if let Some(row) = model.read(key) {
                let (len, text) = (row.value.len(), String::from_utf8(row.value).unwrap());
                reply = format!("VALUE {key} {} {len}\r\n{text}\r\n", row.flags);
                model.rows.get_mut(key).unwrap().dies = dies;
            }
            (format!("gat {secs} {key}\r\n"), reply + "END\r\n")
        }
        Act::Store(key, mode, value, item, which) => {
            let (key, mode) = (KEYS[*key], MODES[*mode]);
            let cas = if mode == "cas" { version(model, key, *which) } else { 0 };
            let word = if mode == "cas" { format!(" {cas}") } else { String::new() };
            let line =
                format!("{mode} {key} {} {} {}{word}\r\n{value}\r\n", item.0, item.1, value.len());
            let reply = model.store((mode, key), value.as_bytes(), *item, (cas, false));
            (line, format!("{reply}\r\n"))
        }
        Act::Count(key, up, by) => {
            let key = KEYS[*key];
            let reply = match model.add(key, *up, *by, 0) {
                Ok(number) => number.to_string(),
                Err("NOT_NUMERIC") => {
                    "CLIENT_ERROR cannot increment or decrement non-numeric value".to_owned()
                }
                Err(line) => line.to_owned(),
            };
            let name = if *up { "incr" } else { "decr" };
            (format!("{name} {key} {by}\r\n"), format!("{reply}\r\n"))
        }
        Act::Touch(key, secs) => {
            let (key, dies) = (KEYS[*key], model.dies(*secs));
            let found = model.read(key).is_some();
            if found {
                model.rows.get_mut(key).unwrap().dies = dies;
            }
            let reply = if found { "TOUCHED\r\n" } else { "NOT_FOUND\r\n" };
            (format!("touch {key} {secs}\r\n"), reply.to_owned())
        }
        Act::Delete(key) => {
            let found = model.alive(KEYS[*key]).is_some();
            model.rows.remove(KEYS[*key]);
            let reply = if found { "DELETED\r\n" } else { "NOT_FOUND\r\n" };
            (format!("delete {}\r\n", KEYS[*key]), reply.to_owned())
        }
        // A delayed flush would only be another clock.
        Act::Flush(delay) if *delay > 0 => ("verbosity 1\r\n".to_owned(), "OK\r\n".to_owned()),
        Act::Flush(delay) => {
            model.rows.clear();
            (format!("flush_all {delay}\r\n"), "OK\r\n".to_owned())
        }
        Act::Mg(key, ask) => {
            let key = KEYS[*key];
            let mut line = format!("mg {key} v k Oq R{}", ask.recache);
            for (flag, secs) in [("N", ask.vivify), ("T", ask.touch)] {
                line += &secs.map_or(String::new(), |secs| format!(" {flag}{secs}"));
            }
            // Told after the times have been changed.
            line += " s h t";
            line += if ask.unseen { " u" } else { "" };
            line += if ask.quiet { " q" } else { "" };
            (line + "\r\n", model.mg(key, &Mg { recache: ask.recache, ..ask.clone() }))
        }
        Act::Ms(key, mode, value, item, (which, invalidate, quiet)) => {
            let (key, name) = (KEYS[*key], MODES[*mode]);
            let cas = version(model, key, *which);
            let compares = name == "cas" || (*which > 0 && name.ends_with("pend"));
            let letter = ["S", "E", "R", "A", "P", "S"][*mode];
            let mut line = format!("ms {key} {} M{letter} F{} T{} k", value.len(), item.0, item.1);
            line += &if compares { format!(" C{cas}") } else { String::new() };
            line += if *invalidate { " I" } else { "" };
            line += if *quiet { " q" } else { "" };
            let cas = if compares { cas } else { 0 };
            let code = match model.store((name, key), value.as_bytes(), *item, (cas, *invalidate)) {
                "STORED" if *quiet => return (format!("{line}\r\n{value}\r\n"), String::new()),
                "STORED" => "HD",
                "EXISTS" => "EX",
                "NOT_FOUND" => "NF",
                _ => "NS",
            };
            (format!("{line}\r\n{value}\r\n"), format!("{code} k{key}\r\n"))
        }
        Act::Md(key, which, stale, quiet, secs) => {
            let key = KEYS[*key];
            let cas = (*which < 4).then(|| version(model, key, *which));
            let mut line = format!("md {key}");
            line += &cas.map_or(String::new(), |cas| format!(" C{cas}"));
            line += &secs.map_or(String::new(), |secs| format!(" T{secs}"));
            line += if *stale { " I" } else { "" };
            line += if *quiet { " q" } else { "" };
            let reply = model.md(key, cas, *stale, *secs);
            let hushed = *quiet && reply == "HD\r\n";
            (line + "\r\n", if hushed { "" } else { reply }.to_owned())
        }
        Act::Ma(key, up, by, (which, quiet, vivify)) => {
            let key = KEYS[*key];
            let cas = version(model, key, *which);
            let mode = if *up { "I" } else { "D" };
            let mut line = format!("ma {key} M{mode} D{by} C{cas} J{by} v");
            line += &vivify.map_or(String::new(), |secs| format!(" N{secs}"));
            line += if *quiet { " q" } else { "" };
            let reply = match (model.add(key, *up, *by, cas), vivify) {
                (Ok(_), _) if *quiet => String::new(),
                (Ok(number), _) => format!("VA {}\r\n{number}\r\n", number.to_string().len()),
                (Err("NOT_FOUND"), Some(secs)) => {
                    let dies = model.dies(*secs);
                    model.put(key, by.to_string().into_bytes(), 0, dies);
                    format!("VA {}\r\n{by}\r\n", by.to_string().len())
                }
                (Err("NOT_FOUND"), None) => "NF\r\n".to_owned(),
                (Err("EXISTS"), _) => "EX\r\n".to_owned(),
                (Err(_), _) => {
                    "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n".to_owned()
                }
            };
            (line + "\r\n", reply)
        }
        Act::Pass(_) => (String::new(), String::new()),
    }
}

/// Compares all that is known of every key, and tells the model the versions that are new.
fn probe(
    client: &mut Client,
    model: &mut Model,
    used: &mut HashSet<(&str, u64)>,
) -> Result<(), String> {
    for key in KEYS {
        let reply = client.ask(format!("mg {key} u v f h l t c\r\n"));
        let Some(row) = model.alive(key).cloned() else {
            if reply != "EN\r\n" {
                return Err(format!("{key} should be gone: {reply:?}"));
            }
            continue;
        };
        let cas = reply.split(" c").nth(1).and_then(|rest| rest.split([' ', '\r']).next());
        let cas: u64 =
            cas.and_then(|cas| cas.parse().ok()).ok_or_else(|| format!("{key}: {reply:?}"))?;
        let changed = row.cas != cas;
        // What has a version keeps it; what is new has one that it never had.
        if changed && !(model.renewed && used.insert((key, cas))) {
            return Err(format!("{key} has the version {cas}, not {}", row.cas));
        }
        model.rows.get_mut(key).unwrap().cas = cas;
        let (len, flags, hit) = (row.value.len(), row.flags, u8::from(row.fetched));
        let ago = model.now / 1000 - row.read_at;
        let text = String::from_utf8(row.value.clone()).unwrap();
        let t = model.t(&row);
        let mut line = format!("VA {len} f{flags} h{hit} l{ago} t{t} c{cas}");
        // The probe wins what is stale.
        let won = row.stale && !row.won;
        for (set, flag) in [(row.won, " Z"), (row.stale, " X"), (won, " W")] {
            line += if set { flag } else { "" };
        }
        model.rows.get_mut(key).unwrap().won |= won;
        let expected = format!("{line}\r\n{text}\r\n");
        if reply != expected {
            return Err(format!("{key}: {reply:?}, not {expected:?}"));
        }
    }
    model.renewed = false;
    Ok(())
}

proptest! {
    #[test]
    fn random_commands_do_as_the_model(acts in vec((act(), any::<bool>()), 1..60)) {
        let mut client = Client::new();
        let mut model = Model { now: client.now.time.millis(), ..Model::default() };
        let mut used = HashSet::new();
        for (act, probed) in acts {
            if let Act::Pass(millis) = act {
                client.pass(millis);
                model.now += millis;
            }
            let (line, expected) = perform(&mut model, &act);
            prop_assert_eq!(client.ask(&line), expected, "{:?} {:?}", line, model.rows);
            // Versions that are new must be known before the next command can name them; a probe
            // wins what is stale, so it is not made where it need not be.
            if probed || model.renewed {
                let found = probe(&mut client, &mut model, &mut used);
                prop_assert!(found.is_ok(), "after {:?}: {}", line, found.unwrap_err());
            }
        }
    }
}
