//! A Redis pool's servers looked at before keys are moved between them.
//!
//! ```text
//!  each pair that keys go between ─▶ versions, policies, a key of ours by MIGRATE ─┐
//!  new servers ─▶ keys that would be in the way                                    ├▶ problems
//!  old servers ─▶ keys that move: how many, how large (`big`) ─────────────────────┘
//! ```

use std::collections::HashMap;
use std::fmt::Write;

use super::big::{Big, Moved};
use super::redis::Redis;
use crate::config::{BigKeys, Data, Expansion, Node, Pool};
use crate::routing::DualRing;
use crate::service::{
    is_token, migrate_command, put_value_command, rings, take_command, token_command, token_key,
};
use crate::topology::text_of_key;

/// Big keys of which one report tells.
const SHOWN: usize = 20;

/// How long a key of ours lives that something keeps us from taking away.
const PROBE_TTL_MS: &[u8] = b"10000";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What stands in the way.
    pub(super) problems: Vec<String>,
    /// For the operator to read.
    pub(super) text: String,
    /// Keys that are larger than they may be and are not pinned, with their server's index.
    pub(super) big: Vec<(usize, Vec<u8>)>,
}

/// Looks at the servers of a pool.
pub(super) fn look(pool: &Pool, expansion: &Expansion) -> Findings {
    let rings = rings(pool, expansion);
    let mut looking = Looking {
        pool,
        rings: &rings,
        expansion,
        open: HashMap::new(),
        findings: Findings::default(),
    };
    looking.all();
    looking.findings
}

/// Whether servers can hand keys back; what stands in the way.
pub(super) fn look_back(pool: &Pool, expansion: &Expansion) -> Vec<String> {
    let rings = rings(pool, expansion);
    let mut looking = Looking {
        pool,
        rings: &rings,
        expansion,
        open: HashMap::new(),
        findings: Findings::default(),
    };
    let (from, to) = looking.ends();
    from.iter().chain(&to).for_each(|server| looking.reach(*server));
    if looking.findings.problems.is_empty() {
        looking.probe_all(&to, &from);
    }
    looking.findings.problems
}

/// Deletes big keys at their old servers; how many there were.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn delete(pool: &Pool, big: &[(usize, Vec<u8>)]) -> Result<usize, String> {
    for (server, key) in big {
        let node = &pool.servers[*server];
        let mut server = Redis::connect(pool, node).map_err(|why| named(node, &why))?;
        server.done(&[b"UNLINK", key]).map_err(|why| named(node, &why))?;
    }
    Ok(big.len())
}

struct Looking<'a> {
    pool: &'a Pool,
    rings: &'a DualRing,
    expansion: &'a Expansion,
    open: HashMap<usize, Redis>,
    findings: Findings,
}

impl Looking<'_> {
    /// The servers that keys come from, and those that they go to.
    fn ends(&self) -> (Vec<usize>, Vec<usize>) {
        let index = |name: &str| self.pool.servers.iter().position(|node| node.name == name);
        let moves = &self.rings.moves().servers;
        let some = |takes: fn(&crate::routing::ServerMoves) -> bool| -> Vec<usize> {
            moves.iter().filter(|it| takes(it)).filter_map(|it| index(&it.name)).collect()
        };
        (some(|it| it.loses > 0.0), some(|it| it.gains > 0.0))
    }

    fn all(&mut self) {
        let (from, to) = self.ends();
        for server in from.iter().chain(&to) {
            self.reach(*server);
        }
        // What else there is to say of servers that cannot be asked is not known.
        if !self.findings.problems.is_empty() {
            return;
        }
        if self.carries() {
            let (old, new) = (from.len(), to.len());
            let text = &mut self.findings.text;
            let _ = writeln!(text, "servers that keys come from {old}, go to {new}");
        } else {
            self.alike(&from, &to);
        }
        self.probe_all(&from, &to);
        to.iter().for_each(|&server| self.note(|looking| looking.is_clear(server)));
        self.tell_way_back(&from, &to);
        let mut moved = Moved::default();
        from.iter().for_each(|&server| self.note(|looking| looking.weigh(server, &mut moved)));
        self.tell(&moved);
    }

    /// Has each of some servers hand a key of ours to each of others.
    fn probe_all(&mut self, from: &[usize], to: &[usize]) {
        for (&from, &to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
            if from != to {
                self.note(|looking| looking.probe(from, to));
            }
        }
    }

    /// Servers that keys come from may be older than those that they go to, and take nothing back.
    fn tell_way_back(&mut self, from: &[usize], to: &[usize]) {
        let known = self.findings.problems.len();
        if known == 0 {
            self.probe_all(to, from);
        }
        for why in self.findings.problems.split_off(known) {
            let _ = writeln!(self.findings.text, "no way back once keys have moved: {why}");
        }
    }

    fn note(&mut self, look: impl FnOnce(&mut Self) -> Result<(), String>) {
        if let Err(why) = look(self) {
            self.findings.problems.push(why);
        }
    }

    fn node(&self, server: usize) -> &Node {
        &self.pool.servers[server]
    }

    fn reach(&mut self, server: usize) {
        if self.open.contains_key(&server) {
            return;
        }
        match Redis::connect(self.pool, self.node(server)) {
            Ok(connection) => drop(self.open.insert(server, connection)),
            Err(why) => {
                let problem = named(self.node(server), &why);
                if !self.findings.problems.contains(&problem) {
                    self.findings.problems.push(problem);
                }
            }
        }
    }

    /// Asks a server that has been reached.
    fn ask<T>(
        &mut self,
        server: usize,
        ask: impl FnOnce(&mut Redis) -> Result<T, String>,
    ) -> Result<T, String> {
        let Some(connection) = self.open.get_mut(&server) else {
            return Err(named(self.node(server), "it was not reached"));
        };
        ask(connection).map_err(|why| named(&self.pool.servers[server], &why))
    }

    /// Versions and policies of the servers that keys come from and go to.
    fn alike(&mut self, from: &[usize], to: &[usize]) {
        let (old, new) = (self.kinds(from), self.kinds(to));
        let newest = old.iter().map(|(version, _)| numbers(version)).max().unwrap_or_default();
        for (&server, (version, policy)) in to.iter().zip(&new) {
            if numbers(version) < newest {
                let why = format!("redis {version} is older than a server that keys come from");
                self.findings.problems.push(named(self.node(server), &why));
            }
            if let Some((_, other)) = old.iter().find(|(_, other)| other != policy) {
                let why = format!("maxmemory-policy {policy}, where keys come from {other}");
                self.findings.problems.push(named(self.node(server), &why));
            }
        }
        let all = |of: fn(&(String, String)) -> &String| {
            let mut words: Vec<&str> = old.iter().chain(&new).map(|it| of(it).as_str()).collect();
            words.sort_unstable();
            words.dedup();
            words.join(", ")
        };
        let (versions, policies) = (all(|it| &it.0), all(|it| &it.1));
        let _ = writeln!(
            self.findings.text,
            "servers that keys come from {}, go to {}: redis {versions}, maxmemory-policy {policies}",
            from.len(),
            to.len(),
        );
    }

    /// The version and the policy of each server that tells them.
    fn kinds(&mut self, servers: &[usize]) -> Vec<(String, String)> {
        let mut kinds = Vec::new();
        for &server in servers {
            let version = self.ask(server, |it| it.info("server", "redis_version"));
            let policy = self.ask(server, |it| it.info("memory", "maxmemory_policy"));
            match (version, policy) {
                (Ok(version), Ok(policy)) => kinds.push((version, policy)),
                (version, policy) => {
                    let why = [version.err(), policy.err()];
                    self.findings.problems.extend(why.into_iter().flatten());
                }
            }
        }
        kinds
    }

    /// Whether values are carried by the proxies, not handed over.
    fn carries(&self) -> bool {
        self.expansion.moving.data == Data::Cache
    }

    /// Has one server hand a key of ours to another, or carries it, as it will be with all that move.
    fn probe(&mut self, from: usize, to: usize) -> Result<(), String> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let unique = since.map_or(0, |since| since.as_nanos());
        let key = format!("twinring:probe:{}:{unique}", std::process::id()).into_bytes();
        if self.carries() {
            return self.probe_by_carrying((from, to), &key);
        }
        let words = migrate_command(self.pool, self.node(to), &key);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let to_name = self.node(to).name.clone();
        self.ask(from, |server| server.done(&[b"SET", &key, b"1", b"PX", PROBE_TTL_MS]))?;
        let moved = self.ask(from, |server| {
            let moved = server.done(&words);
            // Wherever it is now.
            let _ = server.done(&[b"DEL", &key]);
            moved.map_err(|why| format!("MIGRATE to {to_name}: {why}"))
        });
        let had = self.ask(to, |server| server.done(&[b"DEL", &key]))?;
        moved?;
        if had != b":1\r\n" {
            let why = format!("MIGRATE to {to_name}: the key did not come to where we look for it");
            return Err(named(self.node(from), &why));
        }
        Ok(())
    }

    fn probe_by_carrying(&mut self, (from, to): (usize, usize), key: &[u8]) -> Result<(), String> {
        self.ask(from, |server| server.done(&[b"SET", key, b"1", b"PX", PROBE_TTL_MS]))?;
        let carried = self.carry((from, to), key);
        // Wherever it is now.
        let _ = self.ask(from, |server| server.done(&[b"DEL", key]));
        let had = self.ask(to, |server| server.done(&[b"DEL", key]));
        let _ = self.ask(to, |server| server.done(&[b"DEL", &token_key(key)]));
        if carried? && had? == b":1\r\n" {
            return Ok(());
        }
        let name = &self.node(to).name;
        let why = format!("a key carried to {name} did not come there within carry_timeout");
        Err(named(self.node(from), &why))
    }

    /// Carries a key of ours; whether it has come in time.
    fn carry(&mut self, (from, to): (usize, usize), key: &[u8]) -> Result<bool, String> {
        let moving = &self.expansion.moving;
        let (token, life) = (&b"probe"[..], moving.carry_timeout.as_millis());
        let most = moving.big_key_bytes.max(1);
        self.ask(to, |server| words(server, &token_command(key, token, life)))?;
        let taken = self.ask(from, |server| words(server, &take_command(key, most)))?;
        let put = put_value_command(key, (token, life), b"1");
        let put = self.ask(to, |server| words(server, &put))?;
        Ok(taken.starts_with(b"*2\r\n") && put == b":1\r\n")
    }

    /// A new server must have nothing that moves there: it would be taken for the newer value.
    fn is_clear(&mut self, server: usize) -> Result<(), String> {
        let (rings, carries) = (self.rings, self.carries());
        let (mut there, mut example) = (0_u64, None);
        self.ask(server, |connection| {
            connection.each_page(|_, keys| {
                let mut found = keys
                    .into_iter()
                    .filter(|key| !(carries && is_token(key)))
                    .filter(|key| rings.moved(key).is_some_and(|[_, new]| new == server));
                if let Some(key) = found.next() {
                    example.get_or_insert(key);
                    there += 1 + found.count() as u64;
                }
                Ok(())
            })
        })?;
        let Some(example) = example else { return Ok(()) };
        let example = example.escape_ascii();
        let why = format!("it has {there} keys that are to come from other servers, as {example}");
        Err(named(self.node(server), &why))
    }

    /// Looks for keys that move away from a server, and how large they are.
    fn weigh(&mut self, server: usize, moved: &mut Moved) -> Result<(), String> {
        let (rings, moving) = (self.rings, &self.expansion.moving);
        self.ask(server, |connection| {
            connection.each_page(|connection, keys| {
                moved.seen += keys.len() as u64;
                let away = |key: &Vec<u8>| rings.moved(key).is_some_and(|[old, _]| old == server);
                let keys: Vec<Vec<u8>> = keys.into_iter().filter(away).collect();
                moved.weigh(connection, server, keys, moving)
            })
        })
    }

    fn tell(&mut self, moved: &Moved) {
        let (moving, carries) = (&self.expansion.moving, self.carries());
        let text = &mut self.findings.text;
        let _ = writeln!(
            text,
            "keys that move: {} of {} where they come from, {} bytes of memory; pinned {}",
            moved.keys,
            moved.seen,
            moved.bytes,
            moving.pin.len(),
        );
        let (others, big, bytes) = (moved.others, moved.big.len(), moving.big_key_bytes);
        let _ = match carries {
            true => writeln!(
                text,
                "will be gone: {others} that are no strings, {big} of more than {bytes} bytes"
            ),
            false => {
                let elements = moving.big_key_elements;
                writeln!(text, "larger than {bytes} bytes or {elements} elements: {big}")
            }
        };
        for Big { server, key, kind, elements, bytes } in moved.big.iter().take(SHOWN) {
            let (name, key) = (&self.pool.servers[*server].name, text_of_key(key));
            let _ = writeln!(text, "  {key}\t{name}\t{kind}\t{elements} elements\t{bytes} bytes");
        }
        if moved.big.len() > SHOWN {
            let _ = writeln!(text, "  … and {} more", moved.big.len() - SHOWN);
        }
        if moving.big_keys == BigKeys::Pin && !moved.big.is_empty() {
            let where_to = match self.pool.topology {
                Some(_) => "give them to start by --pin",
                None => "list them under pin:",
            };
            let why = format!("keys are too large to be moved: {where_to}, or see big_keys");
            self.findings.problems.push(format!("{} {why}", moved.big.len()));
        }
        let big = moved.big.iter().map(|big| (big.server, big.key.clone()));
        self.findings.big = big.collect();
    }
}

fn named(node: &Node, why: &str) -> String {
    format!("server {} ({}): {why}", node.name, node.address)
}

/// Asks a server what is given word by word.
fn words(server: &mut Redis, words: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    server.done(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn numbers(version: &str) -> Vec<u32> {
    // What a value is handed over as does not change within those.
    version.split('.').take(2).map_while(|part| part.parse().ok()).collect()
}
