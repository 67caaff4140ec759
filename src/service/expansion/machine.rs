//! What becomes of one operation on a key that moves: one request to a server after the other.
//!
//! ```text
//!  start ─▶ cell of the table ─▶ Step::Send ─▶ … reply │ failed ─▶ Step::Send ─▶ … Step::Answer
//!                            └─▶ Step::Park ─▶ … begin (another phase) │ failed
//!
//!  lease ─▶ value ─────────────────────────────────────────────▶ answer, or go on with its CAS
//!        └▶ stub ─▶ source ─▶ value ─▶ fill ─ won ─────────────▶ the same
//!                          │              └─ lost ─▶ answer, or once more
//!                          └▶ nothing ─▶ release ──────────────▶ nothing is there
//! ```
//! It holds no socket and no clock; whoever drives it sends its requests in order and one at a
//! time. What fails ends it with an error before anything else is touched; nothing is tried twice
//! that a server may have done.

use super::operation::{Operation, Row, Verb};
use super::step::{Context, Event, Kind, Lost, Send, Side, Step};
use super::table::{Act, Begin, cell};
use super::wire::{Answer, Code, Item, NO_CAS};
use super::{answer, wire};
use crate::config::Fill;
use crate::protocol::{Expect, Span};
use crate::routing::Phase;

/// How often an operation begins anew because others change the key all the time.
const TRIES: u8 = 4;

/// One operation under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Machine {
    op: Operation,
    phase: Phase,
    /// The step that waits for its reply; `None` while it is parked.
    act: Option<Act>,
    /// Those that come behind it.
    left: &'static [Act],
    tries: u8,
    /// The CAS of the stub that stands for the item, or of the item that the operation is for.
    cas: Option<u64>,
    /// The answer that waits for the last steps.
    kept: Vec<u8>,
    /// The old copy that was deleted was there.
    old_had_it: bool,
    /// The new server has been asked after all: what it has not, is missing.
    last_look: bool,
    event: Option<Event>,
}

impl Machine {
    /// Begins an operation.
    pub(crate) fn start(op: Operation, phase: Phase, context: &Context) -> (Self, Step) {
        let mut machine = Self {
            op,
            phase,
            act: None,
            left: &[],
            tries: 0,
            cas: None,
            kept: Vec::new(),
            old_had_it: false,
            last_look: false,
            event: None,
        };
        let step = machine.begin(phase, context);
        (machine, step)
    }

    /// Begins an operation that was parked, in the phase that it is now.
    pub(crate) fn begin(&mut self, phase: Phase, context: &Context) -> Step {
        self.phase = phase;
        match cell(&self.op, phase, context) {
            Begin::Acts(acts) => self.go(acts, context),
            Begin::Park => Step::Park,
            Begin::Exists => Step::Answer(answer::exists(&self.op)),
        }
    }

    /// The operation.
    pub(crate) fn op(&self) -> &Operation {
        &self.op
    }

    /// What the reply to the request under way must look like, and where its key stands in it.
    pub(crate) fn expect(&self, kind: Kind) -> (Expect, Span) {
        match kind {
            Kind::Meta => (Expect::Meta, Span::default()),
            Kind::Own => (self.op.expect(), self.op.key_span()),
        }
    }

    /// What the last step was, if that is worth counting.
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// Takes the whole reply to the request under way.
    pub(crate) fn reply(&mut self, reply: &[u8], context: &Context) -> Step {
        match self.act {
            Some(Act::Old) => self.answered(reply, context),
            Some(Act::New) => self.done(reply, context),
            Some(Act::ClearOld | Act::ClearNew) => self.cleared(reply, context),
            Some(Act::Lease | Act::Look | Act::Try) => self.looked(reply, context),
            Some(Act::Source) => self.sourced(reply, context),
            Some(Act::Fill) => self.filled(reply, context),
            Some(Act::Release) => self.released(reply, context),
            None => Step::Park,
        }
    }

    /// The request under way, or the time that it may be parked for, has come to nothing; `text`
    /// is what the client is told if the operation ends for it.
    pub(crate) fn failed(&mut self, why: Lost, text: &str, context: &Context) -> Step {
        let failed = Step::Answer(answer::error(text));
        let Row::Read { token } = self.op.row() else {
            if self.act == Some(Act::ClearOld) {
                self.event = Some(Event::ClearFailed);
            }
            return failed;
        };
        match self.act {
            // Whatever the old server has is alive: who killed it would have deleted it there.
            Some(Act::Lease | Act::Try) if why == Lost::Unsent && !token => {
                self.go(&[Act::Source], context)
            }
            Some(Act::New) if why == Lost::Unsent && !token && self.phase == Phase::Warm => {
                self.go(&[Act::Old], context)
            }
            Some(Act::Fill) => {
                self.event = Some(Event::FillLost);
                Step::Answer(self.miss())
            }
            Some(Act::Release) => Step::Answer(self.miss()),
            _ => failed,
        }
    }

    /// Goes on with these steps; behind the last the answer is due.
    fn go(&mut self, acts: &'static [Act], context: &Context) -> Step {
        let Some((act, left)) = acts.split_first() else {
            self.act = None;
            return Step::Answer(std::mem::take(&mut self.kept));
        };
        (self.act, self.left) = (Some(*act), left);
        Step::Send(self.request(*act, context))
    }

    fn request(&self, act: Act, context: &Context) -> Send {
        let op = &self.op;
        let meta =
            |side, bytes| Send { side, bytes, expect: Kind::Meta, bound: false, read: false };
        match act {
            Act::Old => self.own(Side::Old),
            Act::New if context.wrong.unguarded && !op.adds() => {
                Send { side: Side::New, ..self.own(Side::Old) }
            }
            Act::New => self.own(Side::New),
            Act::ClearOld => meta(Side::Old, wire::delete(op, None)),
            Act::ClearNew => meta(Side::New, wire::delete(op, None)),
            Act::Lease => meta(Side::New, wire::lease(op, context.stub_ttl)),
            Act::Look | Act::Try => Send { read: true, ..meta(Side::New, wire::look(op)) },
            Act::Source => Send { read: true, ..meta(Side::Old, wire::look(op)) },
            // Its bytes are made of the reply that brought the value.
            Act::Fill => meta(Side::New, Vec::new()),
            Act::Release => Send { bound: true, ..meta(Side::New, wire::delete(op, self.cas)) },
        }
    }

    /// The operation itself; at the new server, if need be, for one item alone.
    fn own(&self, side: Side) -> Send {
        let guard = self.cas.filter(|_| side == Side::New && self.op.row() == Row::Change);
        match guard {
            Some(cas) => Send {
                side,
                bytes: wire::guarded(&self.op, cas),
                expect: if self.op.is_meta() { Kind::Own } else { Kind::Meta },
                bound: cas != NO_CAS,
                read: false,
            },
            None => Send {
                side,
                bytes: wire::verbatim(&self.op),
                expect: Kind::Own,
                bound: false,
                read: self.op.is_read(),
            },
        }
    }

    fn answered(&mut self, reply: &[u8], context: &Context) -> Step {
        // A proxy may be past the fence while another is still behind it: what that tells must not
        // hold here.
        let fenced = self.phase == Phase::Fence && self.op.row() == (Row::Read { token: true });
        self.kept = if fenced { answer::without_token(&self.op, reply) } else { reply.to_vec() };
        self.go(self.left, context)
    }

    /// The new server has answered the operation itself.
    fn done(&mut self, reply: &[u8], context: &Context) -> Step {
        match self.op.row() {
            Row::Read { .. } if self.op.is_meta() && !self.last_look => {
                let item = Answer::of(reply).item();
                let unclear = matches!(item, Item::Missing | Item::Stub) || reply.is_empty();
                return match self.phase {
                    Phase::Warm if unclear && self.op.asks_token() => {
                        self.go(&[Act::Lease], context)
                    }
                    Phase::Warm if unclear => self.go(fallback(context), context),
                    Phase::Drain if item == Item::Stub => {
                        self.kept = reply.to_vec();
                        self.go(&[Act::Look], context)
                    }
                    _ => self.answered(reply, context),
                };
            }
            Row::Read { .. } if self.op.is_meta() && Answer::of(reply).item() == Item::Stub => {
                return Step::Answer(answer::missing(&self.op));
            }
            Row::Delete => self.kept = answer::deleted(&self.op, reply, self.old_had_it),
            Row::Change if self.cas.is_some() && !context.wrong.unguarded => {
                let touches = matches!(self.op.verb, Verb::Touch | Verb::GetAndTouch { .. });
                if touches && Answer::of(reply).item() == Item::Stub {
                    return self.again(context);
                }
                let Some(answer) = answer::translated(&self.op, reply) else {
                    return self.again(context);
                };
                self.kept = answer;
            }
            // It may have met a stub, which only seems to be something.
            Row::Change if self.op.adds() && self.phase == Phase::Drain && !stored(reply) => {
                return self.again(context);
            }
            _ => self.kept = reply.to_vec(),
        }
        self.go(self.left, context)
    }

    fn cleared(&mut self, reply: &[u8], context: &Context) -> Step {
        let code = Answer::of(reply).code;
        if code == Code::Error {
            self.event = (self.act == Some(Act::ClearOld)).then_some(Event::ClearFailed);
            return Step::Answer(reply.to_vec());
        }
        self.old_had_it |= self.act == Some(Act::ClearOld) && code == Code::Done;
        self.go(self.left, context)
    }

    /// The new server has said what it has.
    fn looked(&mut self, reply: &[u8], context: &Context) -> Step {
        let found = Answer::of(reply);
        if found.code == Code::Error {
            return match self.op.row() {
                Row::Read { token: false } if self.phase == Phase::Warm => {
                    self.go(&[Act::Source], context)
                }
                _ => Step::Answer(reply.to_vec()),
            };
        }
        let (item, cas) = (found.item(), found.number(b'c'));
        match self.op.row() {
            Row::Read { token } => self.read(&found, (item, token), context),
            Row::Cas(wanted) => match item {
                Item::Missing => Step::Answer(answer::missing(&self.op)),
                Item::Won | Item::Stub => self.without(cas, context),
                _ if wanted.is_none() || wanted == cas => self.change(None, context),
                _ => Step::Answer(answer::exists(&self.op)),
            },
            _ => match item {
                Item::Missing | Item::Won | Item::Stub => self.without(cas, context),
                _ => self.with(cas, context),
            },
        }
    }

    /// A read has seen what the new server has.
    fn read(&mut self, found: &Answer<'_>, (item, token): (Item, bool), context: &Context) -> Step {
        let warm = self.phase == Phase::Warm;
        match item {
            Item::Value | Item::Stale if self.op.is_meta() && warm => self.look_last(context),
            // What was kept is the answer to the client's own request.
            Item::Value | Item::Stale if self.op.is_meta() => self.go(&[], context),
            Item::Value | Item::Stale => {
                Step::Answer(answer::value(&self.op, found, found.number(b'c')))
            }
            Item::Won => {
                self.cas = found.number(b'c');
                self.go(&[Act::Source], context)
            }
            Item::Missing if self.act == Some(Act::Try) => self.go(&[Act::Source], context),
            Item::Missing if context.wrong.add_fill && warm => self.go(&[Act::Source], context),
            Item::Stub if warm && !token => self.go(&[Act::Source], context),
            // Whoever fills it may be done by now.
            Item::Stub if warm && !std::mem::replace(&mut self.last_look, true) => {
                self.go(if self.op.is_meta() { &[Act::New] } else { &[Act::Look] }, context)
            }
            // The token to renew a stale item goes to the client as what it means to him: a miss.
            Item::WonStale | Item::Missing | Item::Stub => Step::Answer(answer::missing(&self.op)),
        }
    }

    /// The new server has what it shall have: the client's own request is answered there.
    fn look_last(&mut self, context: &Context) -> Step {
        self.last_look = true;
        self.go(&[Act::New], context)
    }

    /// There is an item at the new server, with this CAS.
    fn with(&mut self, cas: Option<u64>, context: &Context) -> Step {
        if self.op.adds() {
            return Step::Answer(answer::present(&self.op));
        }
        self.change(cas, context)
    }

    /// Does the operation to the item with this CAS.
    fn change(&mut self, cas: Option<u64>, context: &Context) -> Step {
        self.cas = cas;
        let drains = self.phase == Phase::Drain;
        self.go(if drains { &[Act::New] } else { &[Act::ClearOld, Act::New] }, context)
    }

    /// There is no item at the new server, but perhaps a stub with this CAS.
    fn without(&mut self, stub: Option<u64>, context: &Context) -> Step {
        self.cas = stub;
        // Where the old copy has been deleted, a stub only waits for one that was read before.
        if self.phase == Phase::Warm {
            self.go(&[Act::Source], context)
        } else {
            self.nothing(context)
        }
    }

    /// The old server has said what it has.
    fn sourced(&mut self, reply: &[u8], context: &Context) -> Step {
        let found = Answer::of(reply);
        if found.code == Code::Error {
            return Step::Answer(reply.to_vec());
        }
        let reads = matches!(self.op.row(), Row::Read { .. });
        if found.item() != Item::Value {
            self.event = Some(Event::FallbackMiss);
            return self.nothing(context);
        }
        self.event = Some(Event::FallbackHit);
        if self.op.row() == (Row::Read { token: false }) && !self.op.is_meta() {
            self.kept = answer::value(&self.op, &found, None);
        }
        let by_add = context.wrong.add_fill && reads;
        // It has less than a second left: none that a copy could be given.
        let last_second = found.seconds_left() == Some(0);
        match self.cas {
            None if reads && self.op.is_meta() => self.go(&[Act::Old], context),
            None if reads && !by_add => Step::Answer(self.miss()),
            _ if last_second => self.nothing(context),
            cas => {
                let most = context.fill_ttl_max;
                let most = (reads && most > 0).then_some(i64::from(most));
                let bytes = wire::fill(&self.op, (&found, most), cas, context.unix);
                self.act = Some(Act::Fill);
                Step::Send(Send { bytes, bound: true, ..self.request(Act::Fill, context) })
            }
        }
    }

    /// Neither server has an item; the stub, if it may be ours to take away, goes.
    fn nothing(&mut self, context: &Context) -> Step {
        if self.op.adds() {
            return self.absent(context);
        }
        if self.cas.is_some() {
            return self.go(&[Act::Release], context);
        }
        match self.op.row() {
            Row::Read { .. } | Row::Cas(_) => Step::Answer(self.miss()),
            _ => self.absent(context),
        }
    }

    /// What a read answers that comes to nothing, or to what it has kept.
    fn miss(&mut self) -> Vec<u8> {
        let kept = std::mem::take(&mut self.kept);
        if kept.is_empty() { answer::missing(&self.op) } else { kept }
    }

    fn filled(&mut self, reply: &[u8], context: &Context) -> Step {
        let result = Answer::of(reply);
        let won = result.code == Code::Done;
        self.event = Some(if won { Event::FillWon } else { Event::FillLost });
        let cas = result.number(b'c');
        match self.op.row() {
            Row::Read { token: true } if result.code == Code::Error => {
                Step::Answer(answer::missing(&self.op))
            }
            Row::Read { token } if self.op.is_meta() => {
                if won || token {
                    self.look_last(context)
                } else {
                    self.go(&[Act::Old], context)
                }
            }
            // The reply does not hold the value any more, but the server does.
            Row::Read { token: true } => {
                self.last_look = true;
                self.go(&[Act::Look], context)
            }
            Row::Read { token: false } => Step::Answer(std::mem::take(&mut self.kept)),
            _ if result.code == Code::Error => Step::Answer(reply.to_vec()),
            _ if !won => self.again(context),
            Row::Cas(Some(_)) => Step::Answer(answer::exists(&self.op)),
            Row::Cas(None) => self.change(None, context),
            _ => self.with(cas, context),
        }
    }

    fn released(&mut self, reply: &[u8], context: &Context) -> Step {
        match self.op.row() {
            Row::Read { .. } => Step::Answer(self.miss()),
            _ if Answer::of(reply).code != Code::Done => self.again(context),
            Row::Cas(_) => Step::Answer(answer::missing(&self.op)),
            _ => self.absent(context),
        }
    }

    /// Nothing is there that the operation could change.
    fn absent(&mut self, context: &Context) -> Step {
        let creates = || self.op.flags().any(|flag| flag.first() == Some(&b'N'));
        if self.op.adds() {
            // Into the stub, or where there is none.
        } else if self.op.row() == Row::Stale || (self.op.is_meta() && creates()) {
            self.cas = None;
        } else if self.op.is_meta() {
            // The server says it in its own words; the item that this is for does not exist.
            self.cas = Some(self.cas.unwrap_or(NO_CAS));
        } else {
            return Step::Answer(answer::missing(&self.op));
        }
        self.go(&[Act::New], context)
    }

    /// Others have changed the key meanwhile: looks at it anew.
    fn again(&mut self, context: &Context) -> Step {
        self.tries += 1;
        if self.tries >= TRIES {
            return Step::Answer(answer::error("too many changes of one key at once"));
        }
        self.cas = None;
        let drains = self.phase == Phase::Drain;
        self.go(if drains { &[Act::Look] } else { &[Act::Lease] }, context)
    }
}

/// What follows where the new server has nothing for a meta read.
fn fallback(context: &Context) -> &'static [Act] {
    match context.fill {
        Fill::Vivify => &[Act::Lease],
        Fill::Off => &[Act::Source],
    }
}

/// Whether a client's own request has not been refused for what is there.
fn stored(reply: &[u8]) -> bool {
    !reply.starts_with(b"NS") && !reply.starts_with(b"NOT_STORED")
}
