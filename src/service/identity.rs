//! Who a client is: its name, whether it has given the password, which RESP it speaks.

use super::proxy::Proxy;
use crate::cache::memcache::VERSION;
use crate::protocol::memcache::binary::{Packet, Verb};
use crate::protocol::redis::{DEFAULT_USER, Hello, Reply, STRANGER, greet};
use crate::protocol::{Command, Failure, Local, Op, Output, Plan, Request, Status};

/// What the proxy knows of a client beyond its socket.
#[derive(Debug, Default)]
pub struct Identity {
    /// Unique in the process.
    pub id: u64,
    /// It has given the password, or needs none.
    pub authenticated: bool,
    /// It has asked for RESP3.
    pub resp3: bool,
    /// Its name, as it says.
    pub name: Option<Box<[u8]>>,
}

const WRONG: &str = "WRONGPASS invalid username-password pair or user is disabled.";
impl Proxy {
    /// Whether a client that has not given the password may send this command; appends the
    /// error if not.
    pub fn admits(
        &self,
        pool: u16,
        command: &Command,
        identity: &Identity,
        out: &mut Output,
    ) -> bool {
        let free = Local::is_for_strangers;
        if identity.authenticated || matches!(command.plan, Plan::Local(local) if free(local)) {
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
        let settings = &self.pools[pool as usize].settings;
        settings.redis_auth.is_some() || !settings.memcache_auth.is_empty()
    }

    /// Answers a memcache client that has not given a password: it may give one as the value of a
    /// `set`, whatever the key (memcached's doc/protocol.txt, "Authentication"), or by SASL.
    pub fn admit_memcache(
        &self,
        pool: u16,
        request: Request<'_>,
        identity: &mut Identity,
        out: &mut Output,
    ) {
        if request.head.command.op == Op::Binary {
            return self.admit_packet(pool, request, identity, out);
        }
        let value = request.bytes.get(request.head.line as usize..).unwrap_or_default();
        let given = value.strip_suffix(b"\r\n").filter(|_| request.head.command.op == Op::Set);
        out.extend_from_slice(match given.map(|given| self.is_user(pool, given)) {
            None => b"CLIENT_ERROR unauthenticated\r\n".as_slice(),
            Some(false) if given.is_some_and(|given| !given.contains(&b' ')) => {
                b"CLIENT_ERROR bad authentication token format\r\n"
            }
            Some(false) => b"CLIENT_ERROR authentication failure\r\n",
            Some(true) => {
                identity.authenticated = true;
                b"STORED\r\n"
            }
        });
    }

    /// As [`admit_memcache`](Self::admit_memcache), for a client of the binary protocol, which gives
    /// a name and a password by SASL's PLAIN (RFC 4616): somebody, NUL, the name, NUL, the password.
    fn admit_packet(
        &self,
        pool: u16,
        request: Request<'_>,
        identity: &mut Identity,
        out: &mut Output,
    ) {
        let Some(packet) = Packet::of(&request) else { return };
        let mut parts = packet.value.splitn(3, |byte| *byte == 0).skip(1);
        let given = (parts.next(), parts.next());
        let text: &[u8] = match (packet.verb, given) {
            (Verb::SaslList, _) => b"PLAIN",
            // Clients ask for it first of all; it is no secret.
            (Verb::Version, _) => VERSION.as_bytes(),
            (Verb::SaslAuth, (Some(name), Some(password)))
                if packet.key == b"PLAIN" && self.is_user(pool, &[name, password].join(&b' ')) =>
            {
                identity.authenticated = true;
                b"Authenticated"
            }
            _ => return Failure { echo: packet.echo, status: Status::Stranger }.write(out),
        };
        packet.echo.reply(0, (b"", b"", text), out);
    }

    /// Whether these are the name and the password, a space between them, of one of the pool's
    /// memcache users.
    fn is_user(&self, pool: u16, given: &[u8]) -> bool {
        let users = self.pools[pool as usize].settings.memcache_auth.iter();
        // All are looked at, so that the time taken does not tell which one it was.
        users.fold(false, |known, user| known | same(given, user.reveal().as_bytes()))
    }

    /// AUTH [user] password
    pub(super) fn auth(
        &self,
        pool: u16,
        request: Request<'_>,
        identity: &mut Identity,
        out: &mut Output,
    ) {
        if !self.needs_password(pool) {
            let text = if self.compat {
                "ERR Client sent AUTH, but no password is set"
            } else {
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?"
            };
            return self.refuse(pool, text, out);
        }
        let (user, password) = match request.args.len() {
            2 => (None, request.arg(1)),
            3 => (Some(request.arg(1)), request.arg(2)),
            _ => return self.refuse(pool, "ERR syntax error", out),
        };
        identity.authenticated = self.knows(pool, user, password);
        if identity.authenticated {
            out.extend_from_slice(b"+OK\r\n");
        } else if self.compat {
            self.refuse(pool, "ERR invalid password", out);
        } else {
            self.refuse(pool, WRONG, out);
        }
    }

    /// Whether that is the pool's password, and its user if one is named.
    fn knows(&self, pool: u16, user: Option<&[u8]>, password: &[u8]) -> bool {
        let settings = &self.pools[pool as usize].settings;
        let wanted = settings.redis_user.as_ref().map_or(DEFAULT_USER, |name| name.as_bytes());
        let named = user.is_none_or(|user| user == wanted);
        let right = settings
            .redis_auth
            .as_ref()
            .is_some_and(|secret| same(password, secret.reveal().as_bytes()));
        named && right
    }

    /// HELLO [2 | 3 [AUTH user password] [SETNAME name]]
    pub(super) fn hello(
        &self,
        pool: u16,
        request: Request<'_>,
        identity: &mut Identity,
        out: &mut Output,
    ) {
        let hello = match Hello::read(request, identity.resp3) {
            Ok(hello) => hello,
            Err(text) => return self.refuse(pool, &text, out),
        };
        if let Some((user, password)) = hello.given {
            // Where no password is asked for, Redis's default user has any.
            let right = !self.needs_password(pool) || self.knows(pool, Some(user), password);
            identity.authenticated = right;
            if !right {
                return self.refuse(pool, WRONG, out);
            }
        }
        if !identity.authenticated {
            return self.refuse(pool, STRANGER, out);
        }
        if let Some(name) = hello.name {
            identity.name = (!name.is_empty()).then(|| name.into());
        }
        identity.resp3 = hello.resp3;
        greet(&mut Reply::new(out, identity.resp3), identity.id);
    }

    /// RESET: as if the client had just come.
    pub(super) fn reset(&self, pool: u16, identity: &mut Identity, out: &mut Output) {
        identity.authenticated = !self.needs_password(pool);
        identity.resp3 = false;
        identity.name = None;
        out.extend_from_slice(b"+RESET\r\n");
    }
}

impl Local {
    /// Whether somebody who has not given the password may send it.
    const fn is_for_strangers(self) -> bool {
        matches!(self, Self::Auth | Self::Quit | Self::Hello | Self::Reset)
    }
}

/// Compares without telling by the time taken where two passwords differ.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let differs = given.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differs == 0
}
