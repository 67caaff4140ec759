//! Every hash function against the stored answers.

use std::collections::HashMap;

use crate::config::{Hash, HashChar};
use crate::routing::hash::{fnv1a_32_from, hash_of, md5_words};

const VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/hashes.json"));

pub(crate) const NAMED: [(&str, Hash); 12] = [
    ("one_at_a_time", Hash::OneAtATime),
    ("md5", Hash::Md5),
    ("crc16", Hash::Crc16),
    ("crc32", Hash::Crc32),
    ("crc32a", Hash::Crc32a),
    ("fnv1_64", Hash::Fnv1_64),
    ("fnv1a_64", Hash::Fnv1a64),
    ("fnv1_32", Hash::Fnv1_32),
    ("fnv1a_32", Hash::Fnv1a32),
    ("hsieh", Hash::Hsieh),
    ("murmur", Hash::Murmur),
    ("jenkins", Hash::Jenkins),
];

#[derive(serde::Deserialize)]
struct Vectors {
    vectors: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    key: String,
    #[serde(flatten)]
    hashes: HashMap<String, u32>,
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn every_function_gives_the_stored_values() {
    let rows = serde_json::from_str::<Vectors>(VECTORS).unwrap().vectors;
    assert_eq!(rows.len(), 84);
    for row in rows {
        assert_eq!(row.hashes.len(), NAMED.len());
        for (name, hash) in NAMED {
            let value = hash_of(hash, HashChar::Signed, &unhex(&row.key));
            assert_eq!(value, row.hashes[name], "{name} of {}", row.key);
        }
    }
}

/// Values for bytes from 0x80 on, signed; the reference lists them for these two keys.
#[test]
fn high_bytes_are_sign_extended() {
    let golden = [
        (
            [0xc3, 0xa9],
            [
                26298542, 2546851174, 15296452, 3588, 235179326, 3035330621, 3033280513, 376872957,
                1023043777, 3203012475, 2111574343, 934048990,
            ],
        ),
        (
            [0x6b, 0xff],
            [
                1276256064, 3064943922, 14534944, 27346, 3939651358, 1259657507, 1251880143,
                2575884899, 1472357903, 2102942641, 1046652811, 4029506422,
            ],
        ),
    ];
    for (key, values) in golden {
        for ((name, hash), value) in NAMED.into_iter().zip(values) {
            assert_eq!(hash_of(hash, HashChar::Signed, &key), value, "{name}");
        }
    }
}

#[test]
fn unsigned_chars_change_the_bytewise_hashes_of_high_bytes_only() {
    let bytewise = ["one_at_a_time", "fnv1_64", "fnv1a_64", "fnv1_32", "fnv1a_32"];
    for (name, hash) in NAMED {
        let both = |key: &[u8]| {
            [HashChar::Signed, HashChar::Unsigned].map(|chars| hash_of(hash, chars, key))
        };
        let [signed, unsigned] = both(b"plain ascii");
        assert_eq!(signed, unsigned, "{name}");
        let [signed, unsigned] = both(b"caf\xc3\xa9");
        assert_eq!(signed != unsigned, bytewise.contains(&name), "{name}");
        // hsieh reads a char only as the third of three trailing bytes.
        let [signed, unsigned] = both(b"ca\xe9");
        let differs = bytewise.contains(&name) || name == "hsieh";
        assert_eq!(signed != unsigned, differs, "{name}");
    }
    // The published FNV-1a of "é" as UTF-8, which is over unsigned bytes: by hand from the offset.
    let expected = [0xc3_u32, 0xa9]
        .iter()
        .fold(2_166_136_261_u32, |hash, byte| (hash ^ byte).wrapping_mul(16_777_619));
    assert_eq!(hash_of(Hash::Fnv1a32, HashChar::Unsigned, &[0xc3, 0xa9]), expected);
}

#[test]
fn chained_fnv_matches_the_published_states() {
    let name = b"393f7f81-ecd1-4e01-ba24-0d81384a7eb8";
    let value = hash_of(Hash::Fnv1a32, HashChar::Signed, name);
    assert_eq!(value, 0xfc59_6f33);
    let mut state = 12345;
    let states = [(); 5].map(|()| {
        state = fnv1a_32_from(state, name);
        state
    });
    let published = [2802148759, 794058721, 2739688623, 1703322857, 1880337671];
    assert_eq!(states, published);
}

#[test]
fn md5_gives_four_little_endian_words() {
    let words = md5_words(b"server1-8");
    assert_eq!((words[0], words[3]), (3853726576, 2667054752));
}
