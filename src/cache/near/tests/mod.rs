//! The near cache by itself: step by step here, and
//!
//! * `model`: its rules, searched exhaustively.
//! * `simulation`: itself, among proxies, servers and clients, in simulated time.

mod model;
mod simulation;

use std::time::Duration;

use super::{Fill, Kind, Lease, Look, Near, Settled, Time, Token};
use crate::cache::Clock;
use crate::config::{Admission, NearCache, NearMode};

fn settings() -> NearCache {
    NearCache {
        mode: NearMode::Ttl,
        memory: 1 << 20,
        max_age: Duration::from_secs(1),
        lease: Duration::from_secs(1),
        tracked_max: Duration::from_secs(60),
        admit: Admission::All,
        prefixes: Vec::new(),
        max_value: 1024,
        negative: Duration::ZERO,
        joiners: 8,
        verify: 0,
    }
}

fn near() -> (Near, Lease) {
    near_of(settings())
}

fn near_of(settings: NearCache) -> (Near, Lease) {
    let near = Near::new(settings, Clock::start());
    let lease = near.open().unwrap();
    near.extend(lease, at(u64::MAX));
    (near, lease)
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn token(near: &Near, lease: Lease, now: u64) -> Option<Token> {
    near.token(near.key(b"k").unwrap(), lease, at(now))
}

fn settle(near: &Near, token: &Token, value: &[u8], left: Option<u64>, now: u64) -> Settled {
    let fill = Fill { kind: Kind::Plain, value: &[value], flags: 7, cas: 9, left, tracked: false };
    near.settle(near.key(b"k").unwrap(), token, &fill, at(now))
}

fn look(near: &Near, now: u64) -> Look<Vec<u8>> {
    near.look(near.key(b"k").unwrap(), at(now), |entry| Some(entry.value.to_vec()))
}

#[test]
fn an_entry_lives_from_the_sending_of_its_fill_on() {
    let (near, lease) = near();
    assert_eq!(look(&near, 0), Look::Miss);
    let token = token(&near, lease, 100).unwrap();
    assert_eq!(settle(&near, &token, b"v", None, 600), Settled::Stored);
    assert_eq!(look(&near, 1099), Look::Hit(b"v".to_vec()));
    assert_eq!(look(&near, 1100), Look::Miss);
    // A reply that took longer than that is of no use.
    assert_eq!(settle(&near, &token, b"v", None, 1100), Settled::Expired);
}

#[test]
fn the_servers_time_is_not_extended() {
    let (near, lease) = near();
    let token = token(&near, lease, 100).unwrap();
    assert_eq!(settle(&near, &token, b"v", Some(50), 120), Settled::Stored);
    assert_eq!(look(&near, 149), Look::Hit(b"v".to_vec()));
    assert_eq!(look(&near, 150), Look::Miss);
    assert_eq!(settle(&near, &token, b"v", Some(0), 120), Settled::Expired);
}

#[test]
fn while_a_write_is_under_way_only_the_server_can_tell() {
    let (near, lease) = near();
    let early = token(&near, lease, 0).unwrap();
    assert_eq!(settle(&near, &early, b"old", None, 1), Settled::Stored);
    let pending = token(&near, lease, 2).unwrap();
    let slot = near.begin_write(near.key(b"k").unwrap(), at(3));
    assert_eq!(look(&near, 3), Look::Busy);
    assert_eq!(token(&near, lease, 3), None);
    assert_eq!(settle(&near, &pending, b"old", None, 4), Settled::Raced);
    near.end_write(slot);
    assert_eq!(look(&near, 5), Look::Miss);
    assert_eq!(settle(&near, &pending, b"old", None, 5), Settled::Raced);
    let fresh = token(&near, lease, 6).unwrap();
    assert_eq!(settle(&near, &fresh, b"new", None, 7), Settled::Stored);
    assert_eq!(look(&near, 8), Look::Hit(b"new".to_vec()));
}

#[test]
fn a_push_removes_the_entry_and_cancels_the_fill() {
    let (near, lease) = near();
    let stored = token(&near, lease, 0).unwrap();
    assert_eq!(settle(&near, &stored, b"old", None, 1), Settled::Stored);
    let pending = token(&near, lease, 2).unwrap();
    assert!(near.forget(near.key(b"k").unwrap(), at(3)));
    assert!(!near.holds(&pending));
    assert_eq!(look(&near, 3), Look::Miss);
    assert_eq!(settle(&near, &pending, b"old", None, 4), Settled::Raced);
}

#[test]
fn a_flush_forgets_everything_and_what_is_on_its_way() {
    let (near, lease) = near();
    let stored = token(&near, lease, 0).unwrap();
    assert_eq!(settle(&near, &stored, b"old", None, 1), Settled::Stored);
    let pending = token(&near, lease, 2).unwrap();
    near.begin_flush();
    assert_eq!(look(&near, 3), Look::Busy);
    assert_eq!(token(&near, lease, 3), None);
    near.end_flush();
    assert_eq!(look(&near, 4), Look::Miss);
    assert_eq!(settle(&near, &pending, b"old", None, 5), Settled::Raced);
    let fresh = token(&near, lease, 6).unwrap();
    assert_eq!(settle(&near, &fresh, b"new", None, 7), Settled::Stored);
    near.flush();
    assert_eq!(look(&near, 8), Look::Miss);
}

#[test]
fn whatever_happens_to_a_key_ends_its_parts() {
    let (near, lease) = near();
    let (key, other) = (near.key(b"k").unwrap(), near.key(b"some other").unwrap());
    let part = near.part(key, b"\x01k\x01f").unwrap();
    let look = |now| near.look(part, at(now), |entry| Some(entry.value.to_vec()));
    let fill = |now| {
        let token = near.token(part, lease, at(now)).unwrap();
        let (kind, value) = (Kind::Fields, &[&b"v"[..]]);
        let fill = Fill { kind, value, flags: 0, cas: 0, left: None, tracked: false };
        assert_eq!(near.settle(part, &token, &fill, at(now)), Settled::Stored);
        assert_eq!(look(now), Look::Hit(b"v".to_vec()));
    };
    fill(1);
    // Another key's end is none of it, if it does not share the slot.
    if other.slot != key.slot {
        near.forget(other, at(2));
        assert_eq!(look(2), Look::Hit(b"v".to_vec()));
    }
    near.forget(key, at(3));
    assert_eq!(look(3), Look::Miss);
    fill(4);
    let written = near.begin_write(key, at(5));
    assert_eq!(look(5), Look::Busy);
    near.end_write(written);
    assert_eq!(look(6), Look::Miss);
    fill(7);
    near.flush();
    assert_eq!(look(8), Look::Miss);
    // A key that is called like a part is none, and the other way round.
    fill(9);
    let called_alike = near.key(b"\x01k\x01f").unwrap();
    assert_eq!(near.look(called_alike, at(10), |_| Some(())), Look::Miss);
    let token = near.token(called_alike, lease, at(10)).unwrap();
    let (kind, value) = (Kind::Plain, &[&b"w"[..]]);
    let plain = Fill { kind, value, flags: 0, cas: 0, left: None, tracked: false };
    assert_eq!(near.settle(called_alike, &token, &plain, at(10)), Settled::Stored);
    assert_eq!(look(11), Look::Miss);
}

#[test]
fn a_lost_connection_takes_its_entries_and_fills_along() {
    let (near, lease) = near();
    let stored = token(&near, lease, 0).unwrap();
    assert_eq!(settle(&near, &stored, b"old", None, 1), Settled::Stored);
    near.close(lease);
    assert_eq!(look(&near, 2), Look::Miss);
    assert_eq!(settle(&near, &stored, b"old", None, 3), Settled::Raced);
    assert_eq!(token(&near, lease, 4), None);
}

#[test]
fn an_entry_is_renewed_only_by_the_server_that_it_came_from() {
    let (near, lease) = near();
    let key = near.key(b"k").unwrap();
    let other = near.open().unwrap();
    let first = token(&near, lease, 0).unwrap();
    assert_eq!(settle(&near, &first, b"v", None, 1), Settled::Stored);
    let late = near.open().unwrap();
    let renew = |over: Lease, cas: u64| {
        let token = near.token(key, over, at(500)).unwrap();
        near.renew(key, &token, (cas, None), at(600))
    };
    // The server may have started again before it took this connection, and count from one again.
    assert!(!renew(late, 9));
    assert!(!renew(other, 8));
    assert!(renew(lease, 9) && renew(other, 9));
    // Its connection is another one now, which has been there for all of its time.
    near.extend(other, at(u64::MAX));
    assert_eq!(look(&near, 1400), Look::Hit(b"v".to_vec()));
    near.close(other);
    assert!(!renew(lease, 9));
}

#[test]
fn what_has_not_been_heard_of_is_not_believed() {
    let near = Near::new(settings(), Clock::start());
    let lease = near.open().unwrap();
    let filled = token(&near, lease, 0).unwrap();
    assert_eq!(settle(&near, &filled, b"v", None, 1), Settled::Stored);
    assert_eq!(look(&near, 2), Look::Lapsed);
    near.extend(lease, at(300));
    assert_eq!(look(&near, 299), Look::Hit(b"v".to_vec()));
    assert_eq!(look(&near, 300), Look::Lapsed);
    near.extend(lease, at(500));
    assert_eq!(look(&near, 301), Look::Hit(b"v".to_vec()));
}

#[test]
fn keys_and_values_that_are_not_kept() {
    let prefixes = vec![b"cfg:".to_vec(), b"a".to_vec()];
    let (near, lease) = near_of(NearCache { prefixes, ..settings() });
    assert!(near.key(b"cfg:1").is_some() && near.key(b"a").is_some());
    assert!(near.key(b"other").is_none() && near.key(b"").is_none());
    assert!(near.key(&[b'a'; 251]).is_none());
    let key = near.key(b"a").unwrap();
    let token = near.token(key, lease, at(0)).unwrap();
    let (kind, value) = (Kind::Plain, [0; 1025]);
    let large = Fill { kind, value: &[&value], flags: 0, cas: 0, left: None, tracked: false };
    assert_eq!(near.settle(key, &token, &large, at(1)), Settled::TooBig);
    // That there is nothing is not kept unless that is asked for.
    let nothing = Fill { kind: Kind::Absent, value: &[], ..large };
    assert_eq!(near.settle(key, &token, &nothing, at(0)), Settled::Expired);
}

#[test]
fn a_key_that_is_asked_for_once_is_not_kept() {
    let (near, _) = near_of(NearCache { admit: Admission::Hot, ..settings() });
    let key = near.key(b"k").unwrap();
    assert!(!near.admits(key, near.count(key, 1), at(1)));
    assert!(near.admits(key, near.count(key, 1), at(1)));
}

#[test]
fn the_threshold_rises_while_items_are_evicted_and_falls_again() {
    let (near, lease) = near_of(NearCache { admit: Admission::Hot, ..settings() });
    let fill_all = |from: u64| {
        for number in from..from + 20_000 {
            let name = format!("key{number}");
            let key = near.key(name.as_bytes()).unwrap();
            let token = near.token(key, lease, at(1)).unwrap();
            let value = [0; 100];
            let fill = Fill {
                kind: Kind::Plain,
                value: &[&value],
                flags: 0,
                cas: 0,
                left: None,
                tracked: false,
            };
            near.settle(key, &token, &fill, at(1));
        }
    };
    fill_all(0);
    near.review(at(2));
    fill_all(20_000);
    near.review(at(3));
    let key = near.key(b"fresh").unwrap();
    assert!(
        !near.admits(key, near.count(key, 1), at(1))
            && !near.admits(key, near.count(key, 1), at(1))
    );
    near.tend(at(10_000), usize::MAX);
    for second in 10..100 {
        near.review(at(second * 1000));
    }
    let key = near.key(b"another").unwrap();
    assert!(!near.admits(key, near.count(key, 1), at(1)));
    assert!(near.admits(key, near.count(key, 1), at(1)));
}
