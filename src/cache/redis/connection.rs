//! What a client says of itself: HELLO, AUTH, CLIENT, RESET; PING, ECHO, SELECT.

use super::session::{Replies, Session};
use super::tracking;
use crate::cache::strings::{Done, Fault, Task, database};
use crate::protocol::Op;
use crate::protocol::redis::{BAD_NAME, Hello, STRANGER, greet, is_client_name};

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
    let hello = Hello::read(task.request, session.is_resp3()).map_err(Fault::of)?;
    if let Some((user, password)) = hello.given {
        session.authenticate(user, password)?;
    }
    if !session.is_authenticated() {
        return Err(Fault::text(STRANGER));
    }
    if let Some(name) = hello.name {
        session.name = (!name.is_empty()).then(|| name.into());
    }
    session.speak(hello.resp3);
    task.reply.switch(hello.resp3);
    greet(&mut task.reply, session.id());
    Ok(())
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
            is_client_name(name).then_some(()).ok_or(Fault::text(BAD_NAME))?;
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
