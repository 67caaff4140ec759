//! CLIENT TRACKING: who has read a key is told when what it has read is no longer so.
//!
//! ```text
//!  read-only command ─▶ remember: its keys are watched, their shards being locked still
//!  any change, by anybody ─▶ storage tells ─▶ push, between two replies
//! ```
//! As in Redis: a key is told of once and then forgotten until it is read anew; only keys of
//! read-only commands count, whether they are answered by an error or not; what a client changes
//! itself it is told of behind the reply.

use super::session::Session;
use crate::cache::Context;
use crate::cache::strings::{Done, Fault, Task};
use crate::protocol::redis::Reply;
use crate::protocol::{Access, Output, Request, integer};
use crate::storage::{Change, Key, Locked, Wake, Watch};

/// What a client has said about tracking.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    /// How it is woken, in all it may say.
    wake: Wake,
    /// Begins with the first TRACKING ON.
    watch: Option<Box<Watch>>,
    options: Option<Options>,
    /// CACHING was said, and is about what comes next.
    caching: bool,
}

/// The options of TRACKING ON.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// Keys count only after CACHING YES.
    optin: bool,
    /// Keys do not count after CACHING NO.
    optout: bool,
    /// It is not told of what it changes itself.
    noloop: bool,
    bcast: bool,
    prefix: bool,
}

impl Tracking {
    /// Of a client that is woken so.
    pub(super) fn woken_by(wake: Wake) -> Self {
        Self { wake, ..Self::default() }
    }

    /// As it was when the client came.
    pub(super) fn reset(&mut self) {
        *self = Self::woken_by(std::mem::take(&mut self.wake));
    }

    /// Where its client is told of changes of the keys that it reads now.
    fn watch(&self) -> Option<&Watch> {
        let options = self.options.as_ref()?;
        let counts = if options.optin { self.caching } else { !(options.optout && self.caching) };
        self.watch.as_deref().filter(|_| counts)
    }

    fn switch_on(&mut self, options: Options, id: u64, task: &Task<'_, '_>) {
        let store = &task.context.cache.store;
        let wake = &self.wake;
        let watch = self.watch.get_or_insert_with(|| Box::new(store.watch(id, wake.clone())));
        watch.listen(options.noloop);
        self.options = Some(options);
    }

    fn switch_off(&mut self) {
        if let Some(watch) = &self.watch {
            watch.stop();
        }
        (self.options, self.caching) = (None, false);
    }

    /// The client that it is redirected to: none, 0, if it is on at all.
    pub(super) fn redirection(&self) -> i64 {
        if self.options.is_some() { 0 } else { -1 }
    }
}

impl Session {
    /// A request has been dealt with, to which CACHING has applied if it was said.
    pub(super) fn forget_caching(&mut self) {
        if !self.is_queueing() {
            self.tracking.caching = false;
        }
    }

    /// Notes which keys have been read; they are locked still.
    pub(super) fn remember<'k>(
        &self,
        (request, items): (Request<'_>, &mut Locked<'_>),
        keys: impl Iterator<Item = Key<'k>>,
        context: &Context<'_>,
    ) {
        let Some(watch) = self.tracking.watch() else { return };
        if request.head.command.access == Access::Read {
            keys.for_each(|key| items.watch(key, watch, context.now.time));
        }
    }

    /// Appends what has changed of that which the client has read.
    pub fn push(&self, out: &mut Output) {
        let Some(watch) = &self.tracking.watch else { return };
        for change in watch.take() {
            // RESP2 knows no pushes; who speaks it is told nothing, as in Redis.
            if self.is_resp3() && self.tracking.options.is_some() {
                write_push(&change, &mut self.reply(out));
            }
        }
    }
}

fn write_push(change: &Change, reply: &mut Reply<'_>) {
    reply.push(2);
    reply.bulk(b"invalidate");
    match change {
        Change::Key(key) => {
            reply.array(1);
            reply.bulk(key);
        }
        Change::All => reply.null(),
    }
}

/// CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR
pub(super) fn run(session: &mut Session, task: &mut Task<'_, '_>) -> Done {
    match task.word(1).as_slice() {
        b"tracking" => switch(session, task)?,
        b"caching" => caching(&mut session.tracking, task)?,
        b"getredir" => {
            task.reply.integer(session.tracking.redirection());
            return Ok(());
        }
        _ => {
            info(&session.tracking, &mut task.reply);
            return Ok(());
        }
    }
    task.reply.ok();
    Ok(())
}

/// CLIENT TRACKING ON | OFF [OPTIN | OPTOUT] [NOLOOP]
fn switch(session: &mut Session, task: &Task<'_, '_>) -> Done {
    let options = Options::parse(task)?;
    match task.word(2).as_slice() {
        b"on" => {
            options.check(session.tracking.options.as_ref())?;
            session.tracking.switch_on(options, session.id(), task);
        }
        b"off" => session.tracking.switch_off(),
        _ => return Err(Fault::SYNTAX),
    }
    Ok(())
}

impl Options {
    fn parse(task: &Task<'_, '_>) -> Result<Self, Fault> {
        let mut options = Self::default();
        let mut at = 3;
        while at < task.count() {
            let more = at + 1 < task.count();
            match task.word(at).as_slice() {
                b"optin" => options.optin = true,
                b"optout" => options.optout = true,
                b"noloop" => options.noloop = true,
                b"bcast" => options.bcast = true,
                b"prefix" if more => {
                    options.prefix = true;
                    at += 1;
                }
                b"redirect" if more => {
                    integer(task.arg(at + 1)).ok_or(Fault::NOT_INTEGER)?;
                    return Err(Fault::text(
                        "ERR CLIENT TRACKING with REDIRECT is not supported by this server",
                    ));
                }
                _ => return Err(Fault::SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }

    /// Whether tracking may be switched on so, `before` being the options that it is on with.
    fn check(&self, before: Option<&Self>) -> Done {
        let text = if self.prefix && !self.bcast {
            "ERR PREFIX option requires BCAST mode to be enabled"
        } else if self.bcast {
            "ERR CLIENT TRACKING with BCAST is not supported by this server"
        } else if self.optin && self.optout {
            "ERR You can't specify both OPTIN mode and OPTOUT mode"
        } else if before
            .is_some_and(|before| self.optin && before.optout || self.optout && before.optin)
        {
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and \
             then re-enabling it with a different mode."
        } else {
            return Ok(());
        };
        Err(Fault::text(text))
    }
}

/// CLIENT CACHING YES | NO
fn caching(tracking: &mut Tracking, task: &Task<'_, '_>) -> Done {
    let Some(options) = tracking.options else {
        return Err(Fault::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
             or OPTOUT mode enabled",
        ));
    };
    match task.word(2).as_slice() {
        b"yes" if options.optin => {}
        b"no" if options.optout => {}
        b"yes" => {
            return Err(Fault::text(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
        b"no" => {
            return Err(Fault::text(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
        _ => return Err(Fault::SYNTAX),
    }
    tracking.caching = true;
    Ok(())
}

/// CLIENT TRACKINGINFO
fn info(tracking: &Tracking, reply: &mut Reply<'_>) {
    let options = tracking.options.unwrap_or_default();
    let on = tracking.options.is_some();
    let flags = [
        (!on, "off"),
        (on, "on"),
        (options.optin, "optin"),
        (options.optin && tracking.caching, "caching-yes"),
        (options.optout, "optout"),
        (options.optout && tracking.caching, "caching-no"),
        (options.noloop, "noloop"),
    ];
    let flags = flags.iter().filter(|(set, _)| *set);
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.clone().count());
    flags.for_each(|(_, name)| reply.bulk(name.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(tracking.redirection());
    reply.bulk(b"prefixes");
    reply.array(0);
}
