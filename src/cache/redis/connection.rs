//! What a client says of itself: HELLO, AUTH, CLIENT, RESET; PING, ECHO, SELECT.

use super::session::{Replies, Session};
use super::tracking;
use crate::cache::strings::{Done, Fault, Task, database};
use crate::protocol::redis::{VERSION, is_client_name};
use crate::protocol::{Op, integer};

const BAD_NAME: Fault =
    Fault::text("ERR Client names cannot contain spaces, newlines or special characters.");

/// Executes what changes the session or tells of it.
pub(super) fn run(session: &mut Session, task: &mut Task<'_, '_>) -> Done {
    match task.request.head.command.op {
        Op::Hello => hello(session, task),
        Op::Auth => auth(session, task),
        Op::Client => client(session, task),
        _ => {
            session.reset();
            task.reply.switch(false);
            task.reply.status("RESET");
            Ok(())
        }
    }
}

/// PING, ECHO, SELECT
pub(super) fn answer(task: &mut Task<'_, '_>) -> Done {
    match (task.request.head.command.op, task.count()) {
        (Op::Select, _) => {
            database(task.arg(1))?;
            task.reply.ok();
        }
        (Op::Echo, _) | (_, 2) => task.reply.bulk(task.request.arg(1)),
        (_, 1) => task.reply.status("PONG"),
        _ => return Err(Fault::text("ERR wrong number of arguments for 'ping' command")),
    }
    Ok(())
}

/// AUTH [user] password
fn auth(session: &mut Session, task: &mut Task<'_, '_>) -> Done {
    let (user, password) = match task.count() {
        2 if !session.has_password() => {
            return Err(Fault::text(
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?",
            ));
        }
        2 => (b"default".as_slice(), task.arg(1)),
        3 => (task.arg(1), task.arg(2)),
        _ => return Err(Fault::SYNTAX),
    };
    session.authenticate(user, password)?;
    task.reply.ok();
    Ok(())
}

/// HELLO [2 | 3 [AUTH user password] [SETNAME name]]
fn hello(session: &mut Session, task: &mut Task<'_, '_>) -> Done {
    let resp3 = match (task.count(), integer(task.arg(1))) {
        (1, _) => session.is_resp3(),
        (_, Some(version @ 2..=3)) => version == 3,
        (_, Some(_)) => return Err(Fault::text("NOPROTO unsupported protocol version")),
        _ => {
            let text = "ERR Protocol version is not an integer or out of range";
            return Err(Fault::text(text));
        }
    };
    let mut name = None;
    let mut at = 2;
    let mut given = None;
    while at < task.count() {
        let more = task.count() - at - 1;
        match task.word(at).as_slice() {
            b"auth" if more >= 2 => given = Some((task.arg(at + 1), task.arg(at + 2))),
            b"setname" if more >= 1 && is_client_name(task.arg(at + 1)) => {
                name = Some(task.arg(at + 1));
            }
            b"setname" if more >= 1 => return Err(BAD_NAME),
            _ => {
                let option = String::from_utf8_lossy(task.arg(at));
                return Err(Fault::of(format!("ERR Syntax error in HELLO option '{option}'")));
            }
        }
        at += if task.word(at) == b"auth" { 3 } else { 2 };
    }
    if let Some((user, password)) = given {
        session.authenticate(user, password)?;
    }
    if !session.is_authenticated() {
        return Err(Fault::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        session.name = (!name.is_empty()).then(|| name.into());
    }
    session.speak(resp3);
    task.reply.switch(resp3);
    greet(session, task);
    Ok(())
}

/// The answer to HELLO.
fn greet(session: &Session, task: &mut Task<'_, '_>) {
    let reply = &mut task.reply;
    let version = if session.is_resp3() { 3 } else { 2 };
    reply.map(7);
    for (key, value) in [("server", "redis"), ("version", VERSION)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(version);
    reply.bulk(b"id");
    reply.integer(session.id() as i64);
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}

/// CLIENT and its subcommands, whose arguments have been counted.
fn client(session: &mut Session, task: &mut Task<'_, '_>) -> Done {
    let word = task.word(1);
    match word.as_slice() {
        b"id" => task.reply.integer(session.id() as i64),
        b"getname" => match &session.name {
            Some(name) => task.reply.bulk(name),
            None => task.reply.null(),
        },
        b"info" => task.reply.verbatim(&line(session, "client|info")),
        b"list" if task.count() == 2 => task.reply.verbatim(&line(session, "client|list")),
        b"setname" => {
            let name = task.arg(2);
            is_client_name(name).then_some(()).ok_or(BAD_NAME)?;
            session.name = (!name.is_empty()).then(|| name.into());
            task.reply.ok();
        }
        b"setinfo" => {
            set_info(task)?;
            task.reply.ok();
        }
        // No client is ever evicted.
        b"no-evict" => {
            is_on(task)?;
            task.reply.ok();
        }
        b"no-touch" => {
            session.touch(!is_on(task)?);
            task.reply.ok();
        }
        b"reply" => return reply(session, task),
        b"tracking" | b"caching" | b"trackinginfo" | b"getredir" => {
            return tracking::run(session, task);
        }
        _ => return Err(Fault::SYNTAX),
    }
    Ok(())
}

/// CLIENT REPLY ON | OFF | SKIP
fn reply(session: &mut Session, task: &mut Task<'_, '_>) -> Done {
    match task.word(2).as_slice() {
        b"on" => {
            session.want(Replies::On);
            task.reply.ok();
        }
        b"off" => session.want(Replies::Off),
        b"skip" => session.want(Replies::SkipNext),
        _ => return Err(Fault::SYNTAX),
    }
    Ok(())
}

/// Clients tell of their library; nobody asks for it here.
fn set_info(task: &Task<'_, '_>) -> Done {
    let known = matches!(task.word(2).as_slice(), b"lib-name" | b"lib-ver");
    if !known {
        let option = String::from_utf8_lossy(task.arg(2));
        return Err(Fault::of(format!("ERR Unrecognized option '{option}'")));
    }
    if !is_client_name(task.arg(3)) {
        let option = String::from_utf8_lossy(&task.word(2)).into_owned();
        return Err(Fault::of(format!(
            "ERR {option} cannot contain spaces, newlines or special characters."
        )));
    }
    Ok(())
}

fn is_on(task: &Task<'_, '_>) -> Result<bool, Fault> {
    match task.word(2).as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(Fault::SYNTAX),
    }
}

/// The client's line in CLIENT LIST: what is known of it here.
fn line(session: &Session, command: &str) -> String {
    let name = session.name.as_deref().unwrap_or_default();
    format!(
        "id={} name={} db=0 sub=0 psub=0 ssub=0 multi={} cmd={command} user=default redir={} \
         resp={}\n",
        session.id(),
        String::from_utf8_lossy(name),
        session.queued().map_or(-1, |count| count as i64),
        session.tracking.redirection(),
        if session.is_resp3() { 3 } else { 2 },
    )
}
