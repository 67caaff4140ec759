//! What becomes of values that gets find at their old server in phase warm: `fill`, `fill_ttl_max`.

use twinring::routing::Phase::{Drain, Fence, Prepare, Warm};

use crate::expansion::{Stage, moving};

#[test]
fn without_fill_a_get_leaves_nothing_at_the_new_server() {
    let stage = Stage::with(1, "cas_quarantine: 0, stub_ttl: 1s, fill: off,");
    let mut client = stage.client();
    let keys = moving(40);
    for (key, ..) in &keys {
        client.ask(format!("set {key} 7 0 1\r\na\r\n"), "STORED\r\n");
    }
    stage.walk(&[Prepare, Fence, Warm]);
    let nowhere = moving(50).remove(49).0;
    for _ in 0..2 {
        for (key, _, new) in &keys {
            client.ask(format!("get {key}\r\n"), format!("VALUE {key} 7 1\r\na\r\nEND\r\n"));
            client.ask(format!("mg {key} v f\r\n"), "VA 1 f7\r\na\r\n");
            stage.server(*new).ask(format!("mg {key}\r\n"), "EN\r\n");
        }
        client.ask(format!("get {nowhere}\r\n"), "END\r\n");
        client.ask(format!("mg {nowhere} v\r\n"), "EN\r\n");
    }
    assert_eq!(stage.count("twinring_expansion_fills_total", "won"), 0.0);
    assert_eq!(stage.count("twinring_expansion_fallbacks_total", "hit"), 160.0);
    // Several at once, then each in a way of its own: what changes a value has it at the new server.
    let (ask, tell): (Vec<String>, Vec<String>) = keys
        .iter()
        .map(|(key, ..)| (format!(" {key}"), format!("VALUE {key} 7 1\r\na\r\n")))
        .unzip();
    client.ask(format!("get{}\r\n", ask.concat()), format!("{}END\r\n", tell.concat()));
    for (number, (key, old, new)) in keys.iter().enumerate() {
        let value = match number % 3 {
            0 => {
                client.ask(format!("append {key} 0 0 1\r\nb\r\n"), "STORED\r\n");
                format!("VALUE {key} 7 2\r\nab\r\n")
            }
            1 => {
                client.ask(format!("set {key} 0 0 1\r\nc\r\n"), "STORED\r\n");
                format!("VALUE {key} 0 1\r\nc\r\n")
            }
            _ => {
                client.ask(format!("delete {key}\r\n"), "DELETED\r\n");
                String::new()
            }
        };
        for client in [&mut client, &mut stage.server(*new)] {
            client.ask(format!("get {key}\r\n"), format!("{value}END\r\n"));
        }
        stage.server(*old).ask(format!("get {key}\r\n"), "END\r\n");
    }
    stage.walk(&[Drain]);
}

#[test]
fn a_copy_lives_as_long_as_it_may() {
    let stage = Stage::with(1, "cas_quarantine: 0, stub_ttl: 1s, fill_ttl_max: 100s,");
    let mut client = stage.client();
    let keys = moving(3);
    for ((key, ..), ttl) in keys.iter().zip([0, 1000, 50]) {
        client.ask(format!("set {key} 0 {ttl} 1\r\na\r\n"), "STORED\r\n");
    }
    stage.walk(&[Prepare, Fence, Warm]);
    for ((key, _, new), most) in keys.iter().zip([100, 100, 50]) {
        client.ask(format!("get {key}\r\n"), format!("VALUE {key} 0 1\r\na\r\nEND\r\n"));
        let left = crate::expansion::seconds_left(&mut stage.server(*new), key);
        // memcached's clock jumps by two seconds now and then: it is set once a second.
        assert!((most - 3..=most).contains(&left), "{left} {most}");
    }
}
