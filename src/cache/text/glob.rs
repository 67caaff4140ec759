//! Redis's patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
//!
//! All but `*` stand for one byte each. So it is enough to go back to the last `*` and let it take
//! one byte more: no pattern takes more than its length times that of the text.

/// Whether all of `text` fits `pattern`.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        // As Redis has it: not even `*` fits.
        return pattern.is_empty();
    }
    let (mut at, mut from) = (0, 0);
    // After the last star, and where the text went on then.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(from) {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, from));
            continue;
        }
        match one(pattern, at, byte) {
            Some(next) => (at, from) = (next, from + 1),
            None => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    (at, from) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|&byte| byte == b'*')
}

/// The offset after the part of the pattern at `at` if that fits `byte`; it is not a star.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    let (fits, next) = match pattern.get(at..).unwrap_or_default() {
        [] => return None,
        [b'?', ..] => (true, at + 1),
        [b'[', ..] => class(pattern, at + 1, byte),
        [b'\\', plain, ..] => (*plain == byte, at + 2),
        [plain, ..] => (*plain == byte, at + 1),
    };
    fits.then_some(next)
}

/// Whether the class whose inside begins at `at` has `byte`, and the offset after it. One that is
/// not closed ends with the pattern.
fn class(pattern: &[u8], at: usize, byte: u8) -> (bool, usize) {
    let not = pattern.get(at) == Some(&b'^');
    let mut at = at + usize::from(not);
    let mut found = false;
    loop {
        let len = match pattern.get(at..).unwrap_or_default() {
            [] => return (found != not, at),
            [b'\\', plain, ..] => {
                found |= *plain == byte;
                2
            }
            [b']', ..] => return (found != not, at + 1),
            [from, b'-', to, ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                3
            }
            [plain, ..] => {
                found |= *plain == byte;
                1
            }
        };
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, prop_oneof};
    use proptest::{prop_assert_eq, proptest};

    use super::matches;

    /// Redis's own way, word for word, but for time.
    fn redis(mut p: &[u8], mut s: &[u8]) -> bool {
        while !p.is_empty() && !s.is_empty() {
            match p[0] {
                b'*' => {
                    while p.get(1) == Some(&b'*') {
                        p = &p[1..];
                    }
                    return p.len() == 1 || (0..s.len()).any(|from| redis(&p[1..], &s[from..]));
                }
                b'?' => {}
                b'[' => {
                    p = &p[1..];
                    let not = p.first() == Some(&b'^');
                    p = &p[usize::from(not)..];
                    let mut found = false;
                    while p.first().is_some_and(|&byte| byte != b']') {
                        found |= one_of_class(&mut p, s[0]);
                    }
                    if found == not {
                        return false;
                    }
                }
                first => {
                    let escaped = first == b'\\' && p.len() >= 2;
                    p = &p[usize::from(escaped)..];
                    if p[0] != s[0] {
                        return false;
                    }
                }
            }
            s = &s[1..];
            p = p.get(1..).unwrap_or_default();
            if s.is_empty() {
                return p.iter().all(|&byte| byte == b'*');
            }
        }
        p.is_empty() && s.is_empty()
    }

    /// Whether the next part of a class has the byte; `p` is behind it afterwards.
    fn one_of_class(p: &mut &[u8], byte: u8) -> bool {
        let (found, len) = if p.len() >= 2 && p[0] == b'\\' {
            (p[1] == byte, 2)
        } else if p.len() >= 3 && p[1] == b'-' {
            ((p[0].min(p[2])..=p[0].max(p[2])).contains(&byte), 3)
        } else {
            (p[0] == byte, 1)
        };
        *p = &p[len..];
        found
    }

    fn piece(text: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        vec(0..text.len(), 0..8)
            .prop_map(move |picks| picks.iter().flat_map(|&at| text[at].bytes()).collect())
    }

    proptest! {
        #[test]
        fn patterns_are_redis_own(
            pattern in piece(&["a", "b", "*", "?", "[", "]", "^", "-", "\\", "[ab]", "[^a]", "c"]),
            text in prop_oneof![piece(&["a", "b", "c"]), piece(&["a", "-", "]", "^", "\\", "["])],
        ) {
            prop_assert_eq!(matches(&pattern, &text), redis(&pattern, &text));
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let pattern = "a*".repeat(1000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(100_000).as_bytes()));
        assert!(matches(pattern.as_bytes(), ("a".repeat(100_000) + "b").as_bytes()));
    }

    #[test]
    fn parts_mean_what_they_mean_in_redis() {
        for (pattern, text) in [
            ("*", "a"),
            ("h?llo", "hello"),
            ("h*o", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hbllo"),
            ("h[a-b]llo", "hbllo"),
            ("[z-a]", "m"),
            ("\\*", "*"),
            ("a**", "a"),
            ("[abc", "b"),
            ("[\\]]", "]"),
            ("a\\", "a\\"),
        ] {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in
            [("*", ""), ("h?llo", "hllo"), ("[^a]", "a"), ("", "a"), ("\\*", "a")]
        {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }
}
