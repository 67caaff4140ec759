//! Every type of value, there and back again.

use super::{BACK, FORWARDS, Stage, ask, moving};

/// What makes a value `KEY` of each type, and what is asked about it afterwards.
const TYPES: &[(&[&str], &[&str])] = &[
    (&["SET KEY text"], &["GET KEY", "OBJECT ENCODING KEY"]),
    (&["SET KEY 4711"], &["GET KEY", "TYPE KEY"]),
    (&["SETBIT KEY 100000 1"], &["BITCOUNT KEY", "STRLEN KEY"]),
    (&["PFADD KEY a b c d"], &["PFCOUNT KEY"]),
    (&["RPUSH KEY a b c", "LPUSH KEY z"], &["LRANGE KEY 0 -1"]),
    (&["SADD KEY 1 2 3"], &["SMISMEMBER KEY 1 2 3 4", "SCARD KEY", "OBJECT ENCODING KEY"]),
    (&["HSET KEY f v g w", "HINCRBY KEY n 5"], &["HGETALL KEY"]),
    (&["ZADD KEY 1 a 2.5 b -inf c"], &["ZRANGE KEY 0 -1 WITHSCORES"]),
    (&["GEOADD KEY 13.361389 38.115556 Palermo"], &["GEOPOS KEY Palermo"]),
    (
        &[
            "XADD KEY 1-1 f v",
            "XADD KEY 2-1 f w",
            "XADD KEY 3-1 f x",
            "XGROUP CREATE KEY workers 0",
            "XREADGROUP GROUP workers one COUNT 2 STREAMS KEY >",
            "XACK KEY workers 1-1",
            "XDEL KEY 3-1",
        ],
        &[
            "XRANGE KEY - +",
            "XPENDING KEY workers - + 10 one",
            "XINFO GROUPS KEY",
            "XREADGROUP GROUP workers one STREAMS KEY 0",
        ],
    ),
];

/// What depends on the clock is left out.
fn steady(reply: String) -> String {
    let mut lines: Vec<&str> = reply.split("\r\n").collect();
    if lines.len() > 4 && lines[0] == "*1" && lines[1] == "*4" {
        // XPENDING: how long ago it was delivered.
        lines.retain(|line| !line.starts_with(':'));
    }
    lines.join("\r\n")
}

#[test]
fn every_type_is_whole_in_every_phase_and_at_one_server_alone() {
    let stage = Stage::new("fence: 5s,");
    let mut client = stage.client();
    let keys = moving(2 * TYPES.len());
    let mut told = Vec::new();
    for (number, (key, old, _)) in keys.iter().enumerate() {
        let (makes, asks) = TYPES[number % TYPES.len()];
        for command in makes {
            let reply = ask(&mut client, &command.replace("KEY", key));
            assert!(!reply.starts_with('-'), "{command}: {reply}");
        }
        // Of each type one has a time to live.
        if number >= TYPES.len() {
            assert_eq!(ask(&mut client, &format!("PEXPIRE {key} 500000")), ":1\r\n");
        }
        assert!(stage.has(*old, key));
        let asks: Vec<String> = asks.iter().map(|command| command.replace("KEY", key)).collect();
        told.push((asks, number >= TYPES.len()));
    }
    let tell = |client: &mut crate::support::Client| -> Vec<String> {
        let asks = told.iter().flat_map(|(asks, _)| asks);
        asks.map(|command| steady(ask(client, command))).collect()
    };
    let before = tell(&mut client);
    assert!(before.iter().all(|reply| !reply.starts_with('-')), "{before:?}");
    for (phases, side) in [(FORWARDS, 1), (BACK, 0)] {
        for phase in phases {
            stage.go(phase);
            if phase != super::Fence {
                assert_eq!(tell(&mut client), before, "{phase:?}");
            }
        }
        stage.settle();
        for (number, (key, old, new)) in keys.iter().enumerate() {
            let has = [stage.has(*old, key), stage.has(*new, key)];
            assert_eq!(has, [side == 0, side == 1], "{key}");
            let left = ask(&mut client, &format!("PTTL {key}"));
            let left: i64 = left.trim_start_matches(':').trim_end().parse().unwrap();
            if told[number].1 {
                assert!((400_000..=500_000).contains(&left), "{key}: {left}");
            } else {
                assert_eq!(left, -1, "{key}");
            }
        }
    }
    assert_eq!((stage.split_brain(), stage.moves("failed")), (0.0, 0.0));
}

#[test]
fn what_nobody_asks_for_is_swept_and_the_end_waits_for_it() {
    let stage = Stage::new("sweep: 200,");
    let mut client = stage.client();
    let keys = moving(100);
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    stage.walk(&[super::Prepare, super::Fence, super::Warm, super::Drain]);
    let reply = super::http("POST", &stage.proxies[0], "?pool=pool0&phase=new");
    assert!(reply.contains("has not ended yet"), "{reply}");
    stage.go(super::New);
    let old: usize = (0..2).map(|at| stage.keys(at).len()).sum();
    assert_eq!((old, stage.keys(2).len()), (0, 100));
    let swept = |what| stage.count("twinring_expansion_swept_keys_total", &[("what", what)]);
    assert_eq!((swept("moved"), stage.moves("moved")), (100.0, 100.0));
    assert!(swept("seen") >= 100.0);
    assert_eq!(super::report(&stage.proxies[0])["sweep"]["moved"], 100);
}
