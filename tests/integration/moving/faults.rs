//! A server that is stopped or dies while keys go to it or come from it: clear errors, nothing
//! doubled, and all well afterwards.

use super::{Drain, Fence, Prepare, Stage, Warm, ask, has_settled, moving, staying};
use crate::support::{LONG, wait_until};

#[test]
fn a_new_server_that_is_stopped_stops_only_the_keys_that_go_there() {
    let stage = Stage::new("migrate_timeout: 100ms, sweep: 0,");
    let mut client = stage.client();
    let keys = moving(4);
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    stage.walk(&[Prepare, Fence, Warm]);
    stage.servers[2].process.freeze();
    let late = "-TRYAGAIN the key could not be moved to its server in time\r\n";
    let (key, old, new) = &keys[0];
    client.ask(format!("INCR {key}\r\n"), late);
    // It is not tried again at once: others of the old server's clients need not wait.
    client.ask(
        format!(
            "INCR {}\r\n",
            keys.iter().find(|it| it.1 == *old && it.0 != *key).map_or(key, |it| &it.0)
        ),
        late,
    );
    for key in staying(20) {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    stage.servers[2].process.thaw();
    let counted = || ask(&mut client, &format!("INCR {key}")) == ":2\r\n";
    assert!(wait_until(LONG, counted));
    assert!(stage.has(*new, key) && !stage.has(*old, key));
    let mut client = stage.client();
    client.ask(format!("INCR {key}\r\n"), ":3\r\n");
    assert!(stage.moves("failed") > 0.0);
}

#[test]
fn a_server_that_is_gone_is_told_of_and_nothing_is_done_twice() {
    let mut stage = Stage::new("sweep: 0,");
    let mut client = stage.client();
    let keys = moving(6);
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    stage.walk(&[Prepare, Fence, Warm]);
    let (key, old, _) = &keys[0];
    // The new one: the old one keeps the key.
    stage.servers[2].kill();
    let reply = ask(&mut client, &format!("INCR {key}"));
    assert!(reply.starts_with('-'), "{reply}");
    assert!(stage.has(*old, key));
    stage.servers[2].restart();
    let counted = || ask(&mut client, &format!("INCR {key}")) == ":2\r\n";
    assert!(wait_until(LONG, counted));
    // The old one: nobody can say what it had.
    stage.servers[*old].kill();
    let (lost, ..) = keys.iter().find(|it| it.1 == *old && it.0 != *key).unwrap();
    let reply = ask(&mut client, &format!("GET {lost}"));
    assert!(reply.starts_with('-'), "{reply}");
    // What is known to have been moved before is there.
    client.ask(format!("INCR {key}\r\n"), ":3\r\n");
}

#[test]
fn a_sweep_goes_on_after_a_server_was_gone_and_the_end_waits_for_it() {
    let mut stage = Stage::new("sweep: 500,");
    stage.servers[2].kill();
    let mut client = stage.client();
    let keys = moving(40);
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    stage.walk(&[Prepare, Fence, Warm, Drain]);
    assert!(wait_until(LONG, || stage.moves("failed") > 0.0));
    assert!(!has_settled(&stage.proxies[0]));
    stage.servers[2].restart();
    stage.settle();
    assert_eq!(stage.keys(2).len(), 40);
}

#[test]
fn a_full_server_takes_no_key_and_says_so() {
    let stage = Stage::new("sweep: 0,");
    let mut client = stage.client();
    let (key, old, _) = &moving(1)[0];
    client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    stage.walk(&[Prepare, Fence, Warm]);
    stage.server(2).ask("CONFIG SET maxmemory 1\r\n", "+OK\r\n");
    let reply = ask(&mut client, &format!("INCR {key}"));
    assert!(reply.starts_with("-ERR the key cannot be moved to its server: "), "{reply}");
    assert!(reply.contains("OOM"), "{reply}");
    assert!(stage.has(*old, key));
    stage.server(2).ask("CONFIG SET maxmemory 0\r\n", "+OK\r\n");
    client.ask(format!("INCR {key}\r\n"), ":2\r\n");
}

#[test]
fn passwords_users_and_databases_go_with_the_keys() {
    for (args, pool) in [
        (&["--requirepass", "secret"][..], &[("redis_auth", "secret"), ("redis_db", "3")][..]),
        (
            &["--user", "mover", "on", ">word", "~*", "&*", "+@all"],
            &[("redis_user", "mover"), ("redis_auth", "word"), ("redis_db", "2")],
        ),
    ] {
        let stage = Stage::with(1, "", args, pool);
        let mut client = stage.client();
        let of = |wanted: &str| pool.iter().find(|(key, _)| *key == wanted).map(|(_, word)| *word);
        let words = [of("redis_user"), of("redis_auth")].into_iter().flatten();
        let words: Vec<&str> = words.collect();
        client.ask(format!("AUTH {}\r\n", words.join(" ")), "+OK\r\n");
        let keys = moving(20);
        for (key, ..) in &keys {
            client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
        }
        stage.walk(&[Prepare, Fence, Warm]);
        for (key, ..) in keys.iter().take(10) {
            client.ask(format!("INCR {key}\r\n"), ":2\r\n");
        }
        stage.walk(&[Drain]);
        stage.settle();
        assert_eq!((stage.moves("moved"), stage.moves("failed")), (20.0, 0.0));
    }
}

#[test]
fn the_fence_is_acknowledged_when_nothing_can_be_executed_any_more() {
    let stage = Stage::new("");
    let (key, old, _) = &moving(1)[0];
    let mut client = stage.client();
    client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    stage.walk(&[Prepare]);
    stage.settle();
    stage.servers[*old].process.freeze();
    client.send(format!("INCR {key}\r\n"));
    let sent = || stage.count("twinring_backend_inflight", &[]) == 1.0;
    assert!(wait_until(LONG, sent));
    stage.go(Fence);
    let begun = std::time::Instant::now();
    assert!(!wait_until(std::time::Duration::from_millis(300), || has_settled(&stage.proxies[0])));
    assert!(begun.elapsed().as_millis() >= 300);
    stage.servers[*old].process.thaw();
    client.expect(":2\r\n");
    stage.go(Warm);
    client.ask(format!("INCR {key}\r\n"), ":3\r\n");
}

#[test]
fn what_waits_to_be_moved_is_not_moved_behind_the_fence() {
    let stage = Stage::new("sweep: 0, fence: 100ms,");
    let mut client = stage.client();
    let keys: Vec<_> = moving(60).into_iter().filter(|(_, old, _)| *old == 0).take(12).collect();
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    stage.walk(&[Prepare, Fence, Warm]);
    stage.settle();
    stage.servers[2].process.freeze();
    let mut clients: Vec<_> = keys.iter().map(|_| stage.client()).collect();
    for (client, (key, ..)) in clients.iter_mut().zip(&keys) {
        client.send(format!("INCR {key}\r\n"));
    }
    let waits = || stage.count("twinring_expansion_operations", &[]) == 12.0;
    assert!(wait_until(LONG, waits));
    stage.go(Fence);
    stage.servers[2].process.thaw();
    stage.settle();
    // Each of the two workers had asked for two at most.
    let left = keys.iter().filter(|(key, ..)| stage.has(0, key)).count();
    assert!((8..12).contains(&left), "{left} are at the old server");
    for client in &mut clients {
        client.expect(super::FENCED);
    }
    stage.walk(&[Prepare]);
    for (key, ..) in &keys {
        client.ask(format!("INCR {key}\r\n"), ":2\r\n");
    }
}
