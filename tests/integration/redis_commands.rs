//! The table of Redis commands against what a real server says of its own.

use std::process::Command;

use twinring::protocol::redis::{commands, refused};
use twinring::protocol::{Access, Keys};

use crate::support::{Redis, valkey_9};

/// Rows whose arguments are those of a later Redis than Debian's: ZRANK … WITHSCORE came with 7.2.
const LATER: &[&str] = &["ZRANK", "ZREVRANK"];

/// Channels are no keys to Redis; here the ring places them as if they were.
const CHANNELS: &[&str] = &["PUBLISH"];

/// What a server says of one: name, arity, access, keys.
type Told = (String, i16, String, String);

fn told(redis: &Redis) -> Vec<Told> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis_commands.py");
    let output = Command::new("python3").arg(script).arg(redis.port().to_string()).output();
    let output = output.expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("a text");
    let row = |line: &str| {
        let mut words = line.split_once(" # ").expect("a summary").0.splitn(4, ' ');
        let mut next = || words.next().expect("four columns").to_owned();
        (next(), next().parse().expect("a number"), next(), next())
    };
    text.lines().map(row).collect()
}

fn words(keys: Keys) -> String {
    match keys {
        Keys::None => "none".to_owned(),
        Keys::At(at) => format!("at {at}"),
        Keys::Every { first, last, step } => format!("every {first} {last} {step}"),
        Keys::Counted(at) => format!("counted {at}"),
        Keys::CountedInto(at) => format!("counted into {at}"),
        Keys::Streams(at) => format!("streams {at}"),
        Keys::Stored(at) => format!("stored {at}"),
    }
}

/// Where the table differs from what a server says.
fn differences(told: &[Told], later: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, arity, access, keys) in told {
        let refused = refused(name.as_bytes()).is_some();
        let Some(row) = commands().iter().find(|row| row.name == name) else {
            if !refused {
                wrong.push(format!("{name} is neither served nor refused"));
            }
            continue;
        };
        if refused {
            wrong.push(format!("{name} is served and refused"));
        }
        if row.arity != *arity && !later.contains(&name.as_str()) {
            wrong.push(format!("{name} takes {arity}, not {}", row.arity));
        }
        if words(row.keys) != *keys && !CHANNELS.contains(&name.as_str()) {
            wrong.push(format!("{name} has keys {keys}, not {}", words(row.keys)));
        }
        let right = match (access.as_str(), row.access) {
            ("W", access) => access == Access::Write,
            ("R", access) => access == Access::Read || row.keys == Keys::None,
            // A script may write; what concerns no item does not.
            (_, access) => access != Access::Read,
        };
        if !right {
            wrong.push(format!("{name} is {access}, not {:?}", row.access));
        }
    }
    wrong
}

#[test]
fn every_command_of_a_server_is_served_as_it_says_or_refused_with_a_reason() {
    let mut told = told(&Redis::start(&[]));
    assert!(told.len() > 200, "{} commands", told.len());
    let wrong = differences(&told, LATER);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));

    let line = told.iter_mut().find(|told| told.0 == "ZUNIONSTORE").expect("a command of Redis");
    *line = ("ZUNIONSTORE".to_owned(), -3, "R".to_owned(), "counted 2".to_owned());
    told.push(("NEWCOMMAND".to_owned(), 2, "R".to_owned(), "at 1".to_owned()));
    assert_eq!(differences(&told, LATER).len(), 4, "a difference is not noticed");
}

/// Valkey 9 has what Redis has by 8.0, and some commands of its own.
#[test]
fn every_command_of_valkey_is_served_as_it_says_or_refused_with_a_reason() {
    let Some(valkey) = valkey_9() else { return };
    let told = told(&Redis::start_program(&valkey, &[]));
    assert!(told.iter().any(|told| told.0 == "HGETEX"), "{} commands", told.len());
    let wrong = differences(&told, &[]);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
