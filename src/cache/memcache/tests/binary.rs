//! The binary protocol: what cannot be seen beside memcached itself, as time passes by hand here.

use super::{Client, MEBIBYTE};

/// A packet; extras are numbers of four bytes.
fn packet(opcode: u8, extras: &[u32], key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([4 * extras.len() as u8, 0, 0, 0]);
    bytes.extend(((4 * extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend(extras.iter().flat_map(|number| number.to_be_bytes()));
    [&bytes, key.as_bytes(), value].concat()
}

/// Status and body of the only reply to a packet.
fn ask(client: &mut Client, packet: Vec<u8>) -> (u8, Vec<u8>) {
    client.send(&packet);
    let reply = std::mem::take(&mut client.replies);
    let len = u32::from_be_bytes(reply[8..12].try_into().unwrap());
    assert_eq!((reply[0], reply[1], reply.len()), (0x81, packet[1], 24 + len as usize));
    (reply[7], reply[24..].to_vec())
}

fn get(client: &mut Client, key: &str) -> Option<Vec<u8>> {
    let (status, body) = ask(client, packet(0x00, &[], key, b""));
    assert!(matches!(status, 0 | 1), "{status}");
    (status == 0).then(|| body[4..].to_vec())
}

#[test]
fn times_are_those_of_the_text_protocol() {
    let mut client = Client::new();
    ask(&mut client, packet(0x01, &[0, 2], "short", b"x"));
    ask(&mut client, packet(0x01, &[0, 1_700_000_003], "absolute", b"x"));
    ask(&mut client, packet(0x05, &[0, 1, 0, 40, 2], "number", b""));
    assert_eq!(get(&mut client, "number"), Some(b"40".to_vec()));
    assert_eq!(
        client.ask("mg short t\r\nmg absolute t\r\nmg number t\r\n"),
        "HD t2\r\nHD t3\r\nHD t2\r\n"
    );
    client.pass(1_999);
    assert!(get(&mut client, "short").is_some() && get(&mut client, "number").is_some());
    assert_eq!(ask(&mut client, packet(0x1c, &[10], "number", b"")), (0, vec![0; 4]));
    client.pass(1);
    assert_eq!(get(&mut client, "short"), None);
    assert!(get(&mut client, "absolute").is_some() && get(&mut client, "number").is_some());
    // Changed, it keeps its time.
    ask(&mut client, packet(0x05, &[0, 1, 0, 40, 999], "number", b""));
    client.pass(9_998);
    assert_eq!(
        (get(&mut client, "absolute"), get(&mut client, "number")),
        (None, Some(b"41".to_vec()))
    );
    client.pass(1);
    assert_eq!(get(&mut client, "number"), None);
}

#[test]
fn a_flush_waits_for_its_time() {
    let mut client = Client::new();
    ask(&mut client, packet(0x01, &[0, 0], "k", b"x"));
    assert_eq!(ask(&mut client, packet(0x08, &[5], "", b"")), (0, Vec::new()));
    client.pass(4_999);
    assert!(get(&mut client, "k").is_some());
    client.pass(1);
    assert_eq!(get(&mut client, "k"), None);
    ask(&mut client, packet(0x01, &[0, 0], "k", b"x"));
    ask(&mut client, packet(0x08, &[], "", b""));
    assert_eq!(get(&mut client, "k"), None);
}

#[test]
fn what_is_too_large_takes_the_place_of_what_was_there() {
    let mut client = Client::new();
    let large = vec![0; MEBIBYTE + 1];
    for (opcode, left) in [(0x01, None), (0x02, Some(b"x".to_vec())), (0x03, Some(b"x".to_vec()))] {
        ask(&mut client, packet(0x01, &[0, 0], "k", b"x"));
        let (status, text) = ask(&mut client, packet(opcode, &[0, 0], "k", &large));
        assert_eq!((status, &text[..]), (3, &b"Too large."[..]));
        assert_eq!(get(&mut client, "k"), left, "{opcode:#x}");
    }
    assert!(client.ask("stats\r\n").contains("STAT store_too_large 3\r\n"));
}

#[test]
fn what_is_asked_in_packets_is_counted_as_what_is_asked_in_lines() {
    let mut client = Client::new();
    let mut send = |opcode, extras: &[u32], key, value: &[u8]| {
        client.send(&packet(opcode, extras, key, value));
    };
    send(0x01, &[0, 0], "k", b"5");
    send(0x00, &[], "k", b"");
    send(0x09, &[], "nope", b"");
    send(0x05, &[0, 1, 0, 0, 0], "k", b"");
    send(0x16, &[0, 1, 0, 0, u32::MAX], "nope", b"");
    send(0x1d, &[0], "k", b"");
    send(0x1e, &[0], "nope", b"");
    send(0x14, &[], "nope", b"");
    send(0x04, &[], "k", b"");
    send(0x18, &[], "", b"");
    client.replies.clear();
    let stats = client.ask("stats\r\n");
    for line in [
        "cmd_get 2",
        "get_hits 1",
        "cmd_set 1",
        "incr_hits 1",
        "decr_misses 1",
        "touch_hits 1",
        "touch_misses 1",
        "delete_hits 1",
        "delete_misses 1",
        "cmd_flush 1",
    ] {
        assert!(stats.contains(&format!("STAT {line}\r\n")), "{line} in {stats}");
    }
}
