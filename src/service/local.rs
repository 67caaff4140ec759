//! What the proxy answers by itself: what stock clients ask before they trust a connection.

use std::fmt::Write;

use super::proxy::Proxy;
use crate::cache::memcache::VERSION;
use crate::protocol::{Command, Keys, Local, Plan, Refusal, Request, redis};

/// The version of Redis whose commands the table holds; clients read it to know what they may
/// send.
const REDIS_VERSION: &str = "7.0.0";

/// What the proxy knows of a client beyond its socket.
#[derive(Debug, Default)]
pub struct Identity {
    /// Unique in the process.
    pub id: u64,
    /// It has given the password, or needs none.
    pub authenticated: bool,
    /// Its name, as it says.
    pub name: Option<Box<[u8]>>,
}

/// What becomes of the client after a local reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on.
    Stay,
    /// It is closed once it has got all replies.
    Close,
}

impl Proxy {
    /// Appends the reply to a command that is answered here.
    pub fn answer(
        &self,
        pool: u16,
        request: Request<'_>,
        identity: &mut Identity,
        out: &mut Vec<u8>,
    ) -> After {
        let Plan::Local(local) = request.head.command.plan else { return After::Stay };
        match local {
            Local::Version => {
                let ours = env!("CARGO_PKG_VERSION");
                let line = format!("VERSION {VERSION}-twinring-{ours}\r\n");
                out.extend_from_slice(line.as_bytes());
            }
            Local::Verbosity => out.extend_from_slice(b"OK\r\n"),
            Local::Quit => return self.quit(pool, out),
            Local::Ping if request.args.len() > 2 => {
                self.refuse(pool, "ERR wrong number of arguments for 'ping' command", out);
            }
            Local::Ping if request.args.len() > 1 => bulk(request.arg(1), out),
            Local::Ping => out.extend_from_slice(b"+PONG\r\n"),
            Local::Echo => bulk(request.arg(1), out),
            Local::Select => self.select(pool, request, out),
            Local::Command => command(request, out),
            Local::Client => client(request, identity, out),
            Local::Info => bulk(info(identity).as_bytes(), out),
            Local::Auth => self.auth(pool, request, identity, out),
        }
        After::Stay
    }

    /// Whether a client that has not given the password may send this command; appends the
    /// error if not.
    pub fn admits(
        &self,
        pool: u16,
        command: &Command,
        identity: &Identity,
        out: &mut Vec<u8>,
    ) -> bool {
        let free = matches!(command.plan, Plan::Local(Local::Auth | Local::Quit));
        if identity.authenticated || free {
            return true;
        }
        let text = if self.compat {
            "NOAUTH Authentication required"
        } else {
            "NOAUTH Authentication required."
        };
        self.refuse(pool, text, out);
        false
    }

    /// Whether clients of this pool must give a password.
    pub fn needs_password(&self, pool: u16) -> bool {
        self.pools[pool as usize].settings.redis_auth.is_some()
    }

    fn quit(&self, pool: u16, out: &mut Vec<u8>) -> After {
        let redis = self.pools[pool as usize].settings.protocol == crate::config::Protocol::Redis;
        if redis && !self.compat {
            out.extend_from_slice(b"+OK\r\n");
        }
        After::Close
    }

    fn auth(&self, pool: u16, request: Request<'_>, identity: &mut Identity, out: &mut Vec<u8>) {
        let Some(secret) = &self.pools[pool as usize].settings.redis_auth else {
            let text = if self.compat {
                "ERR Client sent AUTH, but no password is set"
            } else {
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?"
            };
            return self.refuse(pool, text, out);
        };
        let (user, password) = match request.args.len() {
            3 => (request.arg(1), request.arg(2)),
            _ => (b"default".as_slice(), request.arg(1)),
        };
        let right = same(password, secret.reveal().as_bytes()) && user == b"default";
        identity.authenticated = right;
        if right {
            out.extend_from_slice(b"+OK\r\n");
        } else if self.compat {
            self.refuse(pool, "ERR invalid password", out);
        } else {
            let text = "WRONGPASS invalid username-password pair or user is disabled.";
            self.refuse(pool, text, out);
        }
    }

    fn select(&self, pool: u16, request: Request<'_>, out: &mut Vec<u8>) {
        match request.arg(1) {
            b"0" => out.extend_from_slice(b"+OK\r\n"),
            db if db.iter().all(u8::is_ascii_digit) && !db.is_empty() => {
                self.refuse(pool, "ERR SELECT is not allowed through the proxy, see redis_db", out);
            }
            _ => self.refuse(pool, "ERR invalid DB index", out),
        }
    }

    fn refuse(&self, pool: u16, text: &str, out: &mut Vec<u8>) {
        self.pools[pool as usize].write_refusal(&Refusal::Redis(text.to_owned()), out);
    }
}

/// Compares without telling by the time taken where two passwords differ.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let differs = given.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differs == 0
}

fn bulk(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn error(text: &str, out: &mut Vec<u8>) {
    redis::write_refusal(&Refusal::Redis(text.to_owned()), out);
}

fn info(identity: &Identity) -> String {
    format!(
        "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\n\
         twinring_version:{}\r\nprocess_id:{}\r\n\r\n# Clients\r\nclient_id:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        identity.id,
    )
}

/// CLIENT SETNAME, GETNAME, ID, SETINFO.
fn client(request: Request<'_>, identity: &mut Identity, out: &mut Vec<u8>) {
    let word = request.arg(1).to_ascii_uppercase();
    match (word.as_slice(), request.args.len()) {
        (b"ID", 2) => out.extend_from_slice(format!(":{}\r\n", identity.id).as_bytes()),
        (b"GETNAME", 2) => match &identity.name {
            Some(name) => bulk(name, out),
            None => out.extend_from_slice(b"$-1\r\n"),
        },
        (b"SETNAME", 3) => set_name(request.arg(2), identity, out),
        (b"SETINFO", 4) => out.extend_from_slice(b"+OK\r\n"),
        (b"ID" | b"GETNAME" | b"SETNAME" | b"SETINFO", _) => {
            let word = String::from_utf8_lossy(&word).to_ascii_lowercase();
            error(&format!("ERR wrong number of arguments for 'client|{word}' command"), out);
        }
        _ => error("ERR this CLIENT subcommand is not supported by the proxy", out),
    }
}

fn set_name(name: &[u8], identity: &mut Identity, out: &mut Vec<u8>) {
    if name.iter().any(|b| !(b'!'..=b'~').contains(b)) {
        let text = "ERR Client names cannot contain spaces, newlines or special characters.";
        return error(text, out);
    }
    identity.name = (!name.is_empty()).then(|| name.into());
    out.extend_from_slice(b"+OK\r\n");
}

/// COMMAND, COMMAND COUNT, COMMAND INFO; COMMAND DOCS is empty, which clients take well.
fn command(request: Request<'_>, out: &mut Vec<u8>) {
    let rows = redis::commands();
    match request.arg(1).to_ascii_uppercase().as_slice() {
        b"" => {
            out.extend_from_slice(format!("*{}\r\n", rows.len()).as_bytes());
            rows.iter().for_each(|row| describe(row, out));
        }
        b"COUNT" => out.extend_from_slice(format!(":{}\r\n", rows.len()).as_bytes()),
        b"INFO" => {
            let names = request.args.get(2..).unwrap_or_default();
            out.extend_from_slice(format!("*{}\r\n", names.len()).as_bytes());
            for name in names {
                let name = name.of(request.bytes);
                match rows.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name)) {
                    Some(row) => describe(row, out),
                    None => out.extend_from_slice(b"*-1\r\n"),
                }
            }
        }
        b"DOCS" => out.extend_from_slice(b"*0\r\n"),
        _ => error("ERR this COMMAND subcommand is not supported by the proxy", out),
    }
}

/// A row in the six fields that clients have read since Redis 2.8.13.
fn describe(row: &Command, out: &mut Vec<u8>) {
    let (first, last, step) = match row.keys {
        Keys::None | Keys::Counted(_) => (0, 0, 0),
        Keys::At(index) => (i32::from(index), i32::from(index), 1),
        Keys::Every { first, step } => (i32::from(first), -1, i32::from(step)),
    };
    let flag = match row.access {
        crate::protocol::Access::Read => "*1\r\n+readonly\r\n",
        crate::protocol::Access::Write => "*1\r\n+write\r\n",
        crate::protocol::Access::None => "*0\r\n",
    };
    let mut text = String::from("*6\r\n");
    let name = row.name.to_ascii_lowercase();
    // Writing to a String cannot fail.
    let _ = write!(text, "${}\r\n{name}\r\n:{}\r\n{flag}", name.len(), row.arity);
    let _ = write!(text, ":{first}\r\n:{last}\r\n:{step}\r\n");
    out.extend_from_slice(text.as_bytes());
}
