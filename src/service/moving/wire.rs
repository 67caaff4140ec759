//! What servers are told to hand keys over, and how their answers are read.

use super::scripts::{put_command, take_command, token_command};
use super::way::{Ask, Way};
use crate::config::{Address, Moving, Node, Pool as Settings};
use crate::protocol::redis::{bulk_text, elements, integer, write_command};

/// Keys that a server is asked to look at at once: it is busy with them for some 0.1 ms.
const SCAN_COUNT: &[u8] = b"100";

/// What a server says to MIGRATE or UNLINK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// The key has gone to the other server.
    Moved,
    /// It has no such key.
    Absent,
    /// The other server has one of that name.
    Busy,
    /// Nobody knows whether the other server has it now.
    Lost,
    /// It was deleted, or was not there.
    Cleared,
    /// Anything else.
    Refused(&'a [u8]),
}

/// What is asked about a key that goes to `to`, of the server that [`Ask::side`] says.
pub(super) fn question(settings: &Settings, to: &Node, key: &[u8], way: &Way) -> Vec<u8> {
    let moving = moving(settings);
    let words = match way {
        Way::Carried(carry) => {
            let (token, life) = (carry.token(), moving.carry_timeout.as_millis());
            match way.asking() {
                Ask::Token => token_command(key, &token, life),
                Ask::Put => put_command(key, (&token, life), carry.load()),
                _ => take_command(key, moving.big_key_bytes),
            }
        }
        Way::Handed(_) if way.asking() == Ask::Clear => vec![b"UNLINK".to_vec(), key.to_vec()],
        Way::Handed(_) => migrate_command(settings, to, key),
    };
    command(words.iter().map(Vec::as_slice).collect())
}

/// Has the server that is told move a key to `to`, which must not have it; word by word.
pub fn migrate_command(settings: &Settings, to: &Node, key: &[u8]) -> Vec<Vec<u8>> {
    let (host, port) = match &to.address {
        Address::Tcp { host, port } => (host.clone(), port.to_string()),
        // Refused when the configuration was read.
        Address::Unix(path) => (path.display().to_string(), "0".to_owned()),
    };
    let timeout = moving(settings).migrate_timeout.as_millis().to_string();
    let database = settings.redis_db.to_string();
    let mut words = vec!["MIGRATE", &host, &port, "", &database, &timeout];
    if let Some(secret) = &settings.redis_auth {
        match &settings.redis_user {
            Some(user) => words.extend(["AUTH2", user]),
            None => words.push("AUTH"),
        }
        words.push(secret.reveal());
    }
    words.push("KEYS");
    let words = words.into_iter().map(|word| word.as_bytes().to_vec());
    words.chain([key.to_vec()]).collect()
}

fn moving(settings: &Settings) -> Moving {
    settings.expansion.as_ref().map(|expansion| expansion.moving.clone()).unwrap_or_default()
}

/// Asks for the keys from a cursor on.
pub(super) fn scan(cursor: u64) -> Vec<u8> {
    command(vec![b"SCAN", cursor.to_string().as_bytes(), b"COUNT", SCAN_COUNT])
}

fn command(words: Vec<&[u8]>) -> Vec<u8> {
    let mut wire = Vec::new();
    write_command(words.into_iter(), &mut wire);
    wire
}

/// Reads a whole reply to MIGRATE or UNLINK (cluster.c of Redis 7.0, migrateCommand).
pub(super) fn answer(reply: &[u8]) -> Answer<'_> {
    let line = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    match line {
        b"+OK" => Answer::Moved,
        b"+NOKEY" => Answer::Absent,
        _ if integer(reply).is_some() => Answer::Cleared,
        _ if line.starts_with(b"-IOERR") => Answer::Lost,
        _ if is_busy(line) => Answer::Busy,
        _ => Answer::Refused(line.strip_prefix(b"-").unwrap_or(line)),
    }
}

/// The other server's words are passed on behind a sentence of the first one's.
fn is_busy(line: &[u8]) -> bool {
    let word = b"BUSYKEY";
    line.starts_with(b"-") && line.windows(word.len()).any(|part| part == word)
}

/// The next cursor and the keys of a reply to SCAN; `None` if it is something else.
pub(super) fn scanned(reply: &[u8]) -> Option<(u64, Vec<&[u8]>)> {
    let mut parts = elements(reply)?;
    let cursor = bulk_text(parts.next()?.of(reply))?;
    let cursor = std::str::from_utf8(cursor).ok()?.parse().ok()?;
    let list = parts.next()?.of(reply);
    let keys = elements(list)?.map(|key| bulk_text(key.of(list))).collect::<Option<_>>()?;
    Some((cursor, keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_redis_writes_them() {
        let busy =
            b"-ERR Target instance replied with error: BUSYKEY Target key name already exists.\r\n";
        assert_eq!(answer(b"+OK\r\n"), Answer::Moved);
        assert_eq!(answer(b"+NOKEY\r\n"), Answer::Absent);
        assert_eq!(answer(busy), Answer::Busy);
        let lost = b"-IOERR error or timeout reading to target instance\r\n";
        assert_eq!(answer(lost), Answer::Lost);
        assert_eq!(answer(b":1\r\n"), Answer::Cleared);
        assert_eq!(answer(b"-NOPERM no\r\n"), Answer::Refused(b"NOPERM no"));
        assert_eq!(answer(b"$2\r\nOK\r\n"), Answer::Refused(b"$2\r\nOK"));
    }

    #[test]
    fn a_page_of_keys_is_read() {
        let reply = b"*2\r\n$2\r\n17\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n";
        assert_eq!(scanned(reply), Some((17, vec![&b"a"[..], b""])));
        assert_eq!(scanned(b"*2\r\n$1\r\n0\r\n*0\r\n"), Some((0, vec![])));
        for other in [&b"-ERR no\r\n"[..], b"*1\r\n$1\r\n0\r\n", b"*2\r\n$1\r\nx\r\n*0\r\n"] {
            assert_eq!(scanned(other), None);
        }
    }

    #[test]
    fn a_key_is_handed_over_with_database_and_password() {
        let text = "pools:\n  a:\n    listen: h:9\n    protocol: redis\n    redis_db: 3\n    \
                    redis_user: u\n    redis_auth: p\n    servers: [ 'h:1:1 a' ]\n    expansion: \
                    { migrate_timeout: 250ms, servers: [ 'h:1:1 a', 'other:77:1 b' ] }\n";
        let config = crate::config::parse(text, "a.yml", false).unwrap();
        let pool = &config.pools[0];
        let wire = question(pool, &pool.servers[1], b"k", &Way::new(None));
        let words = String::from_utf8(wire).unwrap();
        let words: Vec<&str> = words.split("\r\n").skip(2).step_by(2).collect();
        let wanted = ["MIGRATE", "other", "77", "", "3", "250", "AUTH2", "u", "p", "KEYS", "k"];
        assert_eq!(words, wanted);
    }
}
