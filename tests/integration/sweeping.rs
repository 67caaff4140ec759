//! `twinring expand sweep`: a pool that has grown shrinks again, or grows again after a way back, and
//! nothing of before comes back.

use crate::expansion::{moving, rings};
use crate::fleet::{get, set, value};
use crate::leading::Led;
use crate::support::{Client, Memcached};

use twinring::routing::Place;

/// Keys of bytes that only base64 can write, as `ms` takes them, that move.
fn binary_keys() -> Vec<String> {
    let rings = rings();
    let moves = |key: &[u8]| matches!(rings.place(key), Some(Place::Moved { .. }));
    // Three bytes are four of base64: here a zero byte, a blank, and what stands behind.
    let keys = (b'A'..=b'Z').flat_map(|a| (b'a'..=b'z').map(move |b| [0, b' ', 1, a, b, 2]));
    keys.filter(|key| moves(key)).take(5).map(|key| base64(&key)).collect()
}

fn base64(bytes: &[u8; 6]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let number = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    (0..8).rev().map(|at| DIGITS[(number >> (6 * at)) as usize & 63] as char).collect()
}

fn items(server: &Memcached) -> usize {
    let mut client = server.client();
    client.send("stats\r\n");
    let text = std::iter::repeat_with(|| String::from_utf8(client.read_line()).unwrap());
    let lines: Vec<String> = text.take_while(|line| line != "END\r\n").collect();
    let items = lines.iter().find_map(|line| line.trim().strip_prefix("STAT curr_items "));
    items.unwrap().parse().unwrap()
}

/// A pool of five servers that was one of four, where keys have been changed since.
fn grown(keys: &[(String, usize, usize)], binary: &[String]) -> (Led, Client) {
    let led = Led::new();
    let mut client = led.proxies[0].client();
    for (key, ..) in keys {
        assert_eq!(set(&mut client, key, "a"), "STORED\r\n");
    }
    for key in binary {
        client.ask(format!("ms {key} 1 b\r\na\r\n"), "HD\r\n");
    }
    let five = led.list(5);
    led.done(&["start", &five, "--format", "list"], "-> prepare");
    for phase in ["fence", "warm", "drain", "new"] {
        led.done(&["advance", "--to", phase], "acknowledged by all 2 proxies");
    }
    led.refused(&["sweep", "server1"], "servers are swept in phase stable, not in new");
    led.done(&["finish"], "new -> stable");
    for (key, ..) in keys {
        assert_eq!(set(&mut client, key, "b"), "STORED\r\n");
    }
    for key in binary {
        client.ask(format!("ms {key} 1 b\r\nb\r\n"), "HD\r\n");
    }
    (led, client)
}

const OLD: [&str; 4] = ["server1", "server2", "server3", "server4"];

#[test]
fn a_pool_that_has_grown_shrinks_once_it_is_swept() {
    let (keys, binary) = (moving(300), binary_keys());
    let (led, mut client) = grown(&keys, &binary);
    let rests: Vec<String> = (0..300).map(|number| format!("rests-{number}")).collect();
    for key in &rests {
        assert_eq!(set(&mut client, key, "r"), "STORED\r\n");
    }
    let stale = |led: &Led| {
        let of = |(key, old, _): &(String, usize, usize)| {
            get(&mut led.servers[*old].client(), key) == value(key, "a")
        };
        keys.iter().filter(|it| of(it)).count()
    };
    assert_eq!(stale(&led), keys.len());
    let four = led.list(4);
    let shrink = ["start", &four, "--format", "list"];
    led.refused(&shrink, "server1, server2, server3, server4 may hold values from before");
    led.refused(
        &["sweep", "server1", "server9"],
        "no server server9 in the ring, and none that may",
    );
    led.done(&["sweep", "server1"], "stable -> stable, epoch 8, acknowledged by all 2 proxies");
    led.done(&["status"], "may hold old values\tserver2, server3, server4\n");
    led.refused(&shrink, "server2, server3, server4 may hold values from before");
    let told = led.done(&["sweep", OLD[0], OLD[1], OLD[2], OLD[3]], "epoch 9");
    assert!(told.starts_with("server server1: 0 keys deleted, "), "{told}");
    assert!(!led.done(&["status"], "").contains("may hold old values"));
    assert_eq!(stale(&led), 0);
    let left: usize = led.servers[..4].iter().map(items).sum();
    let at_home = rests.iter().filter(|key| get(&mut client, key) == value(key, "r")).count();
    assert_eq!(at_home, rests.len(), "what belongs there stays");
    assert_eq!(left + items(&led.servers[4]), keys.len() + binary.len() + rests.len());
    led.done(&shrink, "stable -> prepare, epoch 10");
    for phase in ["fence", "warm"] {
        led.done(&["advance", "--to", phase], "acknowledged by all 2 proxies");
    }
    for (key, ..) in &keys {
        assert_eq!(get(&mut client, key), value(key, "b"));
    }
    for key in &binary {
        client.ask(format!("mg {key} b v\r\n"), "VA 1\r\nb\r\n");
    }
}

#[test]
fn a_sweep_ends_where_it_cannot_be_sure() {
    let keys = moving(40);
    let (mut led, _client) = grown(&keys, &[]);
    // A ring may come and go while it goes on.
    let slow = ["sweep", "server1", "server2", "server3", "server4", "--rate", "1"];
    std::thread::scope(|scope| {
        let sweeping = scope.spawn(|| led.expand(&slow));
        let begun = || {
            keys.iter().any(|(key, old, _)| get(&mut led.servers[*old].client(), key) == "END\r\n")
        };
        assert!(crate::support::wait_until(crate::support::LONG, begun));
        let clean = OLD.map(|name| ["--clean", name]).concat();
        let four = led.list(4);
        led.done(&[&["start", &four, "--format", "list"], &clean[..]].concat(), "-> prepare");
        let (code, text) = sweeping.join().unwrap();
        assert!(code == 1 && text.contains("may have another ring: sweep again"), "{text}");
    });
    led.done(&["rollback"], "prepare -> stable");
    led.servers[0].kill();
    let (code, text) = led.expand(&["sweep", "server1"]);
    assert!(code == 1 && text.contains("server server1: "), "{text}");
    led.done(&["status"], "may hold old values\tserver1, server2, server3, server4\n");
}

#[test]
fn a_new_server_is_swept_or_flushed_after_a_way_back() {
    let led = Led::new();
    let mut client = led.proxies[0].client();
    let (keys, five) = (moving(200), led.list(5));
    let start = ["start", &five, "--format", "list"];
    // What memcached counts it counts until it comes by what was flushed.
    let held = |led: &Led| {
        let mut there = led.servers[4].client();
        keys.iter().filter(|(key, ..)| get(&mut there, key).starts_with("VALUE")).count()
    };
    for (round, flush) in ["a", "b", "c"].into_iter().zip([false, true, true]) {
        for (key, ..) in &keys {
            assert_eq!(set(&mut client, key, round), "STORED\r\n");
        }
        led.done(&start, "-> prepare");
        for phase in ["fence", "warm"] {
            led.done(&["advance", "--to", phase], "acknowledged by all 2 proxies");
        }
        // They are copied, and the way back leaves the copies.
        for (key, ..) in &keys {
            assert_eq!(get(&mut client, key), value(key, round), "what it had before is not read");
        }
        for phase in ["fence", "prepare", "stable"] {
            led.done(&["rollback", "--to", phase], "acknowledged by all 2 proxies");
        }
        let copied = held(&led);
        assert!(copied > keys.len() / 2, "{copied}");
        led.done(&["status"], "may hold old values\tserver5\n");
        led.refused(&start, "server5 may hold values from before, which would be read again: have");
        led.refused(
            &["sweep", "server5", "server1", "--flush"],
            "server1 is in the ring: it is not",
        );
        led.refused(&["sweep", "server5", "server6"], "no server server6 in the ring");
        assert_eq!(held(&led), copied, "nothing is touched by what is refused");
        let way: &[&str] = if flush { &["--flush"] } else { &[] };
        let told =
            led.done(&[&["sweep", "server5"], way].concat(), "acknowledged by all 2 proxies");
        let swept = if flush { "flushed, 0 keys deleted, 0 left" } else { " keys deleted, 0 left" };
        assert!(told.contains(swept) || !flush && told.contains("looked at 2 times"), "{told}");
        assert_eq!(held(&led), 0);
        assert!(!led.done(&["status"], "").contains("may hold old values"));
        led.refused(&["sweep", "server5"], "no server server5 in the ring, and none that may");
    }
}
