//! Commands that concern every server of a pool: scripts, functions, who listens, and the keys
//! there are.
//!
//! ```text
//!  SCRIPT, FUNCTION ─▶ to all, or (what all must agree on already) to one
//!  PUBSUB           ─▶ to all
//!  KEYS, RANDOMKEY  ─▶ to all             ┐ where the pool allows it
//!  SCAN cursor      ─▶ to one; its server ┘ and cursor make the next cursor
//! ```

use super::dispatch::{Turn, Way};
use super::fragment::{Merge, ScanAt};
use super::proxy::{Caller, Proxy};
use super::replies::Clients;
use crate::protocol::{Plan, Refusal, Request, redis};

/// What is done with one of them.
enum Reach {
    All(Merge),
    One,
    Scan(u64),
    Refuse(String),
}

impl Proxy {
    /// Sends such a command where it must go; the way of one that goes to a single server.
    pub(super) fn everywhere<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
    ) -> Option<Way> {
        let allowed = self.pools[caller.pool as usize].settings.allow_scan;
        match self.reach_of(&request, allowed) {
            Reach::One => return Some(self.way_of(caller.pool, &request, request.keys())),
            Reach::All(merge) => self.broadcast(turn, caller, request, merge),
            Reach::Scan(cursor) => self.scan(turn, caller, request, cursor),
            Reach::Refuse(text) => self.turn_down(turn, caller, &Refusal::Redis(text)),
        }
        None
    }

    fn reach_of(&mut self, request: &Request<'_>, allowed: bool) -> Reach {
        let subcommand = request.arg(1).to_ascii_uppercase();
        match request.head.command.plan {
            Plan::Script => match subcommand.as_slice() {
                b"LOAD" | b"FLUSH" => Reach::All(Merge::Same),
                b"EXISTS" => Reach::All(Merge::Least),
                b"HELP" => Reach::One,
                _ => Reach::Refuse(one_server_alone("SCRIPT", &subcommand)),
            },
            Plan::Function => match subcommand.as_slice() {
                b"LOAD" | b"DELETE" | b"FLUSH" | b"RESTORE" => Reach::All(Merge::Same),
                b"LIST" => Reach::All(Merge::Union),
                b"DUMP" | b"HELP" => Reach::One,
                _ => Reach::Refuse(one_server_alone("FUNCTION", &subcommand)),
            },
            Plan::Listeners => match subcommand.as_slice() {
                b"CHANNELS" | b"SHARDCHANNELS" => Reach::All(Merge::Union),
                b"NUMSUB" | b"SHARDNUMSUB" => Reach::All(Merge::Counts),
                b"NUMPAT" => Reach::All(Merge::Most),
                // HELP, and what the server has an error for.
                _ => Reach::One,
            },
            _ if !allowed => {
                let name = request.head.command.name;
                Reach::Refuse(format!("ERR {name} is not allowed here, see allow_scan"))
            }
            Plan::Concat => Reach::All(Merge::Concat),
            Plan::AnyOne => {
                self.draws = self.draws.wrapping_add(1);
                Reach::All(Merge::AnyOne(self.draws))
            }
            _ => {
                match std::str::from_utf8(request.arg(1)).ok().and_then(|text| text.parse().ok()) {
                    Some(cursor) => Reach::Scan(cursor),
                    None => Reach::Refuse("ERR invalid cursor".to_owned()),
                }
            }
        }
    }

    /// Asks the server that the cursor names, with its own cursor.
    fn scan<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
        cursor: u64,
    ) {
        let keepers = self.pools[caller.pool as usize].keepers();
        let servers = keepers.len();
        let at = ScanAt::of(cursor, servers);
        let new = self.new_gather(turn, caller, &request, Merge::Scan(servers, at.server));
        let (place, serial) = self.gathers.begin(new);
        let own = at.cursor.to_string();
        let args: Vec<&[u8]> = request.args.iter().map(|arg| arg.of(request.bytes)).collect();
        let args = [&args[..1], &[own.as_bytes()], &args[2..]].concat();
        let mut wire = Vec::new();
        redis::write_command(args.into_iter(), &mut wire);
        self.gathers.at(place).add_part(keepers[at.server], &wire);
        self.send_parts(turn, (place, serial), &request);
    }
}

fn one_server_alone(command: &str, subcommand: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(subcommand).escape_debug().take(64).collect();
    format!("ERR {command} {shown} is not supported by the proxy: it concerns one server")
}
