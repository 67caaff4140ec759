//! Transcripts: conversations with a server as data, in `tests/transcripts/`.
//!
//! A line of a transcript is one of these, the first two characters telling which:
//!
//! ```text
//! # text        a comment; before the first step also a header, see below
//! > bytes       the client sends these
//! >* words      the client sends these words as a RESP command
//! < bytes       the server answers exactly these
//! <$ bytes      the server answers these as a RESP bulk string
//! <* words      the server answers these words as a RESP array of bulk strings; `(nil)` is none
//! <~ pattern    the server answers one line, CRLF included; `*` stands for any bytes of the line
//! <: kind       the server answers one RESP reply whose first byte is `kind`, whatever it holds
//! <| closed     the server closes without a further byte
//! ```
//!
//! Bytes are written out, with `\r`, `\n`, `\t`, `\\`, `\xHH`, and `\{250:a}` for `a` 250 times.
//! After the last line the client ends its side, and the server must close without a further byte.
//!
//! Headers: `# plays: server nutcracker one three` names what it holds for (the server itself,
//! twemproxy, twinring in front of one server and of three); without it, all of them. `cache` is
//! twinring without a server.
//! `# pipelines: one three` names for which of them it may be sent in one write; without it, all.

use std::path::{Path, PathBuf};

use super::client::{Client, frame};

/// One conversation.
pub(crate) struct Transcript {
    pub(crate) name: String,
    plays: Vec<String>,
    pipelines: Vec<String>,
    steps: Vec<(usize, Step)>,
}

/// One line of it.
enum Step {
    Send(Vec<u8>),
    Exactly(Vec<u8>),
    Line(Vec<u8>),
    Kind(u8),
    Closed,
}

/// How the client's bytes are cut into writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// One write for each line of the transcript.
    Steps,
    /// One write for each byte.
    Bytes,
    /// One write for everything, before any reply is read.
    Pipeline,
}

/// More bytes than this are not sent one by one, only their first and last ones.
const BYTEWISE_MAX: usize = 2048;

impl Transcript {
    /// All transcripts of a folder of `tests/transcripts/`, by name.
    pub(crate) fn all(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(folder);
        let entries = std::fs::read_dir(&root).expect("the transcripts");
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths.iter().map(|path| Self::load(path)).collect()
    }

    /// Reads one; a line that is none panics with file and line.
    fn load(path: &Path) -> Self {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a transcript");
        Self::parse(&name, &text)
    }

    /// Reads the text of one.
    pub(crate) fn parse(name: &str, text: &str) -> Self {
        let all = ["server", "nutcracker", "one", "three"].map(str::to_owned).to_vec();
        let mut read =
            Self { name: name.to_owned(), plays: all.clone(), pipelines: all, steps: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let words = |list: &str| list.split_whitespace().map(str::to_owned).collect();
            if let Some(list) = line.strip_prefix("# plays:") {
                read.plays = words(list);
            } else if let Some(list) = line.strip_prefix("# pipelines:") {
                read.pipelines = words(list);
            } else if !line.is_empty() && !line.starts_with('#') {
                let step = Step::parse(line);
                read.steps
                    .push((number, step.unwrap_or_else(|| panic!("{name}:{number}: {line}"))));
            }
        }
        read
    }

    /// Words in the notation of a step as a RESP command.
    pub(crate) fn command(words: &str) -> Vec<u8> {
        array(words).expect("words")
    }

    /// True if it holds for `what` (a word of the header `plays`) when cut so.
    pub(crate) fn plays(&self, what: &str, cut: Cut) -> bool {
        let has = |words: &[String]| words.iter().any(|word| word == what);
        has(&self.plays) && (cut != Cut::Pipeline || has(&self.pipelines))
    }

    /// Plays it; what went wrong is told with file and line.
    pub(crate) fn play(&self, client: &mut Client, cut: Cut) -> Result<(), String> {
        if cut == Cut::Pipeline {
            let _ = client.try_send(&self.sent());
        }
        for (line, step) in &self.steps {
            let done = step.play(client, cut);
            done.map_err(|why| format!("{}:{line}: {why}", self.name))?;
        }
        client.half_close();
        client.try_expect_closed().map_err(|why| format!("{} after its end: {why}", self.name))
    }

    /// All that the client sends.
    fn sent(&self) -> Vec<u8> {
        let bytes = self.steps.iter().filter_map(|(_, step)| match step {
            Step::Send(bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        bytes.collect::<Vec<_>>().concat()
    }
}

impl Step {
    fn parse(line: &str) -> Option<Self> {
        if line == "<| closed" {
            return Some(Self::Closed);
        }
        if let Some(kind) = line.strip_prefix("<: ") {
            return (kind.len() == 1).then(|| Self::Kind(kind.as_bytes()[0]));
        }
        let (mark, text) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            ">" => unescaped(text).map(Self::Send),
            ">*" => array(text).map(Self::Send),
            "<" => unescaped(text).map(Self::Exactly),
            "<$" => bulk(text).map(Self::Exactly),
            "<*" => array(text).map(Self::Exactly),
            "<~" => unescaped(text).map(Self::Line),
            _ => None,
        }
    }

    fn play(&self, client: &mut Client, cut: Cut) -> Result<(), String> {
        match self {
            Self::Send(bytes) => {
                // Whoever closes may do so while bytes are still being sent: the next step tells.
                let _ = send(client, bytes, cut);
                Ok(())
            }
            Self::Exactly(bytes) => client.try_expect(bytes),
            Self::Line(pattern) => {
                let line = client.try_take(|bytes| {
                    bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1)
                })?;
                let wrong = || format!("wanted {}, got {}", escaped(pattern), escaped(&line));
                matches(pattern, &line).then_some(()).ok_or_else(wrong)
            }
            Self::Kind(kind) => {
                let reply = client.try_take(frame::resp)?;
                let wrong = || format!("wanted a `{}`, got {}", char::from(*kind), escaped(&reply));
                (reply[0] == *kind).then_some(()).ok_or_else(wrong)
            }
            Self::Closed => client.try_expect_closed(),
        }
    }
}

fn send(client: &mut Client, bytes: &[u8], cut: Cut) -> std::io::Result<()> {
    match cut {
        Cut::Steps => client.try_send(bytes),
        Cut::Bytes if bytes.len() <= BYTEWISE_MAX => client.send_bytewise(bytes),
        Cut::Bytes => {
            let (head, rest) = bytes.split_at(BYTEWISE_MAX / 2);
            let (middle, tail) = rest.split_at(rest.len() - BYTEWISE_MAX / 2);
            client.send_bytewise(head)?;
            client.try_send(middle)?;
            client.send_bytewise(tail)
        }
        Cut::Pipeline => Ok(()),
    }
}

/// True if `line` fits `pattern`, in which `*` stands for any bytes.
fn matches(pattern: &[u8], line: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|&byte| byte == b'*') else {
        return pattern == line;
    };
    let (head, rest) = (&pattern[..star], &pattern[star + 1..]);
    line.starts_with(head) && (star..=line.len()).any(|from| matches(rest, &line[from..]))
}

/// Words as a RESP array of bulk strings; no word at all is the empty array.
fn array(text: &str) -> Option<Vec<u8>> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(if word == "(nil)" { b"$-1\r\n".to_vec() } else { bulk(word)? });
    }
    Some(bytes)
}

/// A text as a RESP bulk string.
fn bulk(text: &str) -> Option<Vec<u8>> {
    let bytes = unescaped(text)?;
    Some([format!("${}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat())
}

/// The bytes that a text of the notation above stands for; `None` if it is none.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (code, after) = (rest[at + 1..].chars().next()?, &rest[at + 2..]);
        rest = match code {
            'r' | 'n' | 't' | '\\' => {
                bytes.push(match code {
                    'r' => b'\r',
                    'n' => b'\n',
                    't' => b'\t',
                    _ => b'\\',
                });
                after
            }
            'x' => {
                bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
                &after[2..]
            }
            '{' => {
                let (inside, behind) = after.split_once('}')?;
                let (count, unit) = inside.split_once(':')?;
                bytes.extend(unit.as_bytes().repeat(count.parse().ok()?));
                behind
            }
            _ => return None,
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// Bytes as readable text.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
