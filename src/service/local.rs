//! What the proxy answers by itself: what stock clients ask before they trust a connection.

use super::proxy::Proxy;
use crate::cache::memcache::VERSION;
use crate::protocol::redis::{self, Reply};
use crate::protocol::{Command, Local, Output, Plan, Refusal, Request, memcache};

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
        out: &mut Output,
    ) -> After {
        let Plan::Local(local) = request.head.command.plan else { return After::Stay };
        match local {
            Local::Version => {
                let ours = env!("CARGO_PKG_VERSION");
                let line = format!("VERSION {VERSION}-twinring-{ours}\r\n");
                out.extend_from_slice(line.as_bytes());
            }
            Local::Verbosity => out.extend_from_slice(b"OK\r\n"),
            Local::MetaNoop => out.extend_from_slice(memcache::NOOP_REPLY),
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
        out: &mut Output,
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

    fn quit(&self, pool: u16, out: &mut Output) -> After {
        let redis = self.pools[pool as usize].settings.protocol == crate::config::Protocol::Redis;
        if redis && !self.compat {
            out.extend_from_slice(b"+OK\r\n");
        }
        After::Close
    }

    fn auth(&self, pool: u16, request: Request<'_>, identity: &mut Identity, out: &mut Output) {
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

    fn select(&self, pool: u16, request: Request<'_>, out: &mut Output) {
        match request.arg(1) {
            b"0" => out.extend_from_slice(b"+OK\r\n"),
            db if db.iter().all(u8::is_ascii_digit) && !db.is_empty() => {
                self.refuse(pool, "ERR SELECT is not allowed through the proxy, see redis_db", out);
            }
            _ => self.refuse(pool, "ERR invalid DB index", out),
        }
    }

    fn refuse(&self, pool: u16, text: &str, out: &mut Output) {
        self.pools[pool as usize].write_refusal(&Refusal::Redis(text.to_owned()), out);
    }
}

/// Compares without telling by the time taken where two passwords differ.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let differs = given.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differs == 0
}

fn bulk(text: &[u8], out: &mut Output) {
    Reply::new(out, false).bulk(text);
}

fn info(identity: &Identity) -> String {
    format!(
        "# Server\r\nredis_version:{}\r\nredis_mode:standalone\r\n\
         twinring_version:{}\r\nprocess_id:{}\r\n\r\n# Clients\r\nclient_id:{}\r\n",
        redis::VERSION,
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        identity.id,
    )
}

/// CLIENT SETNAME, GETNAME, ID, SETINFO.
fn client(request: Request<'_>, identity: &mut Identity, out: &mut Output) {
    let mut reply = Reply::new(out, false);
    let word = request.arg(1).to_ascii_uppercase();
    match (word.as_slice(), request.args.len()) {
        (b"ID", 2) => reply.integer(identity.id as i64),
        (b"GETNAME", 2) => match &identity.name {
            Some(name) => reply.bulk(name),
            None => reply.null(),
        },
        (b"SETNAME", 3) => set_name(request.arg(2), identity, &mut reply),
        (b"SETINFO", 4) => reply.ok(),
        (b"ID" | b"GETNAME" | b"SETNAME" | b"SETINFO", _) => {
            let word = String::from_utf8_lossy(&word).to_ascii_lowercase();
            reply.error(&format!("ERR wrong number of arguments for 'client|{word}' command"));
        }
        _ => reply.error("ERR this CLIENT subcommand is not supported by the proxy"),
    }
}

fn set_name(name: &[u8], identity: &mut Identity, reply: &mut Reply<'_>) {
    if !redis::is_client_name(name) {
        return reply
            .error("ERR Client names cannot contain spaces, newlines or special characters.");
    }
    identity.name = (!name.is_empty()).then(|| name.into());
    reply.ok();
}

/// COMMAND, COMMAND COUNT, COMMAND INFO; COMMAND DOCS is empty, which clients take well.
fn command(request: Request<'_>, out: &mut Output) {
    let rows = redis::commands();
    let mut reply = Reply::new(out, false);
    match request.arg(1).to_ascii_uppercase().as_slice() {
        b"" => {
            reply.array(rows.len());
            rows.iter().for_each(|row| reply.command(row));
        }
        b"COUNT" => reply.integer(rows.len() as i64),
        b"INFO" => {
            let names = request.args.get(2..).unwrap_or_default();
            reply.array(names.len());
            for name in names {
                let name = name.of(request.bytes);
                match rows.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name)) {
                    Some(row) => reply.command(row),
                    None => reply.null_array(),
                }
            }
        }
        b"DOCS" => reply.array(0),
        _ => reply.error("ERR this COMMAND subcommand is not supported by the proxy"),
    }
}
