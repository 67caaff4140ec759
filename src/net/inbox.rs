//! A bounded box that other threads and tasks put mail into for one worker.
//!
//! The lock is held for a push or a swap of two vectors, never across a system call, and the
//! worker is woken once for however much has come in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The sending side; clone it freely.
#[derive(Debug)]
pub struct Inbox<M> {
    shared: Arc<Mutex<State<M>>>,
}

#[derive(Debug)]
struct State<M> {
    mail: Vec<M>,
    capacity: usize,
    waker: Option<Waker>,
}

/// The receiving side, held by the worker's driver.
#[derive(Debug)]
pub struct Mail<M> {
    shared: Arc<Mutex<State<M>>>,
}

impl<M> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

fn lock<M>(shared: &Mutex<State<M>>) -> MutexGuard<'_, State<M>> {
    // A panic elsewhere cannot leave two vectors half swapped.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M> Inbox<M> {
    /// A box for at most `capacity` letters, and its receiving side.
    pub fn new(capacity: usize) -> (Self, Mail<M>) {
        let shared = Arc::new(Mutex::new(State { mail: Vec::new(), capacity, waker: None }));
        (Self { shared: Arc::clone(&shared) }, Mail { shared })
    }

    /// Takes letters from `batch` while there is room and wakes the worker once; what did not fit
    /// stays in `batch`.
    pub fn push_all(&self, batch: &mut Vec<M>) {
        let mut state = lock(&self.shared);
        let fits = state.capacity.saturating_sub(state.mail.len()).min(batch.len());
        state.mail.extend(batch.drain(..fits));
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Puts one letter in whatever the number of others: for what is bounded by its sender.
    pub fn push(&self, letter: M) {
        let mut state = lock(&self.shared);
        state.mail.push(letter);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<M> Mail<M> {
    /// Moves all letters into `into` (which is empty); with none there, asks to be woken.
    pub(crate) fn poll(&self, into: &mut Vec<M>, waker: &Waker) {
        let mut state = lock(&self.shared);
        if state.mail.is_empty() {
            state.waker = Some(waker.clone());
        } else {
            std::mem::swap(&mut state.mail, into);
        }
    }
}
