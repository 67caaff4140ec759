//! The driver: tells a worker which of its sockets may be read or written, and does both.
//!
//! ```text
//!  epoll (tokio) ─▶ a socket's waker ─▶ ready list ─▶ turn(): tokens ─▶ worker
//!                                                        ▲                │
//!                    timer, mail ────────────────────────┘   read(), write()
//! ```
//! One task runs a whole worker. Each socket has a waker that puts its token on the ready list
//! and wakes that task if the list was empty, so a turn costs one wake however many sockets have
//! something. Reading and writing end where the kernel has no more: that arms the waker again.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use bytes::BufMut;
use tokio::time::Sleep;

use super::inbox::Mail;
use super::stream::Stream;

/// Names a socket within its driver; reused after [`Driver::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

/// What a read found.
#[derive(Debug)]
pub enum Read {
    /// This many bytes were appended; 0 means that none are there now.
    Bytes(usize),
    /// This many bytes were appended, and then the peer had closed its side.
    End(usize),
    /// The connection broke.
    Failed(io::ErrorKind),
}

/// What a write did.
#[derive(Debug)]
pub enum Written {
    /// This many bytes were taken; fewer than given means that the socket is full for now.
    Bytes(usize),
    /// The connection broke.
    Failed(io::ErrorKind),
}

struct Slot<O> {
    stream: Stream,
    owner: O,
    bell: Arc<Bell>,
    waker: Waker,
}

/// The ready list, shared with the wakers of all sockets.
#[derive(Default)]
struct Ready(Mutex<List>);

#[derive(Default)]
struct List {
    tokens: Vec<Token>,
    worker: Option<Waker>,
}

/// One socket's waker.
struct Bell {
    ready: Arc<Ready>,
    token: Token,
    rung: AtomicBool,
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, token: Token) {
        let mut list = self.lock();
        list.tokens.push(token);
        let worker = list.worker.take();
        drop(list);
        if let Some(worker) = worker {
            worker.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.ready.push(self.token);
        }
    }
}

/// The sockets of one worker. `O` is what the worker wants to know a socket by, `M` its mail.
pub struct Driver<O, M> {
    slots: Vec<Option<Slot<O>>>,
    free: Vec<Token>,
    ready: Arc<Ready>,
    mail: Mail<M>,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Instant>,
}

impl<O: Copy, M> Driver<O, M> {
    /// A driver without sockets; must be made on a thread that is within a tokio runtime.
    pub fn new(mail: Mail<M>) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            ready: Arc::default(),
            mail,
            timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
            timer_at: None,
        }
    }

    /// Takes a socket over; its owner hears of it as soon as there is something to read.
    pub fn insert(&mut self, stream: Stream, owner: O) -> Token {
        let token = self.free.pop().unwrap_or(Token(self.slots.len() as u32));
        let bell = Arc::new(Bell {
            ready: Arc::clone(&self.ready),
            token,
            // Counts as rung until the first turn: nobody has asked to be woken yet.
            rung: AtomicBool::new(true),
        });
        let waker = Waker::from(Arc::clone(&bell));
        self.ready.push(token);
        let slot = Some(Slot { stream, owner, bell, waker });
        match self.slots.get_mut(token.0 as usize) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        token
    }

    /// Closes a socket; its token may come back for another one.
    pub fn remove(&mut self, token: Token) {
        if self.slots.get_mut(token.0 as usize).and_then(Option::take).is_some() {
            self.free.push(token);
        }
    }

    /// Tells the peer that nothing more will come. Closing at once instead would throw away what
    /// the peer has not read yet if it has sent something that we have not read.
    pub fn finish(&mut self, token: Token) {
        if let Some(Some(slot)) = self.slots.get_mut(token.0 as usize) {
            // A peer that has gone already needs not be told.
            let _ = slot.stream.finish();
        }
    }

    /// Has `token` appear in the next turn whether or not anything has happened to it.
    pub fn touch(&mut self, token: Token) {
        if let Some(Some(slot)) = self.slots.get(token.0 as usize) {
            slot.bell.wake_by_ref();
        }
    }

    /// The owner of a socket, if it is still here.
    pub fn owner(&self, token: Token) -> Option<O> {
        self.slots.get(token.0 as usize)?.as_ref().map(|slot| slot.owner)
    }

    /// Waits until sockets are ready, mail is there or `until` has come, and fills both vectors
    /// (which it clears first; either or both may stay empty).
    pub async fn turn(
        &mut self,
        until: Option<Instant>,
        tokens: &mut Vec<Token>,
        mail: &mut Vec<M>,
    ) {
        tokens.clear();
        mail.clear();
        // Neither work left over from the last turn nor a timer that is due already may keep the
        // runtime from asking epoll: after the process has been stopped for a while, replies that
        // are there must be seen before their requests are timed out.
        let leftover = !self.ready.lock().tokens.is_empty();
        let (mut asked, mut due) = (false, false);
        poll_fn(|cx| {
            let first = !std::mem::replace(&mut asked, true);
            let look = !(first && leftover);
            if look && (self.poll_sources(cx, tokens, mail) || due) {
                return Poll::Ready(());
            }
            due = look && self.poll_timer(cx, until);
            match (look && !due, first) {
                (true, _) => return Poll::Pending,
                (false, false) => return Poll::Ready(()),
                (false, true) => cx.waker().wake_by_ref(),
            }
            Poll::Pending
        })
        .await;
    }

    /// Takes tokens and mail; with none there, asks to be woken and returns `false`.
    fn poll_sources(
        &mut self,
        cx: &mut Context<'_>,
        tokens: &mut Vec<Token>,
        mail: &mut Vec<M>,
    ) -> bool {
        self.mail.poll(mail, cx.waker());
        let mut list = self.ready.lock();
        std::mem::swap(&mut list.tokens, tokens);
        let found = !tokens.is_empty() || !mail.is_empty();
        if !found {
            list.worker = Some(cx.waker().clone());
        }
        drop(list);
        for token in tokens.iter() {
            if let Some(Some(slot)) = self.slots.get(token.0 as usize) {
                slot.bell.rung.store(false, Ordering::Release);
            }
        }
        found
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> bool {
        let Some(at) = until else { return false };
        if self.timer_at != Some(at) {
            self.timer.as_mut().reset(at.into());
            self.timer_at = Some(at);
        }
        let due = self.timer.as_mut().poll(cx).is_ready();
        if due {
            self.timer_at = None;
        }
        due
    }

    /// Appends to `into` what has come in, at most up to `into`'s capacity (of which some must be
    /// free). If that is used up, the token appears again in the next turn.
    pub fn read(&mut self, token: Token, into: &mut Vec<u8>) -> Read {
        let Some(Some(slot)) = self.slots.get_mut(token.0 as usize) else {
            return Read::Failed(io::ErrorKind::NotConnected);
        };
        let mut cx = Context::from_waker(&slot.waker);
        let before = into.len();
        loop {
            let room = into.capacity() - into.len();
            if room == 0 {
                slot.bell.wake_by_ref();
                return Read::Bytes(into.len() - before);
            }
            match poll_append(&mut slot.stream, &mut cx, into, room) {
                Poll::Ready(Ok(0)) => return Read::End(into.len() - before),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Read::Failed(e.kind()),
                Poll::Pending => return Read::Bytes(into.len() - before),
            }
        }
    }

    /// Writes `parts` one after the other as far as the socket takes them; if it does not take
    /// all, the token appears in a turn when it can take more.
    pub fn write(&mut self, token: Token, parts: [&[u8]; 2]) -> Written {
        let Some(Some(slot)) = self.slots.get_mut(token.0 as usize) else {
            return Written::Failed(io::ErrorKind::NotConnected);
        };
        let mut cx = Context::from_waker(&slot.waker);
        let total = parts[0].len() + parts[1].len();
        let mut done = 0;
        while done < total {
            let first = &parts[0][done.min(parts[0].len())..];
            let second = &parts[1][done.saturating_sub(parts[0].len())..];
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let slices = match (first.is_empty(), second.is_empty()) {
                (true, _) => &slices[1..],
                (_, true) => &slices[..1],
                _ => &slices[..],
            };
            match slot.stream.poll_write(&mut cx, slices) {
                Poll::Ready(Ok(n)) if n > 0 => done += n,
                Poll::Pending => break,
                // What was taken must be known: it must not be sent a second time. The next
                // attempt meets the failure again.
                Poll::Ready(_) if done > 0 => {
                    slot.bell.wake_by_ref();
                    break;
                }
                Poll::Ready(Ok(_)) => return Written::Failed(io::ErrorKind::WriteZero),
                Poll::Ready(Err(e)) => return Written::Failed(e.kind()),
            }
        }
        Written::Bytes(done)
    }
}

/// One read into the free capacity of `into`, at most `room` bytes.
fn poll_append(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    into: &mut Vec<u8>,
    room: usize,
) -> Poll<io::Result<usize>> {
    let mut limited = into.limit(room);
    tokio_util::io::poll_read_buf(Pin::new(stream), cx, &mut limited)
}
