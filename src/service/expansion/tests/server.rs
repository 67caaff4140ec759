//! A memcached of one key, as far as operations of one key can tell: values, CAS, stubs, tokens.
//!
//! What it does was compared with memcached 1.6.18: see `tests/integration/expansion.rs`.

/// What it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub(super) value: Vec<u8>,
    pub(super) cas: u64,
    pub(super) ttl: i64,
    flags: Vec<u8>,
    /// Somebody has got the token to renew it.
    sent: bool,
    stale: bool,
}

/// The server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) item: Option<Item>,
    pub(super) cas: u64,
}

impl Item {
    fn is_stub(&self) -> bool {
        self.sent && self.value.is_empty()
    }
}

impl Server {
    pub(super) fn with(value: &[u8]) -> Self {
        let mut server = Self::default();
        server.store(value, (b"0", -1));
        server
    }

    /// The value that it holds, unless that is a stub.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.item.as_ref().filter(|item| !item.is_stub()).map(|item| &item.value[..])
    }

    /// Executes a request and returns the reply.
    pub(super) fn execute(&mut self, request: &[u8]) -> Vec<u8> {
        let end = request.windows(2).position(|two| two == b"\r\n").unwrap();
        let (line, data) = (&request[..end], &request[end + 2..]);
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let data = data.strip_suffix(b"\r\n").unwrap_or(data);
        match words[0] {
            b"mg" => self.meta_get(&words),
            b"ms" => self.meta_set(&words, data),
            b"md" => self.meta_delete(&words),
            b"ma" => self.meta_count(&words),
            b"get" | b"gets" => self.get(words[0] == b"gets"),
            b"gat" | b"gats" => {
                self.touch(words[1]);
                self.get(words[0] == b"gats")
            }
            b"touch" => answer(self.touch(words[2]), "TOUCHED", "NOT_FOUND"),
            b"delete" => answer(self.item.take().is_some(), "DELETED", "NOT_FOUND"),
            b"incr" | b"decr" => match self.count(words[0] == b"decr", number(words[2])) {
                Some(Ok(number)) => format!("{number}\r\n").into_bytes(),
                Some(Err(error)) => error,
                None => b"NOT_FOUND\r\n".to_vec(),
            },
            b"cas" => match self.item.as_ref().map(|item| item.cas) {
                None => b"NOT_FOUND\r\n".to_vec(),
                Some(cas) if cas != number(words[5]) => b"EXISTS\r\n".to_vec(),
                Some(_) => self.stored(data, (words[2], seconds(words[3]))),
            },
            b"set" => self.stored(data, (words[2], seconds(words[3]))),
            b"add" if self.item.is_some() => b"NOT_STORED\r\n".to_vec(),
            b"add" => self.stored(data, (words[2], seconds(words[3]))),
            _ if self.item.is_none() => b"NOT_STORED\r\n".to_vec(),
            b"replace" => self.stored(data, (words[2], seconds(words[3]))),
            b"append" => self.join(data, false),
            b"prepend" => self.join(data, true),
            other => panic!("{}", other.escape_ascii()),
        }
    }

    fn store(&mut self, value: &[u8], (flags, ttl): (&[u8], i64)) -> u64 {
        self.cas += 1;
        let (value, flags) = (value.to_vec(), flags.to_vec());
        self.item = Some(Item { value, cas: self.cas, ttl, flags, sent: false, stale: false });
        self.cas
    }

    fn stored(&mut self, value: &[u8], how: (&[u8], i64)) -> Vec<u8> {
        self.store(value, how);
        b"STORED\r\n".to_vec()
    }

    fn join(&mut self, data: &[u8], before: bool) -> Vec<u8> {
        let item = self.item.clone().unwrap();
        let value =
            if before { [data, &item.value].concat() } else { [&item.value, data].concat() };
        self.stored(&value, (&item.flags, item.ttl))
    }

    fn touch(&mut self, ttl: &[u8]) -> bool {
        let Some(item) = &mut self.item else { return false };
        item.ttl = seconds(ttl);
        true
    }

    fn get(&self, token: bool) -> Vec<u8> {
        let Some(item) = &self.item else { return b"END\r\n".to_vec() };
        let cas = if token { format!(" {}", item.cas) } else { String::new() };
        let head = format!("VALUE k {} {}{cas}\r\n", text(&item.flags), item.value.len());
        [head.as_bytes(), &item.value, b"\r\nEND\r\n"].concat()
    }

    fn count(&mut self, down: bool, delta: u64) -> Option<Result<u64, Vec<u8>>> {
        let item = self.item.clone()?;
        let Ok(now) = text(&item.value).parse::<u64>() else {
            let error = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
            return Some(Err(error.into()));
        };
        let next = if down { now.saturating_sub(delta) } else { now.wrapping_add(delta) };
        self.store(next.to_string().as_bytes(), (&item.flags, item.ttl));
        Some(Ok(next))
    }

    fn meta_get(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let flags = &words[2..];
        let mut won = false;
        if self.item.is_none() {
            let Some(ttl) = flag(flags, b'N') else {
                let shown = flags.iter().filter(|word| matches!(word[0], b'O' | b'k'));
                let shown = shown.map(|word| if word[0] == b'O' { text(word) } else { "kk" });
                let shown: String = shown.map(|word| format!(" {word}")).collect();
                return format!("EN{shown}\r\n").into_bytes();
            };
            self.store(b"", (b"0", seconds(ttl)));
            won = true;
        }
        let item = self.item.as_mut().unwrap();
        if let Some(ttl) = flag(flags, b'T') {
            item.ttl = seconds(ttl);
        }
        won |= item.stale && !item.sent;
        let sent = item.sent;
        item.sent |= won;
        let mut line = String::new();
        for word in flags {
            match word[0] {
                b'c' => line += &format!(" c{}", item.cas),
                b'f' => line += &format!(" f{}", text(&item.flags)),
                b't' => line += &format!(" t{}", item.ttl),
                b's' => line += &format!(" s{}", item.value.len()),
                b'k' => line += " kk",
                b'O' => line += &format!(" {}", text(word)),
                _ => {}
            }
        }
        for (shown, letter) in [(won, " W"), (item.stale, " X"), (sent && !won, " Z")] {
            line += if shown { letter } else { "" };
        }
        if flags.contains(&&b"v"[..]) {
            let head = format!("VA {}{line}\r\n", item.value.len());
            return [head.as_bytes(), &item.value, b"\r\n"].concat();
        }
        format!("HD{line}\r\n").into_bytes()
    }

    fn meta_set(&mut self, words: &[&[u8]], data: &[u8]) -> Vec<u8> {
        let flags = &words[3..];
        let mode = flag(flags, b'M').unwrap_or(b"S");
        let joins = mode == b"A" || mode == b"P";
        let how = (flag(flags, b'F').unwrap_or(b"0"), flag(flags, b'T').map_or(-1, seconds));
        let code = match (&self.item, flag(flags, b'C').map(number)) {
            (None, _) if joins => "NS",
            (None, Some(_)) if mode != b"E" => "NF",
            (Some(item), Some(cas)) if mode != b"E" && item.cas != cas => "EX",
            (Some(_), _) if mode == b"E" => "NS",
            (None, None) if mode == b"R" => "NS",
            _ if joins => {
                self.join(data, mode == b"P");
                "HD"
            }
            _ => {
                self.store(data, how);
                "HD"
            }
        };
        let cas = self.item.as_ref().filter(|_| code == "HD" && flags.contains(&&b"c"[..]));
        let shown = if flags.contains(&&b"c"[..]) { " c0" } else { "" };
        let cas = cas.map_or_else(|| shown.to_owned(), |item| format!(" c{}", item.cas));
        format!("{code}{cas}\r\n").into_bytes()
    }

    fn meta_delete(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let flags = &words[2..];
        let Some(item) = &mut self.item else { return b"NF\r\n".to_vec() };
        if flag(flags, b'C').is_some_and(|cas| number(cas) != item.cas) {
            return b"EX\r\n".to_vec();
        }
        if flag(flags, b'I').is_some() {
            self.cas += 1;
            (item.cas, item.stale, item.sent) = (self.cas, true, false);
        } else {
            self.item = None;
        }
        b"HD\r\n".to_vec()
    }

    fn meta_count(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let flags = &words[2..];
        let Some(item) = &self.item else { return b"NF\r\n".to_vec() };
        if flag(flags, b'C').is_some_and(|cas| number(cas) != item.cas) {
            return b"EX\r\n".to_vec();
        }
        let delta = flag(flags, b'D').map_or(1, number);
        match self.count(flag(flags, b'M') == Some(b"D"), delta) {
            Some(Ok(number)) => {
                let number = number.to_string();
                format!("VA {}\r\n{number}\r\n", number.len()).into_bytes()
            }
            Some(Err(error)) => error,
            None => b"NF\r\n".to_vec(),
        }
    }
}

fn flag<'a>(flags: &[&'a [u8]], letter: u8) -> Option<&'a [u8]> {
    flags.iter().find_map(|word| word.strip_prefix(&[letter]))
}

fn answer(yes: bool, then: &str, otherwise: &str) -> Vec<u8> {
    format!("{}\r\n", if yes { then } else { otherwise }).into_bytes()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn number(word: &[u8]) -> u64 {
    text(word).parse().unwrap()
}

/// Seconds to live; 0 stands for ever, which is shown as -1.
fn seconds(word: &[u8]) -> i64 {
    match text(word).parse().unwrap() {
        0 => -1,
        seconds => seconds,
    }
}
