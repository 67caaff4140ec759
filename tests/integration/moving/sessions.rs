//! Commands on several keys, scripts, transactions, commands that block, subscriptions, and those
//! that concern every key.

use super::{BACK, FENCED, FORWARDS, Fence, Prepare, Stage, Warm, ask, moving, staying};
use crate::support::{Client, LONG, wait_until};

#[test]
fn commands_on_many_keys_find_all_of_them() {
    let stage = Stage::new("fence: 5s,");
    let mut client = stage.client();
    let keys: Vec<String> = (0..300).map(|number| format!("many-{number}")).collect();
    let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {key}")).collect();
    client.ask(format!("MSET {}\r\n", pairs.join(" ")), "+OK\r\n");
    let value = |key: &String| format!("${}\r\n{key}\r\n", key.len());
    let all = format!("*300\r\n{}", keys.iter().map(value).collect::<String>());
    for phase in FORWARDS {
        stage.go(phase);
        if phase == Fence {
            continue;
        }
        client.ask(format!("MGET {}\r\n", keys.join(" ")), &all);
        client.ask(format!("EXISTS {}\r\n", keys.join(" ")), ":300\r\n");
    }
    client.ask(format!("DEL {}\r\n", keys.join(" ")), ":300\r\n");
    client.ask("DBSIZE\r\n", ":0\r\n");
}

#[test]
fn scripts_and_commands_on_keys_of_one_tag_follow_them() {
    let stage = Stage::with(1, "fence: 5s,", &[], &[("hash_tag", "'{}'")]);
    let mut client = stage.client();
    let tag = moving(1).remove(0).0;
    let other = staying(1).remove(0);
    let script = "\"return redis.call('INCRBY', KEYS[1], redis.call('LLEN', KEYS[2]))\"";
    client.ask(format!("RPUSH {{{tag}}}b x y\r\n"), ":2\r\n");
    let eval = format!("EVAL {script} 2 {{{tag}}}a {{{tag}}}b\r\n");
    for (round, phase) in (1..).zip(FORWARDS) {
        stage.go(phase);
        if phase != Warm {
            client.send(&eval);
        }
        if phase == Fence {
            continue;
        }
        // In warm this is the one that has waited.
        let runs = if phase.new_serves() { round - 1 } else { round };
        client.expect(format!(":{}\r\n", 2 * runs));
        client.ask(format!("RENAME {{{tag}}}b {{{tag}}}c\r\n"), "+OK\r\n");
        client.ask(format!("LMOVE {{{tag}}}c {{{tag}}}b LEFT LEFT\r\n"), "$1\r\nx\r\n");
        client.ask(format!("LMOVE {{{tag}}}c {{{tag}}}b LEFT RIGHT\r\n"), "$1\r\ny\r\n");
        let reply = ask(&mut client, &format!("COPY {{{tag}}}b {{{other}}}b"));
        let apart = "-CROSSSLOT keys of one command are on several servers, use a hash tag\r\n";
        assert!(reply == apart || !phase.new_serves(), "{phase:?} {reply}");
        let reply = ask(&mut client, "EVAL \"return 1\" 0");
        assert!(reply.starts_with("-ERR a script without keys cannot be routed"), "{reply}");
    }
}

#[test]
fn a_transaction_on_keys_that_move_is_whole_or_refused() {
    let mut stage = Stage::with(1, "fence: 5s, sweep: 0,", &[], &[("hash_tag", "'{}'")]);
    let (mut client, mut other) = (stage.client(), stage.client());
    let tag = moving(1).remove(0).0;
    let stays = staying(1).remove(0);
    client.ask(format!("SET {{{tag}}}a 1\r\nSET {{{tag}}}b 1\r\n"), "+OK\r\n+OK\r\n");
    let queued = "+QUEUED\r\n";
    let aborted = "-EXECABORT Transaction discarded: the connection to the server broke.\r\n";
    // What was begun before the fence is not executed behind it.
    let (mut queues, mut watches, mut bystander) = (stage.client(), stage.client(), stage.client());
    queues.ask(format!("MULTI\r\nINCR {{{tag}}}a\r\n"), format!("+OK\r\n{queued}"));
    watches.ask(format!("WATCH {{{tag}}}a\r\n"), "+OK\r\n");
    bystander.ask(
        format!("WATCH {stays}\r\nMULTI\r\nINCR {stays}\r\n"),
        format!("+OK\r\n+OK\r\n{queued}"),
    );
    stage.walk(&[Prepare, Fence]);
    stage.settle();
    queues.ask("EXEC\r\n", aborted);
    watches.ask("MULTI\r\nPING\r\n", format!("+OK\r\n{queued}").replace(queued, ""));
    let reply = String::from_utf8(watches.redis_reply()).unwrap();
    assert!(reply.starts_with('-') || reply == queued, "{reply}");
    let reply = ask(&mut watches, "EXEC");
    assert!(reply.starts_with("-EXECABORT"), "{reply}");
    bystander.ask("EXEC\r\n", "*1\r\n:1\r\n");
    // What is begun at the fence waits there, and finds its keys behind it.
    client.send(format!("MULTI\r\nINCR {{{tag}}}a\r\nINCR {{{tag}}}b\r\nEXEC\r\n"));
    client.expect("+OK\r\n");
    stage.go(Warm);
    client.expect(format!("{queued}{queued}*2\r\n:2\r\n:2\r\n"));
    // Optimistic locking works as ever.
    client.ask(format!("WATCH {{{tag}}}c\r\n"), "+OK\r\n");
    other.ask(format!("SET {{{tag}}}c 1\r\n"), "+OK\r\n");
    client.ask(format!("MULTI\r\nINCR {{{tag}}}c\r\nEXEC\r\n"), format!("+OK\r\n{queued}*-1\r\n"));
    // A refusal spoils what is queued.
    client.ask(format!("SET {{{stays}}}d 1\r\n"), "+OK\r\n");
    client.ask("MULTI\r\n", "+OK\r\n");
    stage.servers[2].kill();
    let reply = ask(&mut client, &format!("INCR {{{tag}}}d"));
    assert!(reply.starts_with('-'), "{reply}");
    assert!(ask(&mut client, "EXEC").starts_with("-EXECABORT"));
}

#[test]
fn commands_that_block_are_woken_at_the_fence_and_wait_at_the_new_server() {
    let stage = Stage::new("fence: 5s,");
    let (key, ..) = &moving(1)[0];
    let stays = &staying(1)[0];
    let (mut blocked, mut unmoved, mut pusher) = (stage.client(), stage.client(), stage.client());
    let wait_for = |at: std::ops::Range<usize>, count: usize| {
        let blocked = |at: usize| {
            let text = ask(&mut stage.server(at), "INFO clients");
            let line = text.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
            line.unwrap().trim().parse::<usize>().unwrap()
        };
        assert!(wait_until(LONG, || at.clone().map(blocked).sum::<usize>() == count));
    };
    blocked.send(format!("BLPOP {key} 0\r\n"));
    unmoved.send(format!("BLPOP {stays} 0\r\n"));
    wait_for(0..2, 2);
    stage.walk(&[Prepare, Fence]);
    blocked.expect(FENCED);
    stage.go(Warm);
    blocked.send(format!("BLPOP {key} 0\r\n"));
    wait_for(2..3, 1);
    pusher.ask(format!("RPUSH {key} a\r\nRPUSH {stays} b\r\n"), ":1\r\n:1\r\n");
    blocked.expect(format!("*2\r\n${}\r\n{key}\r\n$1\r\na\r\n", key.len()));
    unmoved.expect(format!("*2\r\n${}\r\n{stays}\r\n$1\r\nb\r\n", stays.len()));
    // Back again.
    blocked.send(format!("BLPOP {key} 0\r\n"));
    wait_for(2..3, 1);
    stage.walk(&[Fence]);
    blocked.expect(FENCED);
    stage.walk(&[Prepare]);
    blocked.send(format!("BLPOP {key} 0\r\n"));
    wait_for(0..2, 1);
    pusher.ask(format!("RPUSH {key} a\r\n"), ":1\r\n");
    blocked.expect(format!("*2\r\n${}\r\n{key}\r\n$1\r\na\r\n", key.len()));
}

#[test]
fn a_scan_misses_no_key_while_keys_move() {
    let stage = Stage::new("fence: 5s, sweep: 300,");
    let mut client = stage.client();
    let keys: Vec<String> = (0..500).map(|number| format!("scan-{number}")).collect();
    for key in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    let scan = |client: &mut Client| {
        let (mut cursor, mut found) = ("0".to_owned(), std::collections::BTreeSet::new());
        loop {
            let reply = ask(client, &format!("SCAN {cursor} COUNT 20"));
            let mut lines = reply.split("\r\n").filter(|line| !line.starts_with(['$', '*']));
            cursor = lines.next().unwrap().to_owned();
            found.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
            if cursor == "0" {
                return found.len();
            }
        }
    };
    for phase in FORWARDS {
        stage.go(phase);
        for _ in 0..3 {
            assert_eq!(scan(&mut client), 500, "{phase:?}");
        }
    }
    client.ask("DBSIZE\r\n", ":500\r\n");
    client.ask("FLUSHALL\r\nDBSIZE\r\n", "+OK\r\n:0\r\n");
}

#[test]
fn a_flush_leaves_nothing_in_any_phase() {
    let stage = Stage::new("sweep: 0,");
    let mut client = stage.client();
    for phase in FORWARDS.into_iter().chain(BACK) {
        if phase != Warm && phase != Prepare {
            for (key, ..) in moving(20) {
                client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
            }
        }
        stage.go(phase);
        client.ask("FLUSHALL\r\n", "+OK\r\n");
        assert!((0..3).all(|at| stage.keys(at).is_empty()), "{phase:?}");
    }
}

#[test]
fn subscriptions_go_where_messages_are_published() {
    let stage = Stage::new("");
    let (mut subscriber, mut publisher) = (stage.client(), stage.client());
    let (channel, ..) = &moving(1)[0];
    subscriber.ask(
        format!("SUBSCRIBE {channel}\r\n"),
        format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len()),
    );
    for phase in FORWARDS {
        stage.go(phase);
        stage.settle();
        // It takes a moment until the other server knows of the subscription.
        let heard = || ask(&mut publisher, &format!("PUBLISH {channel} hello")) == ":1\r\n";
        assert!(wait_until(LONG, heard), "{phase:?}");
        let message =
            format!("*3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n$5\r\nhello\r\n", channel.len());
        subscriber.expect(message);
    }
}
