//! Reads of several keys: those found here are one part of the reply, each hot one that is not is a
//! part that a fill answers, and the others go to their servers as always.

use super::fills::{Question, Whom, Wish};
use super::forms::{self, Form};
use super::looks::Looked;
use crate::cache::near::Kind;
use crate::config::Protocol;
use crate::protocol::{Expect, Request, Span, redis};
use crate::service::dispatch::Turn;
use crate::service::fragment::{self, Merge};
use crate::service::proxy::{Caller, Proxy};
use crate::service::replies::Clients;

/// Where one of the keys is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Here.
    Near,
    /// By a fill.
    Hot,
    /// At its server.
    There,
}

impl Proxy {
    /// Sees to such a read; `None` if it needs nothing more.
    pub(super) fn near_several<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: &Request<'_>,
    ) -> Option<u32> {
        let memcache = self.pools[caller.pool as usize].settings.protocol == Protocol::Memcache;
        let mut reply = Vec::new();
        let found: Vec<Found> = (1..request.args.len())
            .map(|at| self.find(turn, caller, (request.arg(at), memcache), &mut reply))
            .collect();
        if found.iter().all(|it| *it == Found::There) {
            return Some(0);
        }
        self.split_near(turn, caller, request, (&found, reply));
        None
    }

    /// Looks for one of several keys; appends its part of the reply if it is here.
    fn find<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        (name, memcache): (&[u8], bool),
        reply: &mut Vec<u8>,
    ) -> Found {
        let pool = caller.pool;
        let looked = self.look_near((pool, turn.now), (name, None), |entry| {
            match entry.kind {
                Kind::Plain if memcache => {
                    forms::write_block_header(name, entry.flags, entry.value.len(), reply);
                    reply.extend_from_slice(entry.value);
                    reply.extend_from_slice(b"\r\n");
                }
                Kind::Plain => redis::write_bulk(entry.value, reply),
                Kind::Fields => return None,
                // memcache: no block. MGET takes what is no string for absent.
                _ if memcache => {}
                _ => forms::write_value(None, caller.resp3, reply),
            }
            Some(())
        });
        match looked {
            Looked::Hit(seen) => {
                self.note_hit(pool, &seen);
                self.verify_if_due(turn, caller, ((name, None), seen.kind));
                Found::Near
            }
            Looked::Hot => Found::Hot,
            Looked::There => Found::There,
        }
    }

    /// Splits a request over the servers of its keys and what is here.
    fn split_near<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: &Request<'_>,
        (found, local): (&[Found], Vec<u8>),
    ) {
        let pool = caller.pool;
        let memcache = self.pools[pool as usize].settings.protocol == Protocol::Memcache;
        let merge = if memcache { Merge::Values } else { Merge::Array };
        let new = self.new_gather(turn, caller, request, merge);
        let (place, serial) = self.gathers.begin(new);
        let owner = &self.pools[pool as usize];
        self.part_of.clear();
        self.part_of.resize(owner.servers.len(), None);
        let gather = self.gathers.at(place);
        let command: &[u8] = if memcache { b"get" } else { &[] };
        // As long as this part is unanswered the request does not end.
        let here = gather.add_part(0, command);
        gather.parts()[here as usize].elsewhere = true;
        let mut hot: Vec<(Span, u16)> = Vec::new();
        for (name, found) in request.args[1..].iter().zip(found) {
            let Ok(server) = owner.lasting_place(name.of(request.bytes)) else { break };
            let part = match found {
                Found::Near => here,
                Found::Hot => {
                    let part = gather.add_part(server, command);
                    gather.parts()[part as usize].elsewhere = true;
                    hot.push((*name, part));
                    part
                }
                Found::There => {
                    *self.part_of[server].get_or_insert_with(|| gather.add_part(server, command))
                }
            };
            if memcache {
                let word = Span { start: name.start - 1, end: name.end };
                gather.add_word(word.of(request.bytes), part);
            } else {
                gather.add_key(part);
            }
        }
        if memcache {
            gather.parts().iter_mut().for_each(fragment::end_line);
        } else {
            fragment::write_redis_parts(gather, request, 1, 1);
        }
        self.send_parts(turn, (place, serial), request);
        for (name, part) in hot {
            let form = if memcache { Form::Get } else { Form::Element { resp3: caller.resp3 } };
            let question = if memcache { Question::Meta } else { Question::Value };
            let whom = Whom::Part { gather: place, serial, part, ticket: Some(caller.ticket) };
            let key = name.of(request.bytes);
            let wish = Wish { pool, lane: caller.lane(), key, question, whom, form };
            if self.join_or_fill(turn, wish, true).is_some() {
                let expect = if memcache { Expect::Values } else { Expect::Resp };
                self.send_part(turn, (place, serial), (part, expect, true));
            }
        }
        let reply = if memcache { local } else { array_of(found, &local) };
        if self.gathers.answer((place, serial), here, &reply) {
            self.complete(turn, place);
        }
    }
}

/// The elements that were found here, as an array.
fn array_of(found: &[Found], elements: &[u8]) -> Vec<u8> {
    let count = found.iter().filter(|it| **it == Found::Near).count();
    let mut reply = Vec::with_capacity(elements.len() + 16);
    redis::write_header(b'*', count, &mut reply);
    reply.extend_from_slice(elements);
    reply
}
