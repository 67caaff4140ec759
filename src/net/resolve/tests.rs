//! Names by a clock of the test, and the threads with look-ups that it answers when it likes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::names::{Answer, Asked, Names, News, PATIENCE, THREADS, Task};
use super::{Resolver, literal, look_up, name_of};
use crate::config::Address;
use crate::net::{ConnectError, connect, recheck};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

fn at(text: &str) -> Vec<SocketAddr> {
    text.split(' ').map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()
}

fn lost() -> io::Result<Vec<SocketAddr>> {
    Err(io::ErrorKind::NotFound.into())
}

/// The name that is to be looked up next.
fn next(names: &mut Names, now: Instant) -> Option<Arc<str>> {
    match names.take(now) {
        Task::LookUp(name) => Some(name),
        Task::Wait(_) => None,
    }
}

fn answered(asked: Asked) -> Answer {
    match asked {
        Asked::Answered(answer) => answer,
        Asked::Pending { .. } => panic!("not answered at once: {asked:?}"),
    }
}

/// The old addresses that one who has to wait may use.
fn known(asked: &Asked) -> Option<Vec<SocketAddr>> {
    match asked {
        Asked::Pending { known, .. } => known.as_ref().map(|known| known.to_vec()),
        Asked::Answered(_) => panic!("answered at once: {asked:?}"),
    }
}

#[test]
fn all_who_want_a_name_share_one_look_up_a_second() {
    let (mut names, now) = (Names::default(), Instant::now());
    assert!(known(&names.ask("a", now)).is_none());
    let Asked::Pending { answers, since, .. } = names.ask("a", now + MOMENT) else { panic!() };
    assert_eq!(since, now);
    let name = next(&mut names, now).unwrap();
    assert!(known(&names.ask("a", now)).is_none(), "it has not ended");
    assert_eq!(next(&mut names, now), None);
    assert_eq!(names.done(&name, Ok(at("10.0.0.1")), now), News::Same);
    assert_eq!(answers.borrow().clone().unwrap().unwrap()[..], at("10.0.0.1"));
    assert_eq!(answered(names.ask("a", now + SECOND - MOMENT)).unwrap()[..], at("10.0.0.1"));
    assert_eq!(names.take(now + SECOND - MOMENT), Task::Wait(None));
    assert_eq!(known(&names.ask("a", now + SECOND)), Some(at("10.0.0.1")));
    assert_eq!(next(&mut names, now + SECOND).as_deref(), Some("a"));
}

#[test]
fn f59_a_look_up_that_fails_leaves_the_old_addresses_and_is_tried_again() {
    let (mut names, mut now) = (Names::default(), Instant::now());
    names.ask("a", now);
    let name = next(&mut names, now).unwrap();
    names.done(&name, Ok(at("10.0.0.1 10.0.0.2")), now);
    now += SECOND;
    names.ask("a", now);
    assert!(next(&mut names, now).is_some());
    assert_eq!(names.done(&name, lost(), now), News::Lost);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert_eq!(answered(names.ask("a", now)).unwrap()[..], at("10.0.0.1 10.0.0.2"));
        let Task::Wait(Some(retry)) = names.take(now) else { panic!("it is not tried again") };
        pauses.push((retry - now).as_secs());
        now = retry;
        assert_eq!(next(&mut names, now).as_ref(), Some(&name));
        assert_eq!(names.done(&name, lost(), now), News::Same);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
    // Who asks does not wait for the pause to end.
    now += SECOND;
    names.ask("a", now);
    assert!(next(&mut names, now).is_some());
    assert_eq!(names.done(&name, Ok(at("10.0.0.2 10.0.0.1")), now), News::Found);
    assert_eq!(names.take(now), Task::Wait(None));
}

#[test]
fn f59_a_name_that_never_had_an_address_fails_for_a_second() {
    let (mut names, now) = (Names::default(), Instant::now());
    names.ask("a", now);
    let name = next(&mut names, now).unwrap();
    assert_eq!(names.done(&name, lost(), now), News::Lost);
    let error = answered(names.ask("a", now)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(known(&names.ask("a", now + SECOND)).is_none());
    assert!(next(&mut names, now + SECOND).is_some());
}

#[test]
fn f59_names_that_fail_or_hang_leave_a_thread_to_the_others() {
    let (mut names, now) = (Names::default(), Instant::now());
    for name in ["a", "b", "c", "d", "good"] {
        names.ask(name, now);
    }
    for found in [lost(), lost(), Ok(at("10.0.0.3")), Ok(at("10.0.0.4")), Ok(at("10.0.0.5"))] {
        let name = next(&mut names, now).unwrap();
        let slow = matches!(&*name, "c" | "d");
        names.done(&name, found, if slow { now + PATIENCE } else { now });
    }
    let now = now + 2 * SECOND;
    for name in ["a", "b", "c", "d", "good"] {
        names.ask(name, now);
    }
    let taken: Vec<_> = (0..THREADS).map(|_| next(&mut names, now).unwrap()).collect();
    assert_eq!(taken.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b", "c", "good"]);
    names.done(&taken[3], Ok(at("10.0.0.5")), now);
    assert_eq!(names.take(now), Task::Wait(None), "all threads hang on names that hang");
    names.done(&taken[0], lost(), now);
    assert_eq!(next(&mut names, now).as_deref(), Some("d"));
}

#[test]
fn f60_new_addresses_take_the_place_of_old_ones() {
    let (mut names, now) = (Names::default(), Instant::now());
    names.ask("a", now);
    let name = next(&mut names, now).unwrap();
    names.done(&name, Ok(at("10.0.0.1")), now);
    names.ask("a", now + SECOND);
    assert!(next(&mut names, now + SECOND).is_some());
    assert_eq!(names.done(&name, Ok(at("10.0.0.2")), now + SECOND), News::Moved);
    assert_eq!(answered(names.ask("a", now + SECOND)).unwrap()[..], at("10.0.0.2"));
}

#[test]
fn f61_literals_are_not_looked_up() {
    let tcp = |host: &str| Address::Tcp { host: host.to_owned(), port: 1 };
    for host in ["127.0.0.1", "::1", "fe80::1%2"] {
        assert_eq!(name_of(&tcp(host)), None, "{host}");
    }
    assert_eq!(literal("fe80::1%2", 7).unwrap().to_string(), "[fe80::1%2]:7");
    assert_eq!(name_of(&tcp("localhost")), Some("localhost"));
    assert_eq!(name_of(&Address::Unix("/a".into())), None);
    let hosts = ["a", "b", "a", "127.0.0.1", "c", "d", "e"].map(tcp);
    let threads = |count: usize| Resolver::threads(hosts[..count].iter());
    assert_eq!([1, 3, 4, 7].map(threads), [1, 2, 2, THREADS]);
}

// With threads.

/// What the test's resolver finds; a name without an entry hangs until it gets one.
#[derive(Default)]
struct Zone {
    entries: Mutex<HashMap<String, Option<Vec<SocketAddr>>>>,
    changed: Condvar,
    asked: AtomicUsize,
}

impl Zone {
    /// Gives a name addresses, or has its look-ups fail.
    fn set(&self, name: &str, found: Option<&str>) {
        self.entries.lock().unwrap().insert(name.to_owned(), found.map(at));
        self.changed.notify_all();
    }

    fn hang(&self, name: &str) {
        self.entries.lock().unwrap().remove(name);
    }

    fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut entries = self.entries.lock().unwrap();
        loop {
            match entries.get(name) {
                Some(found) => return found.clone().map_or_else(lost, Ok),
                None => entries = self.changed.wait(entries).unwrap(),
            }
        }
    }
}

/// A resolver over a zone, with its threads.
struct Served {
    zone: Arc<Zone>,
    resolver: Resolver,
    failed: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Served {
    fn start() -> Self {
        let zone = Arc::new(Zone::default());
        let failed = Arc::new(AtomicUsize::new(0));
        let (asked, count) = (Arc::clone(&zone), Arc::clone(&failed));
        let resolver = Resolver::new(
            Box::new(move |name| asked.look_up(name)),
            Box::new(move |found| {
                count.fetch_add(usize::from(!found), Ordering::SeqCst);
            }),
        );
        let serve = |resolver: Resolver| thread::spawn(move || resolver.serve());
        let threads = (0..THREADS).map(|_| serve(resolver.clone())).collect();
        Self { zone, resolver, failed, threads }
    }

    async fn find(&self, name: &str, limit: Duration) -> io::Result<Vec<SocketAddr>> {
        self.resolver.find((name, 0), limit).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        for name in ["a", "b", "c", "hangs"] {
            self.zone.set(name, None);
        }
        self.resolver.close();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn f59_a_name_that_hangs_delays_nobody_but_those_who_want_it() {
    let served = Served::start();
    let limit = Duration::from_millis(40);
    let wanted: Vec<_> = (0..20).map(|_| served.resolver.clone()).collect();
    let late = wanted.iter().map(|resolver| resolver.find(("hangs", 1), limit));
    let mut errors = Vec::new();
    for find in late {
        errors.push(find.await.unwrap_err().kind());
    }
    assert_eq!(errors, [io::ErrorKind::TimedOut; 20]);
    assert_eq!(served.zone.asked.load(Ordering::SeqCst), 1, "it hangs more than once");
    for name in ["a", "b", "c"] {
        served.zone.set(name, Some("10.0.0.1"));
        assert_eq!(served.find(name, LIMIT).await.unwrap(), at("10.0.0.1"));
    }
}

#[tokio::test]
async fn f59_who_knows_old_addresses_goes_on_with_them() {
    let served = Served::start();
    served.zone.set("a", Some("10.0.0.1"));
    assert_eq!(served.find("a", LIMIT).await.unwrap(), at("10.0.0.1"));
    served.zone.hang("a");
    let until = Instant::now() + LIMIT;
    while served.zone.asked.load(Ordering::SeqCst) == 1 {
        assert!(Instant::now() < until, "it is never looked up again");
        assert_eq!(served.find("a", LIMIT).await.unwrap(), at("10.0.0.1"));
        tokio::task::yield_now().await;
    }
    // It hangs, and is known to be slow by now: nobody waits for it any more.
    let before = Instant::now();
    for _ in 0..50 {
        assert_eq!(served.find("a", LIMIT).await.unwrap(), at("10.0.0.1"));
    }
    assert!(before.elapsed() < 10 * PATIENCE, "{:?}", before.elapsed());
    served.zone.set("a", None);
    while served.failed.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < until, "no failure is counted");
        tokio::task::yield_now().await;
    }
    assert_eq!(served.find("a", LIMIT).await.unwrap(), at("10.0.0.1"));
    // It is tried again by itself.
    served.zone.set("a", Some("10.0.0.2"));
    while served.find("a", LIMIT).await.unwrap() != at("10.0.0.2") {
        assert!(Instant::now() < until, "the new address is never found");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn f60_a_dial_goes_to_the_new_address() {
    let served = Served::start();
    let (one, other) = (listen("127.0.0.1:0").await, listen("127.0.0.2:0").await);
    let address = |listener: &TcpListener| Address::Tcp {
        host: "a".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    served.zone.set("a", Some("127.0.0.1"));
    let stream = connect((&served.resolver, None), &address(&one), LIMIT).await.unwrap();
    assert_eq!(stream.peer().unwrap().to_string(), "127.0.0.1");
    served.zone.set("a", Some("127.0.0.2"));
    let until = Instant::now() + LIMIT;
    loop {
        match connect((&served.resolver, None), &address(&other), LIMIT).await {
            Ok(stream) => break assert_eq!(stream.peer().unwrap().to_string(), "127.0.0.2"),
            Err(ConnectError::Connect(_)) => assert!(Instant::now() < until, "the old address"),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn listen(address: &str) -> TcpListener {
    TcpListener::bind(address).await.unwrap()
}

#[tokio::test]
async fn f12_only_an_answer_without_the_old_address_tells_of_a_move() {
    let served = Served::start();
    let address = Address::Tcp { host: "a".to_owned(), port: 1 };
    let (peer, tells) = ("127.0.0.1".parse().unwrap(), Arc::new(AtomicUsize::new(0)));
    served.zone.set("a", Some("127.0.0.2 127.0.0.1"));
    served.find("a", LIMIT).await.unwrap();
    let ask = |peer| {
        let told = Arc::clone(&tells);
        recheck(served.resolver.clone(), (address.clone(), peer), LIMIT, move || {
            told.fetch_add(1, Ordering::SeqCst);
        });
    };
    ask(peer);
    ask("127.0.0.3".parse().unwrap());
    let until = Instant::now() + LIMIT;
    while tells.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < until, "a move is not noticed");
        tokio::task::yield_now().await;
    }
    // Both tasks have run: the first one was there first.
    assert_eq!(tells.load(Ordering::SeqCst), 1);
}

#[test]
fn the_system_knows_localhost() {
    assert!(look_up("localhost").unwrap().iter().all(|address| address.ip().is_loopback()));
}
