//! What is due by the clock: late requests, silent servers, clients that hold a server up, probes.
//!
//! ```text
//!  arm ─▶ tick ─▶ look_at ─┬▶ check_pause
//!   ▲                      ├▶ expire ─▶ fail_entry, broken
//!   └────── rearm ◀────────┴▶ probe_if_due
//! ```

use std::time::{Duration, Instant};

use crate::backend::{Failure, Phase};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Duty, Pause, Proxy};
use crate::service::replies::{Clients, Progress};

/// How long one client may keep a server connection waiting without reading any of the replies
/// that it has been sent, when it holds as many of them as it may.
pub(super) const STALL: Duration = Duration::from_millis(500);

/// How long it may do so while it reads, but little: others wait for its sake.
const WAIT_MOST: Duration = Duration::from_secs(5);

/// How often a down server whose connection is open is looked at.
const PROBE_AGAIN: Duration = Duration::from_millis(100);

/// The shortest time between two looks at a connection by the clock.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Proxy {
    /// What is due: requests time out, silent connections are given up, dead servers probed,
    /// clients that hold a server up are cut off.
    pub fn tick<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        while let Some(link) = self.next_due(turn.now) {
            self.look_at(turn, link);
        }
        self.nearby.marks.tick(turn.now);
        self.end_parking(turn);
        self.verify_again(turn.now);
        self.end_waiting(turn);
        self.end_parked(turn);
        self.ask_again(turn);
        self.sweep(turn);
    }

    fn look_at<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        match self.links[link as usize].duty {
            // Nobody is there: the alarm was set before.
            Duty::Gone => return,
            Duty::Subscriber if self.has_had_its_time(link, turn.now) => {
                return self.end_last_messages(turn, link);
            }
            _ => {}
        }
        self.check_pause(turn, link);
        self.spare_upload(turn, link);
        let now = turn.now;
        let mut late = Vec::new();
        let place = &mut self.links[link as usize];
        let silent = place.due_by.is_some_and(|by| now >= by);
        let paused = place.paused.is_some();
        let expired = place.connection.expire(now, paused, |entry| late.push(entry));
        let any_late = !late.is_empty();
        for entry in late {
            self.fail_entry(turn, link, &entry, (false, Failure::TimedOut));
        }
        // twemproxy gives the connection up with the first request that is late.
        let given_up = self.compat && any_late;
        if expired.is_err() || silent || given_up {
            self.broken(turn, link, Failure::TimedOut);
        }
        if self.links[link as usize].prove_at.is_some_and(|at| now >= at) {
            self.prove(turn, link);
        }
        self.probe_if_due(turn, link);
        self.rearm(now, link);
    }

    /// Cuts a client off that has kept a server connection waiting without reading anything.
    fn check_pause<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let now = turn.now;
        let Some(pause) = self.links[link as usize].paused else { return };
        if now < pause.looked + STALL {
            return;
        }
        match turn.clients.progress(pause.ticket) {
            Progress::Reading if now < pause.began + WAIT_MOST => {
                self.links[link as usize].paused = Some(Pause { looked: now, ..pause });
                return;
            }
            // It is given a little more, so that nobody waits for ever.
            Progress::Blocked => {}
            Progress::Reading | Progress::Stuck => turn.clients.give_up(pause.ticket),
        }
        self.resume(turn, pause.ticket);
    }

    /// Asks a dead server whether it lives, when it is time; twemproxy believes that it does.
    fn probe_if_due<C>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let now = turn.now;
        let place = &self.links[link as usize];
        let server = &self.pools[place.pool as usize].servers[place.server as usize];
        let due = server.first == link && server.health.probe_at().is_some_and(|at| now >= at);
        if !due {
            return;
        }
        if self.compat {
            return self.readmit(now, (place.pool as usize, place.server as usize));
        }
        match place.connection.phase() {
            Phase::Closed => self.dial(link),
            // It said that it could not serve, and nobody asks it any more: it is greeted anew.
            Phase::Ready if place.connection.depth() == 0 => {
                self.close_unused(turn, link);
                self.dial(link);
            }
            // Its replies, or their absence, will tell.
            _ => {}
        }
    }

    fn rearm(&mut self, now: Instant, link: u32) {
        let place = &self.links[link as usize];
        let server = &self.pools[place.pool as usize].servers[place.server as usize];
        let probe = server.health.probe_at().filter(|_| server.first == link);
        let probe = match place.connection.phase() {
            Phase::Closed => probe,
            _ => probe.map(|at| at.max(now + PROBE_AGAIN)),
        };
        let paused = place.paused.map(|pause| pause.looked + STALL);
        let at = [place.connection.next_deadline(), place.due_by, probe, paused, place.prove_at];
        // Never at once again: whatever is due has just been seen to.
        let soonest = now + LOOK_AGAIN;
        self.arm(link, at.into_iter().flatten().min().map(|at| at.max(soonest)));
    }
}
