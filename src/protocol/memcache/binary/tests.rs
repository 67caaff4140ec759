//! Packets of every opcode, good ones and others, and however they are cut.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};

use super::{Packet, Verb, outline, row_of};
use crate::protocol::memcache::{parse, write_refusal};
use crate::protocol::support::{cache, compat, events, native, once};
use crate::protocol::{Echo, Failure, Keys, Parsed, Refusal, Request, Status};

const OPAQUE: [u8; 4] = [1, 2, 3, 4];

/// A packet of these parts.
fn packet(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend(OPAQUE);
    bytes.extend(7u64.to_be_bytes());
    [&bytes, extras, key, value].concat()
}

/// The refusal of a packet with this opcode.
fn failure(opcode: u8, status: Status) -> Refusal {
    Refusal::Binary(Failure { echo: Echo { opcode, opaque: OPAQUE }, status })
}

type Opcodes = &'static [u8];

/// A good packet of every opcode, by the protocol's description: extras, key, value.
const GOOD: [(Opcodes, usize, &[u8], &[u8]); 9] = [
    (&[0x00, 0x09, 0x0c, 0x0d, 0x04, 0x14], 0, b"key", b""),
    (&[0x01, 0x02, 0x03, 0x11, 0x12, 0x13], 8, b"key", b"value"),
    (&[0x0e, 0x0f, 0x19, 0x1a], 0, b"key", b"value"),
    (&[0x05, 0x06, 0x15, 0x16], 20, b"key", b""),
    (&[0x1c, 0x1d, 0x1e, 0x23, 0x24], 4, b"key", b""),
    (&[0x08, 0x18], 4, b"", b""),
    (&[0x08, 0x18, 0x07, 0x17, 0x0a, 0x0b, 0x10, 0x20], 0, b"", b""),
    (&[0x10], 0, b"items", b""),
    (&[0x21], 0, b"PLAIN", b"\0me\0secret"),
];

#[test]
fn every_opcode_is_taken_with_what_belongs_to_it() {
    let mut known = 0u64;
    for (opcodes, extras, key, value) in GOOD {
        for opcode in opcodes {
            known |= 1 << opcode;
            let bytes = packet(*opcode, &vec![9; extras], key, value);
            let (parsed, args) = once(parse, &bytes, &cache());
            let Parsed::Request(head) = parsed else { panic!("{opcode:#x}: {parsed:?}") };
            assert_eq!(
                (head.len, head.line as usize),
                (bytes.len() as u64, 24 + extras + key.len())
            );
            assert_eq!(args, [&[*opcode][..], key, value]);
            let keyed = !key.is_empty() && !matches!(opcode, 0x10 | 0x21);
            assert_eq!(head.command.keys, if keyed { Keys::At(1) } else { Keys::None });
        }
    }
    let taken = (0..=255u8).filter(|opcode| row_of(*opcode).is_some());
    assert_eq!(taken.fold(0u64, |all, opcode| all | 1 << opcode), known);
}

#[test]
fn what_a_packet_asks_is_what_its_fields_say() {
    let extras = [5u64.to_be_bytes(), 6u64.to_be_bytes()].concat();
    let bytes = packet(0x15, &[&extras[..], &7u32.to_be_bytes()].concat(), b"n", b"");
    let mut args = Vec::new();
    let Parsed::Request(head) = parse(&bytes, &cache(), &mut args) else { panic!() };
    let asked = Packet::of(&Request { head: &head, bytes: &bytes, args: &args }).unwrap();
    assert_eq!((asked.verb, asked.quiet, asked.keyed), (Verb::Increment, true, false));
    assert_eq!(asked.echo, Echo { opcode: 0x15, opaque: OPAQUE });
    assert_eq!((asked.cas, asked.key, asked.value), (7, &b"n"[..], &b""[..]));
    assert_eq!((asked.u64_at(0), asked.u64_at(8), asked.u32_at(16)), (5, 6, 7));
    assert_eq!((asked.u64_at(16), asked.u32_at(17), asked.u32_at(99)), (0, 0, 0));
}

#[test]
fn packets_of_other_parts_are_the_last_ones_of_their_client() {
    let (ten, long) = ([b'k'; 10], [b'k'; 251]);
    let mut short = packet(0x00, b"", &ten, b"");
    short[11] = 9;
    for (bytes, status) in [
        (packet(0x00, b"", b"", b""), Status::Invalid),
        (packet(0x00, b"", b"k", b"v"), Status::Invalid),
        (packet(0x00, b"1234", b"k", b""), Status::Invalid),
        (packet(0x01, b"", b"k", b"v"), Status::Invalid),
        (packet(0x05, &[0; 19], b"k", b""), Status::Invalid),
        (packet(0x08, b"12", b"", b""), Status::Invalid),
        (packet(0x0a, b"", b"k", b""), Status::Invalid),
        (packet(0x01, &[0; 8], &long, b"v"), Status::Invalid),
        // Whatever it would be.
        (packet(0x70, b"", &long, b""), Status::Invalid),
        (short, Status::Unknown),
    ] {
        let opcode = bytes[1];
        // The header says it all.
        let (parsed, _) = once(parse, &bytes[..24], &cache());
        let Parsed::Lost(refusal) = parsed else { panic!("{opcode:#x}: {parsed:?}") };
        assert_eq!(refusal, failure(opcode, status));
    }
}

#[test]
fn packets_that_cannot_be_served_are_passed_over() {
    let unknown = packet(0x1b, b"1234", b"k", b"v");
    let (parsed, _) = once(parse, &unknown, &cache());
    let Parsed::Refused { len, refusal } = parsed else { panic!("{parsed:?}") };
    assert_eq!((len, refusal), (unknown.len() as u64, Some(failure(0x1b, Status::Unknown))));
    let large = packet(0x01, &[0; 8], b"key", &vec![0; 200_001]);
    let (parsed, _) = once(parse, &large[..24], &cache());
    assert!(matches!(parsed, Parsed::Incomplete { need: 35 }), "{parsed:?}");
    let (parsed, args) = once(parse, &large[..35], &cache());
    let Parsed::Refused { len, refusal } = parsed else { panic!("{parsed:?}") };
    assert_eq!((len, refusal), (large.len() as u64, Some(failure(0x01, Status::TooLarge))));
    assert_eq!(args[1], b"key");
    let mut reply = Vec::new();
    write_refusal(&failure(0x01, Status::TooLarge), &mut reply);
    let header = b"\x81\x01\0\0\0\0\0\x03\0\0\0\x0a\x01\x02\x03\x04\0\0\0\0\0\0\0\0";
    assert_eq!(reply, [&header[..], b"Too large."].concat());
}

#[test]
fn only_a_cache_takes_packets() {
    for rules in [native(), compat()] {
        let (parsed, _) = once(parse, &packet(0x0a, b"", b"", b""), &rules);
        assert!(matches!(parsed, Parsed::Lost(Refusal::Unknown)), "{parsed:?}");
    }
}

#[test]
fn a_large_value_can_come_in_by_itself() {
    let value = vec![b'v'; 100_000];
    for (opcode, alone) in [(0x01, true), (0x12, true), (0x03, true), (0x0e, false)] {
        let extras: &[u8] = if alone { &[9; 8] } else { b"" };
        let whole = packet(opcode, extras, b"key", &value);
        let mut args = Vec::new();
        let value_at = 24 + extras.len() + 3;
        let bytes = &whole[..value_at + 10];
        let Parsed::Begun(head) = parse(bytes, &cache(), &mut args) else { panic!() };
        assert_eq!((head.len, head.line as usize), (whole.len() as u64, value_at));
        let found = outline(&Request { head: &head, bytes, args: &args });
        let Some(found) = found else {
            assert!(!alone, "{opcode:#x}");
            continue;
        };
        assert!(alone, "{opcode:#x}");
        assert_eq!((found.len, found.value_at), (100_000, value_at));
        assert_eq!(found.text, packet(opcode, extras, b"key", b""));
    }
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let part = |most: usize| vec(any::<u8>(), 0..most);
    let good = (0..GOOD.len(), any::<usize>(), part(4)).prop_map(|(at, which, value)| {
        let (opcodes, extras, key, ..) = GOOD[at];
        let value = if matches!(at, 1 | 2) { &value[..] } else { b"" };
        packet(opcodes[which % opcodes.len()], &vec![0; extras], key, value)
    });
    let any_parts = (any::<u8>(), part(21), part(4), part(9))
        .prop_map(|(opcode, extras, key, value)| packet(opcode, &extras, &key, &value));
    let text = Just(b"get a\r\nset b 0 0 1\r\nx\r\n".to_vec());
    let headless = part(40).prop_map(|bytes| [&[0x80], &bytes[..]].concat());
    prop_oneof![8 => good, 2 => any_parts, 1 => text, 1 => headless]
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        stream in vec(noise(), 1..12).prop_map(|parts| parts.concat()),
        cuts in vec(0..600usize, 0..6),
    ) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        let whole = events(parse, &cache(), &stream, &[]);
        let each: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(&events(parse, &cache(), &stream, &cuts), &whole);
        prop_assert_eq!(&events(parse, &cache(), &stream, &each), &whole);
    }
}
