//! What the proxy answers by itself: what stock clients ask before they trust a connection.

use std::time::SystemTime;

use super::identity::Identity;
use super::proxy::Proxy;
use crate::cache::memcache::VERSION;
use crate::protocol::redis::{self, Reply};
use crate::protocol::{Local, Output, Plan, Refusal, Request, memcache};

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
                let line = format!("VERSION {VERSION}\r\n");
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
            Local::Command => command(request, identity, out),
            Local::Client => client(request, identity, out),
            Local::Info => {
                Reply::new(out, identity.resp3).verbatim(&info(identity));
            }
            Local::Auth => self.auth(pool, request, identity, out),
            Local::Hello => self.hello(pool, request, identity, out),
            Local::Reset => self.reset(pool, identity, out),
            Local::Time => time(out),
        }
        After::Stay
    }

    fn quit(&self, pool: u16, out: &mut Output) -> After {
        let redis = self.pools[pool as usize].settings.protocol == crate::config::Protocol::Redis;
        if redis && !self.compat {
            out.extend_from_slice(b"+OK\r\n");
        }
        After::Close
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

    pub(super) fn refuse(&self, pool: u16, text: &str, out: &mut Output) {
        self.pools[pool as usize].write_refusal(&Refusal::Redis(text.to_owned()), out);
    }
}

fn bulk(text: &[u8], out: &mut Output) {
    Reply::new(out, false).bulk(text);
}

/// TIME: this machine's clock, in seconds and what is left of one in microseconds.
fn time(out: &mut Output) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut reply = Reply::new(out, false);
    reply.array(2);
    reply.bulk(now.as_secs().to_string().as_bytes());
    reply.bulk(now.subsec_micros().to_string().as_bytes());
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
    let mut reply = Reply::new(out, identity.resp3);
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
        return reply.error(redis::BAD_NAME);
    }
    identity.name = (!name.is_empty()).then(|| name.into());
    reply.ok();
}

/// COMMAND, COMMAND COUNT, COMMAND INFO; COMMAND DOCS is empty, which clients take well.
fn command(request: Request<'_>, identity: &Identity, out: &mut Output) {
    let rows = redis::commands();
    let mut reply = Reply::new(out, identity.resp3);
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
        b"DOCS" => reply.map(0),
        _ => reply.error("ERR this COMMAND subcommand is not supported by the proxy"),
    }
}
