//! A server looked through for keys that move, without sockets: what it is asked next, and when.
//!
//! ```text
//!  Scan ─▶ the keys of a page that move ─▶ Key, one by one ─▶ the next page ─▶ … ─▶ a pass
//!           └ none in a whole pass: a clean one; two of them in a row, and it is done
//! ```

use std::time::{Duration, Instant};

use super::carry::Tokens;
use super::way::{Ask as Question, Found, Next, Way};

/// Passes in a row that must find nothing.
const CLEAN: u32 = 2;

/// Time that was not used may be made up for so much.
const BURST: Duration = Duration::from_millis(10);

/// A page costs as much as so many keys.
const PAGE_COST: u32 = 10;

/// How long a key that somebody else is at is left alone.
const WAIT: Duration = Duration::from_millis(1);

/// How long a server is left alone after something went wrong.
const REST: Duration = Duration::from_secs(1);

/// What a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// For a page of keys.
    Scan(u64),
    /// About a key.
    Key(Question, Vec<u8>),
}

/// What has become of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on.
    On,
    /// A key was seen to.
    Key(Found),
    /// A key, or a page, is given up for now.
    Failed(String),
    /// There has been nothing for long enough.
    Done,
}

/// How far it is.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Between two keys.
    pace: Duration,
    cursor: u64,
    /// Keys of the page that move.
    keys: Vec<Vec<u8>>,
    way: Way,
    carried: Option<Carried>,
    /// A key was found, or something went wrong, in this pass.
    dirty: bool,
    clean: u32,
    /// Not before then.
    due: Instant,
    /// Tells the connection that the last page came on from others.
    connection: u32,
}

/// Of a pool whose values the proxy carries.
#[derive(Debug)]
struct Carried {
    tokens: Tokens,
    /// How long a value may be on its way.
    life: Duration,
}

impl Sweep {
    /// Before the first page; at most `rate` keys a second, at least 1. `carried`: the proxy carries
    /// them, each for so long at most.
    pub(super) fn new(rate: u32, carried: Option<Duration>, now: Instant) -> Self {
        let pace = Duration::from_secs(1) / rate.max(1);
        Self {
            pace,
            cursor: 0,
            keys: Vec::new(),
            way: Way::new(None),
            carried: carried.map(|life| Carried { tokens: Tokens::default(), life }),
            dirty: false,
            clean: 0,
            due: now,
            connection: 0,
        }
    }

    /// Passes in a row that have found nothing.
    pub(super) fn clean(&self) -> u32 {
        self.clean
    }

    /// Whether there have been enough of them.
    pub(super) fn is_done(&self) -> bool {
        self.clean >= CLEAN
    }

    /// How far the key has come that is asked about.
    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    /// When it may go on.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// What is to be asked now.
    pub(super) fn ask(&mut self, now: Instant) -> Ask {
        let (ask, cost) = match self.keys.last() {
            Some(key) => {
                let asking = self.way.asking();
                // What one key takes is one key.
                let more = matches!(asking, Question::Take | Question::Put);
                (Ask::Key(asking, key.clone()), u32::from(!more))
            }
            None => (Ask::Scan(self.cursor), PAGE_COST),
        };
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.due = self.due.max(earliest) + self.pace * cost;
        ask
    }

    /// A page has come on this connection; false if it is of no use, and the pass begins anew: a
    /// server that was started anew counts its cursors otherwise.
    pub(super) fn has_come_on(&mut self, connection: u32) -> bool {
        let goes_on = self.cursor == 0 || self.connection == connection;
        self.connection = connection;
        if !goes_on {
            self.cursor = 0;
            self.dirty = false;
        }
        goes_on
    }

    /// A page has come: the next cursor, and those of its keys that move.
    pub(super) fn page(&mut self, cursor: u64, keys: Vec<Vec<u8>>, now: Instant) -> Step {
        self.cursor = cursor;
        self.dirty |= !keys.is_empty();
        self.keys = keys;
        self.begin_key();
        self.end_of_pass(now)
    }

    /// An answer about the key that was asked about.
    pub(super) fn answer(&mut self, reply: &[u8], now: Instant) -> Step {
        match self.way.replied(reply) {
            Next::Ask(_) => Step::On,
            Next::Wait => {
                self.due = now + WAIT;
                Step::On
            }
            Next::Done(found) => {
                self.next_key();
                // A pass that has found something is no clean one.
                self.end_of_pass(now);
                Step::Key(found)
            }
            Next::Failed(why) => {
                self.next_key();
                self.due = now + REST;
                self.end_of_pass(now);
                Step::Failed(why)
            }
            Next::Stuck => {
                self.failed(now);
                Step::Failed(super::way::STUCK.to_owned())
            }
        }
    }

    /// A question was not answered: the server may have been started anew, where its cursors mean
    /// nothing.
    pub(super) fn failed(&mut self, now: Instant) {
        self.dirty = false;
        self.clean = 0;
        self.cursor = 0;
        self.keys.clear();
        self.due = now + REST;
    }

    /// Nothing may be asked now.
    pub(super) fn rest(&mut self, now: Instant) {
        self.due = now + REST;
    }

    fn next_key(&mut self) {
        self.keys.pop();
        self.begin_key();
    }

    fn begin_key(&mut self) {
        self.way = Way::new(self.carried.as_mut().map(|it| it.tokens.next()));
    }

    fn end_of_pass(&mut self, now: Instant) -> Step {
        if self.cursor != 0 || !self.keys.is_empty() {
            return Step::On;
        }
        self.clean = if std::mem::take(&mut self.dirty) { 0 } else { self.clean + 1 };
        // What others, be it, have taken before the end of a pass that saw nothing is put down or
        // void before the next one begins.
        let carried = self.carried.as_ref().filter(|_| self.clean > 0);
        if let Some(Carried { life, .. }) = carried {
            self.due = now + *life * 2;
        }
        if self.is_done() { Step::Done } else { Step::On }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Vec<u8> {
        name.as_bytes().to_vec()
    }

    #[test]
    fn it_is_done_after_two_passes_without_a_key() {
        let now = Instant::now();
        let mut sweep = Sweep::new(1000, None, now);
        assert_eq!(sweep.ask(now), Ask::Scan(0));
        assert_eq!(sweep.page(5, vec![], now), Step::On);
        assert_eq!(sweep.ask(now), Ask::Scan(5));
        assert_eq!(sweep.page(0, vec![key("a"), key("b")], now), Step::On);
        assert_eq!(sweep.ask(now), Ask::Key(Question::Move, key("b")));
        assert_eq!(sweep.answer(b"+OK\r\n", now), Step::Key(Found::Here));
        assert_eq!(sweep.ask(now), Ask::Key(Question::Move, key("a")));
        assert_eq!(sweep.answer(b"-ERR: BUSYKEY\r\n", now), Step::On);
        assert_eq!(sweep.ask(now), Ask::Key(Question::Clear, key("a")));
        assert_eq!(sweep.answer(b":1\r\n", now), Step::Key(Found::Both));
        assert_eq!(sweep.clean(), 0, "that pass found something");
        assert_eq!(sweep.ask(now), Ask::Scan(0));
        assert_eq!(sweep.page(0, vec![], now), Step::On);
        assert_eq!(sweep.page(7, vec![], now), Step::On);
        assert!(!sweep.is_done());
        assert_eq!(sweep.page(0, vec![], now), Step::Done);
        assert!(sweep.is_done());
    }

    #[test]
    fn a_key_that_cannot_be_moved_and_a_lost_answer_make_no_clean_pass() {
        let now = Instant::now();
        let mut sweep = Sweep::new(1000, None, now);
        sweep.page(0, vec![key("a")], now);
        assert!(matches!(sweep.answer(b"-ERR OOM\r\n", now), Step::Failed(_)));
        assert_eq!((sweep.clean(), sweep.due()), (0, now + REST));
        sweep.page(0, vec![], now);
        assert_eq!(sweep.clean(), 1);
        sweep.page(9, vec![], now);
        sweep.failed(now);
        assert_eq!((sweep.ask(now), sweep.clean()), (Ask::Scan(0), 0));
    }

    #[test]
    fn a_pass_is_one_of_one_connection() {
        let now = Instant::now();
        let mut sweep = Sweep::new(1000, None, now);
        assert!(sweep.has_come_on(3));
        sweep.page(5, vec![], now);
        assert!(sweep.has_come_on(3));
        sweep.page(9, vec![], now);
        assert!(!sweep.has_come_on(4), "the cursor was another server's");
        assert_eq!((sweep.ask(now), sweep.clean()), (Ask::Scan(0), 0));
        assert!(sweep.has_come_on(5), "a pass may begin on any");
        assert_eq!((sweep.page(0, vec![], now), sweep.clean()), (Step::On, 1));
    }

    #[test]
    fn it_keeps_to_its_pace() {
        let (begin, rate) = (Instant::now(), 500);
        let mut sweep = Sweep::new(rate, None, begin);
        let (mut now, mut moved) = (begin, 0);
        while now < begin + Duration::from_secs(4) {
            if now >= sweep.due() {
                match sweep.ask(now) {
                    Ask::Scan(_) => drop(sweep.page(1, vec![key("a"); 20], now)),
                    Ask::Key(..) => {
                        sweep.answer(b"+OK\r\n", now);
                        moved += 1;
                    }
                }
            }
            now += Duration::from_micros(700);
        }
        // A page for twenty keys costs ten.
        let most = 4 * rate * 2 / 3;
        assert!((most - 20..=most + 20).contains(&moved), "{moved} of {most}");
    }
}
