//! The queue of what is in flight, step by step beside a model of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config as ProptestConfig;

use super::{TIMEOUT, seq_of, to};
use crate::backend::{Ask, Cause, Inflight};
use crate::protocol::{Expect, Span};

/// One step of the life of a queue.
#[derive(Clone, Debug)]
enum Step {
    /// A request of so many bytes: a read, a write, or one that is kept but not a read (`gat`).
    Push(u8, usize),
    /// The socket takes so many bytes.
    Write(usize),
    /// The oldest written request is answered.
    Reply,
    /// Time passes, in milliseconds, and what is due times out.
    Pass(u64),
    /// The connection closes and what stays is sent anew.
    Close { retry: bool, begun: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8, 1..3000_usize).prop_map(|(kind, len)| Step::Push(kind, len)),
        3 => (0..6000_usize).prop_map(Step::Write),
        4 => Just(Step::Reply),
        1 => (0..80_u64).prop_map(Step::Pass),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(retry, begun)| Step::Close { retry, begun }),
    ];
    proptest::collection::vec(step, 1..200)
}

/// A request as the model knows it.
#[derive(Clone, Debug)]
struct Wanted {
    seq: u32,
    kind: u8,
    bytes: Vec<u8>,
    deadline: Instant,
    retried: bool,
    expired: bool,
}

/// The model: a plain list, beside the queue and the bytes it is given.
struct Model {
    queue: Inflight,
    list: VecDeque<Wanted>,
    /// Bytes not written, and how many are.
    out: Vec<u8>,
    written: u64,
    now: Instant,
    next: u32,
    /// How often each request was answered, with a reply or an error.
    answered: Vec<u32>,
}

impl Model {
    fn new() -> Self {
        Self {
            queue: Inflight::default(),
            list: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            now: Instant::now(),
            next: 0,
            answered: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Push(kind, len) => self.push(kind, len),
            Step::Write(n) => {
                let n = n.min(self.out.len());
                self.out.drain(..n);
                self.written += n as u64;
            }
            Step::Reply => self.reply(),
            Step::Pass(millis) => self.pass(millis),
            Step::Close { retry, begun } => self.close(retry, begun),
        }
        self.check();
    }

    fn push(&mut self, kind: u8, len: usize) {
        let seq = self.next;
        self.next += 1;
        self.answered.push(0);
        let bytes: Vec<u8> = (0..len).map(|at| (at as u32 ^ seq) as u8).collect();
        let ask = Ask {
            to: to(seq),
            expect: if kind == 1 { Expect::Stored } else { Expect::Value },
            read: kind == 0,
            key: Span { start: 0, end: len as u32 },
            may_miss: false,
            patient: false,
            mark: 0,
        };
        let (one, two) = bytes.split_at(len / 3);
        self.queue.push(ask, &[one, two], self.now, Some(TIMEOUT));
        self.out.extend_from_slice(&bytes);
        let deadline = self.now + TIMEOUT;
        self.list.push_back(Wanted { seq, kind, bytes, deadline, retried: false, expired: false });
    }

    /// How many of the list are written at least in part.
    fn sent(&self) -> usize {
        let mut unsent = self.out.len();
        let of_list = self.list.iter().rev().take_while(|wanted| {
            let whole = unsent >= wanted.bytes.len();
            unsent = unsent.saturating_sub(wanted.bytes.len());
            whole
        });
        self.list.len() - of_list.count()
    }

    fn reply(&mut self) {
        if self.sent() == 0 {
            assert!(self.queue.front(self.written).is_none(), "nothing was asked");
            return;
        }
        let wanted = self.list.pop_front().unwrap();
        let (_, key) = self.queue.front(self.written).expect("it was written");
        assert!(wanted.kind == 1 || key == wanted.bytes, "another's key");
        self.queue.heard();
        let entry = self.queue.pop().unwrap();
        assert_eq!(seq_of(entry.ask.to), (!wanted.expired).then_some(wanted.seq));
        self.answered[wanted.seq as usize] += u32::from(!wanted.expired);
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        let mut told = Vec::new();
        self.queue.expire(self.now, false, |entry| told.push(seq_of(entry.ask.to).unwrap()));
        let mut due = Vec::new();
        for wanted in &mut self.list {
            if wanted.deadline <= self.now && !wanted.expired {
                wanted.expired = true;
                due.push(wanted.seq);
            }
        }
        assert_eq!(told, due);
        told.iter().for_each(|&seq| self.answered[seq as usize] += 1);
    }

    fn close(&mut self, retry: bool, begun: bool) {
        let sent = self.sent();
        let begun = begun && sent > 0;
        let cause = Cause { written: self.written, retry, reply_begun: begun };
        let remains = self.queue.closed(cause, &self.out);
        let (mut failed, mut resend, mut stay) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut retried = 0;
        for (index, mut wanted) in std::mem::take(&mut self.list).into_iter().enumerate() {
            let again = retry && wanted.kind == 0 && !wanted.retried && !(index == 0 && begun);
            if wanted.expired {
                continue;
            }
            if index < sent && !again {
                failed.push(wanted.seq);
                continue;
            }
            wanted.retried |= index < sent;
            retried += usize::from(index < sent);
            resend.extend_from_slice(&wanted.bytes);
            stay.push_back(wanted);
        }
        let told: Vec<u32> =
            remains.failed.iter().map(|entry| seq_of(entry.ask.to).unwrap()).collect();
        assert_eq!((told, remains.retried), (failed.clone(), retried));
        assert!(remains.resend == resend, "other bytes are sent again");
        failed.iter().for_each(|&seq| self.answered[seq as usize] += 1);
        (self.list, self.out, self.written) = (stay, resend, 0);
    }

    fn check(&self) {
        assert_eq!(self.queue.len(), self.list.len());
        let sent = self.sent();
        let unsent = self.out.len() as u64;
        assert_eq!(self.queue.unwritten(self.written), (self.list.len() - sent, unsent));
        let all: usize = self.list.iter().map(|wanted| wanted.bytes.len()).sum();
        assert_eq!(self.queue.bytes(), all as u64);
        let kept = self.list.iter().filter(|wanted| wanted.kind != 1);
        let kept: usize = kept.map(|wanted| wanted.bytes.len()).sum();
        assert!(self.queue.kept_bytes() >= kept);
        let due = self.list.iter().filter(|wanted| !wanted.expired).map(|wanted| wanted.deadline);
        let next = self.queue.next_deadline(Some(TIMEOUT), false);
        assert!(due.min().is_none_or(|due| next.is_some_and(|next| next <= due)));
        for (seq, &answers) in self.answered.iter().enumerate() {
            let waits = self.list.iter().any(|w| w.seq == seq as u32 && !w.expired);
            assert_eq!(answers + u32::from(waits), 1, "request {seq}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_or_waits_whole(steps in steps()) {
        let mut model = Model::new();
        steps.iter().for_each(|step| model.step(step));
        // What is left fails when everything is given up.
        for entry in model.queue.drain() {
            let Some(seq) = seq_of(entry.ask.to) else { continue };
            model.answered[seq as usize] += 1;
        }
        assert!(model.answered.iter().all(|&answers| answers == 1));
    }
}

#[test]
fn a_request_whose_bytes_are_lost_is_not_waited_for() {
    let mut queue = Inflight::default();
    let ask = Ask {
        to: to(1),
        expect: Expect::Stored,
        read: false,
        key: Span::default(),
        may_miss: false,
        patient: false,
        mark: 0,
    };
    queue.push(ask, &[b"whole"], Instant::now(), None);
    let cause = Cause { written: 0, retry: true, reply_begun: false };
    let remains = queue.closed(cause, b"who");
    assert_eq!((remains.failed.len(), remains.resend.len(), queue.len()), (1, 0, 0));
}
