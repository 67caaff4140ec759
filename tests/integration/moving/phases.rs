//! What each phase does with commands, and what may be entered when.

use super::{
    Drain, FENCED, FORWARDS, Fence, New, Prepare, Stable, Stage, Warm, ask, command, has_settled,
    http, moving, odd, report, staying,
};
use crate::support::{LONG, wait_until};

#[test]
fn commands_on_keys_that_move_wait_at_the_fence_and_no_longer_than_they_may() {
    let stage = Stage::new("fence: 5s,");
    let (mut client, mut other) = (stage.client(), stage.client());
    let (key, ..) = &moving(1)[0];
    let stays = &staying(1)[0];
    client.ask(format!("SET {key} 5\r\n"), "+OK\r\n");
    stage.walk(&[Prepare, Fence]);
    client.send(format!("INCR {key}\r\nGET {key}\r\nSET {stays} 1\r\n"));
    let waits = || stage.count("twinring_expansion_operations", &[]) == 1.0;
    assert!(wait_until(LONG, waits));
    // Nobody else does.
    other.ask(format!("SET {stays} 2\r\nGET {stays}\r\nPING\r\n"), "+OK\r\n$1\r\n2\r\n+PONG\r\n");
    stage.go(Warm);
    client.expect(":6\r\n$1\r\n6\r\n+OK\r\n");
    assert_eq!(stage.count("twinring_expansion_parked_seconds_count", &[]), 1.0);

    let stage = Stage::new("fence: 50ms, sweep: 0,");
    let mut client = stage.client();
    client.ask(format!("SET {key} 5\r\n"), "+OK\r\n");
    stage.walk(&[Prepare, Fence]);
    client.ask(format!("GET {key}\r\nSET {stays} 1\r\n"), format!("{FENCED}+OK\r\n"));
    client.ask(format!("MSET {stays} 1 {key} 2\r\n"), FENCED);
    stage.go(Warm);
    client.ask(format!("GET {key}\r\n"), "$1\r\n5\r\n");
}

#[test]
fn a_key_is_moved_once_and_known_to_be_there_from_then_on() {
    let stage = Stage::new("sweep: 0,");
    let mut client = stage.client();
    let (key, old, new) = &moving(1)[0];
    client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    stage.walk(&[Prepare, Fence, Warm]);
    assert!(stage.has(*old, key) && !stage.has(*new, key));
    for number in 2..40 {
        client.ask(format!("INCR {key}\r\n"), format!(":{number}\r\n"));
    }
    assert!(!stage.has(*old, key) && stage.has(*new, key));
    assert_eq!((stage.moves("moved"), stage.moves("absent")), (1.0, 0.0));
    let asked = ask(&mut stage.server(*old), "INFO commandstats");
    assert!(asked.contains("cmdstat_migrate:calls=1,"), "{asked}");
    // A key that is nowhere is asked for once as well.
    let (missing, ..) = &moving(2)[1];
    client.ask(format!("GET {missing}\r\nGET {missing}\r\n"), "$-1\r\n$-1\r\n");
    assert_eq!(stage.moves("absent"), 1.0);
}

#[test]
fn a_key_at_both_servers_is_the_new_ones() {
    let stage = Stage::new("sweep: 0,");
    let mut client = stage.client();
    let (key, old, new) = &moving(1)[0];
    client.ask(format!("SET {key} older\r\n"), "+OK\r\n");
    stage.walk(&[Prepare, Fence, Warm]);
    stage.server(*new).ask(format!("SET {key} newer\r\n"), "+OK\r\n");
    client.ask(format!("GET {key}\r\n"), "$5\r\nnewer\r\n");
    assert!(!stage.has(*old, key));
    assert_eq!((stage.split_brain(), stage.moves("moved")), (1.0, 0.0));
}

#[test]
fn keys_come_back_on_the_way_back_from_every_phase() {
    for turn in [Fence, Warm, Drain, New] {
        let stage = Stage::new("fence: 5s,");
        let mut client = stage.client();
        let keys = moving(60);
        for (key, ..) in &keys {
            client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
        }
        let count = |client: &mut crate::support::Client, value: usize| {
            for (key, ..) in keys.iter().take(20) {
                client.ask(format!("INCR {key}\r\n"), format!(":{value}\r\n"));
            }
        };
        let to = FORWARDS.iter().position(|phase| *phase == turn).unwrap();
        stage.walk(&FORWARDS[..=to]);
        if turn != Fence {
            count(&mut client, 2);
        }
        let mut back: Vec<_> = FORWARDS[..to].to_vec();
        back.reverse();
        stage.walk(&back);
        assert_eq!(report(&stage.proxies[0])["phase"], "prepare");
        let before = if turn == Fence { 2 } else { 3 };
        count(&mut client, before);
        stage.go(Stable);
        count(&mut client, before + 1);
        assert_eq!(stage.keys(2), Vec::<String>::new(), "{turn:?}");
        assert_eq!((stage.split_brain(), stage.moves("failed")), (0.0, 0.0));
    }
}

#[test]
fn a_process_that_is_started_in_the_middle_believes_nothing() {
    let stage = Stage::new("");
    let mut client = stage.client();
    let keys = moving(30);
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    // In drain, with everything at the old servers: it is not settled before they are empty.
    let proxy = stage.proxy("drain", "sweep: 50,", &[]);
    let reply = http("POST", &proxy, "?pool=pool0&phase=new");
    assert!(reply.contains("has not ended yet"), "{reply}");
    assert!(wait_until(LONG, || has_settled(&proxy)));
    assert_eq!(stage.keys(2).len(), 30);
    // In prepare, with everything at the new one: it is brought back.
    let proxy = stage.proxy("prepare", "sweep: 50,", &[]);
    let (key, ..) = &keys[0];
    proxy.client().ask(format!("INCR {key}\r\n"), ":2\r\n");
    assert!(wait_until(LONG, || has_settled(&proxy)));
    assert_eq!(stage.keys(2).len(), 0);
}

#[test]
fn a_pinned_key_stays_where_it_is() {
    let keys = moving(2);
    let (pinned, old, _) = &keys[0];
    let stage = Stage::new(&format!("pin: [ {pinned} ],"));
    let mut client = stage.client();
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    for phase in FORWARDS {
        stage.go(phase);
        if phase != Fence {
            client.ask(format!("GET {pinned}\r\n"), "$1\r\n1\r\n");
        }
    }
    assert!(stage.has(*old, pinned) && !stage.has(2, pinned));
    assert!(stage.has(2, &keys[1].0));
}

#[test]
fn keys_of_any_bytes_are_pinned() {
    let odd = odd();
    let [one, other] = &odd;
    let stage = Stage::new(&format!("pin: [ '{}', '{}' ],", one.2, other.2));
    let mut client = stage.client();
    let moves = &moving(1)[0].0;
    client.ask(format!("SET {moves} 1\r\n"), "+OK\r\n");
    for (key, ..) in &odd {
        client.ask(command(&[b"SET", key, b"1"]), "+OK\r\n");
    }
    let pinned = report(&stage.proxies[0])["pinned"].clone();
    let mut entries = [&*one.2, &*other.2];
    entries.sort_unstable();
    assert_eq!(pinned, serde_json::json!(entries));
    stage.walk(&FORWARDS);
    for (key, old, _) in &odd {
        client.ask(command(&[b"GET", key]), "$1\r\n1\r\n");
        stage.server(*old).ask(command(&[b"EXISTS", key]), ":1\r\n");
        stage.server(2).ask(command(&[b"EXISTS", key]), ":0\r\n");
    }
    assert!(stage.has(2, moves));
}

#[test]
fn the_new_servers_are_not_needed_before_the_fence() {
    let mut stage = Stage::new("");
    stage.servers[2].kill();
    let mut client = stage.client();
    let (key, ..) = &moving(1)[0];
    for phase in [Stable, Prepare, Fence, Prepare, Stable] {
        if phase != report(&stage.proxies[0])["phase"].as_str().map_or(Stable, named) {
            stage.go(phase);
        }
        if phase == Fence {
            break;
        }
        client.ask(
            format!("SET {key} 1\r\nGET {key}\r\nDBSIZE\r\n").replace("DBSIZE\r\n", ""),
            "+OK\r\n$1\r\n1\r\n",
        );
    }
    stage.settle();
}

fn named(name: &str) -> twinring::routing::Phase {
    twinring::routing::Phase::of_name(name).unwrap()
}

#[test]
fn a_pipeline_keeps_its_order_whatever_moves() {
    let stage = Stage::new("fence: 5s,");
    let mut client = stage.client();
    let keys = moving(8);
    for phase in FORWARDS {
        stage.go(phase);
        if phase == Fence {
            continue;
        }
        let mut sent = String::new();
        let mut wanted = String::new();
        for round in 1..=50 {
            for (key, ..) in &keys {
                sent += &format!("INCR {key}\r\nGET {key}\r\n");
                let text = round.to_string();
                wanted += &format!(":{text}\r\n${}\r\n{text}\r\n", text.len());
            }
        }
        for (key, ..) in &keys {
            sent += &format!("DEL {key}\r\n");
            wanted += ":1\r\n";
        }
        client.ask(sent, wanted);
    }
}

#[test]
fn the_gate_costs_nobody_else_anything() {
    let stage = Stage::new("sweep: 0,");
    let mut client = stage.client();
    stage.walk(&[Prepare, Fence, Warm]);
    for key in staying(200) {
        client.ask(format!("SET {key} 1\r\nGET {key}\r\n"), "+OK\r\n$1\r\n1\r\n");
    }
    assert_eq!((stage.moves("moved"), stage.moves("absent")), (0.0, 0.0));
}

#[test]
fn large_values_wait_and_move_too() {
    let stage = Stage::new("fence: 5s,");
    let mut client = stage.client();
    let (key, ..) = &moving(1)[0];
    let set = |text: &str| {
        format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{text}\r\n", key.len(), text.len())
    };
    for (letter, phase) in ["a", "b", "c", "d", "e"].into_iter().zip(FORWARDS) {
        stage.go(phase);
        let text = letter.repeat(3_000_000);
        client.send(set(&text));
        if phase == Fence {
            let waits = || stage.count("twinring_expansion_operations", &[]) == 1.0;
            assert!(wait_until(LONG, waits));
            stage.go(Warm);
        }
        client.expect("+OK\r\n");
        client.ask(format!("GET {key}\r\n"), format!("${}\r\n{text}\r\n", text.len()));
        if phase == Fence {
            break;
        }
    }
}
