//! Padding, and commands that are typed: words on a line.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq, proptest};

use crate::protocol::Parsed;
use crate::protocol::redis::{inline, parse};
use crate::protocol::support::{native, once};

#[test]
fn padding_is_skipped() {
    for (text, len) in [("\r\nPING", 2), ("\n", 1), ("  \r\n", 4), ("*0\r\n", 4), ("*-5\r\n", 5)] {
        let (parsed, _) = once(parse, text.as_bytes(), &native());
        assert!(matches!(parsed, Parsed::Skip { len: found } if found == len), "{text:?}");
    }
}

#[test]
fn inline_commands_are_split_into_words() {
    let cases: [(&str, &[&str]); 11] = [
        ("PING\r\n", &["PING"]),
        ("  ping \t x \n", &["ping", "x"]),
        ("echo \"a b\"\r\n", &["echo", "a b"]),
        ("\"echo\" 'a \"b' \r\n", &["echo", "a \"b"]),
        ("set k ''\r\n", &["set", "k", ""]),
        (r#"echo "\n\r\t\b\a\\\"\q'""#, &["echo", "\n\r\t\x08\x07\\\"q'"]),
        (r#"echo "\x41\x7a\xg0\x4""#, &["echo", "Azxg0x4"]),
        (r"echo 'it\'s \n'", &["echo", r"it's \n"]),
        (r#"ec"ho" a'b c'"#, &["echo", "ab c"]),
        (r"echo a\n", &["echo", r"a\n"]),
        ("mget a\x0bb \x0b\x0c c", &["mget", "a\x0bb", "c"]),
    ];
    for (text, words) in cases {
        let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\r\n") };
        let (parsed, args) = once(parse, text.as_bytes(), &native());
        let Parsed::Inline(line) = parsed else { panic!("{text:?}: {parsed:?}") };
        assert!(line.head.rewrite);
        assert_eq!(line.head.len, text.len() as u64);
        assert_eq!(args, words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), "{text:?}");
    }
}

/// Redis's `sdssplitargs`, line by line; NUL stands behind the end of the line.
fn split_as_redis(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let at = |index: usize| line.get(index).copied().unwrap_or(0);
    let is_space = |byte: u8| b" \t\n\x0b\x0c\r".contains(&byte);
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (mut p, mut words) = (0, Vec::new());
    loop {
        while is_space(at(p)) {
            p += 1;
        }
        if at(p) == 0 {
            return Some(words);
        }
        let (mut word, mut quote, mut done) = (Vec::new(), 0, false);
        while !done {
            match (quote, at(p)) {
                (0, b' ' | b'\n' | b'\r' | b'\t' | 0) => done = true,
                (0, mark @ (b'"' | b'\'')) => quote = mark,
                (0, byte) => word.push(byte),
                (_, 0) => return None,
                (quote, byte) if byte == quote => {
                    if at(p + 1) != 0 && !is_space(at(p + 1)) {
                        return None;
                    }
                    done = true;
                }
                (b'\'', b'\\') if at(p + 1) == b'\'' => {
                    p += 1;
                    word.push(b'\'');
                }
                (b'"', b'\\')
                    if at(p + 1) == b'x'
                        && [2, 3].iter().all(|ahead| hex(at(p + ahead)).is_some()) =>
                {
                    word.push(hex(at(p + 2)).unwrap() * 16 + hex(at(p + 3)).unwrap());
                    p += 3;
                }
                (b'"', b'\\') if at(p + 1) != 0 => {
                    p += 1;
                    let letters = b"nrtba".iter().zip(b"\n\r\t\x08\x07");
                    let meant = letters.clone().find(|(letter, _)| **letter == at(p));
                    word.push(meant.map_or_else(|| at(p), |(_, byte)| *byte));
                }
                (_, byte) => word.push(byte),
            }
            if at(p) != 0 {
                p += 1;
            }
        }
        words.push(word);
    }
}

/// A byte that a word is likely to be read wrongly at, or any that stands on a C string's line.
fn telling_byte() -> impl Strategy<Value = u8> {
    let foreign = "neither the end of a string nor of a line";
    prop_oneof![
        4 => select(b" \x0b\"'\\\\\\xxnrtba0fF4gz".to_vec()),
        1 => any::<u8>().prop_filter(foreign, |byte| !b"\0\n".contains(byte)),
    ]
}

/// Space, something plain, something quoted, or whatever makes an end of either.
fn line_piece() -> impl Strategy<Value = Vec<u8>> {
    let inner = vec(telling_byte(), 0..6);
    prop_oneof![
        4 => vec(select(b" \t\r\x0b\x0c".to_vec()), 1..3),
        3 => vec(select(b"xn\\0f".to_vec()), 1..3),
        2 => (select(b"\"'".to_vec()), inner)
            .prop_map(|(quote, inner)| [&[quote], inner.as_slice(), &[quote]].concat()),
        1 => vec(telling_byte(), 1..2),
    ]
}

proptest! {
    #[test]
    fn any_line_is_split_as_redis_splits_it(pieces in vec(line_piece(), 0..8)) {
        let line = [b"a ".as_slice(), &pieces.concat()].concat();
        let mut args = Vec::new();
        let found = inline::split(&[&line, b"\r\n".as_slice()].concat(), 100, &mut args);
        match split_as_redis(&line) {
            None => prop_assert!(matches!(found, Err(Parsed::Lost(_)))),
            Some(words) => {
                let Ok(found) = found else { panic!("refused, not {words:?}") };
                let args = args.iter().map(|arg| arg.of(&found.text).to_vec());
                prop_assert_eq!(args.collect::<Vec<_>>(), words);
                prop_assert_eq!(found.len, line.len() + 2);
            }
        }
    }
}
