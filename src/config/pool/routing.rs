//! Hash and distribution: the keys of a pool that decide where every key lives.

use crate::config::placement::{Distribution, Hash, HashChar, Points, Routing};
use crate::config::source::{Reason, Section};

/// The longest name that Wayfair's twemproxy hashes.
const FNV_NAME_CUT: usize = 85;
/// The longest name that libketama keeps.
const LIBKETAMA_NAME_CUT: usize = 21;

const HASHES: [(&str, Hash); 12] = [
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

/// Reads the keys that decide where every key lives.
pub(super) fn routing(section: &Section<'_>) -> Routing {
    let chars = [("signed", HashChar::Signed), ("unsigned", HashChar::Unsigned)];
    Routing {
        hash: section.choice("hash", &HASHES, "is not a valid hash").unwrap_or(Hash::Fnv1a64),
        hash_char: section
            .choice("hash_char", &chars, "is neither \"signed\" nor \"unsigned\"")
            .unwrap_or(HashChar::Signed),
        hash_tag: section.parsed("hash_tag", |text| {
            <[u8; 2]>::try_from(text.as_bytes())
                .map_err(|_| "is not a valid hash tag string with two characters".into())
        }),
        distribution: distribution(section),
    }
}

/// The name of a hash.
pub(in crate::config) fn hash_name(hash: Hash) -> &'static str {
    HASHES.iter().find(|(_, known)| *known == hash).map_or("", |(name, _)| name)
}

fn distribution(section: &Section<'_>) -> Distribution {
    let fnv = |points, name_cut| Distribution::KetamaFnv { points, name_cut };
    // Points by weight are libketama's, whose names this form leaves whole.
    let names = [
        ("ketama", Distribution::Ketama),
        ("modula", Distribution::Modula),
        ("random", Distribution::Random),
        ("ketama_fnv", fnv(Points::Fixed, Some(FNV_NAME_CUT))),
        ("ketama_fnv_weighted", fnv(Points::Weighted, None)),
    ];
    let named = section.choice("distribution", &names, "is not a valid distribution");
    let cuts = [("85", Some(FNV_NAME_CUT)), ("21", Some(LIBKETAMA_NAME_CUT)), ("none", None)];
    let name_cut = section.choice("name_cut", &cuts, "is neither 85 nor 21 nor \"none\"");
    let kinds = [("fixed", Points::Fixed), ("weighted", Points::Weighted)];
    let points = section.choice("points", &kinds, "is neither \"fixed\" nor \"weighted\"");
    match named.unwrap_or(Distribution::Ketama) {
        Distribution::KetamaFnv { points: default, name_cut: default_cut } => {
            let points = points.unwrap_or(default);
            let by_points = if points == default {
                default_cut
            } else {
                (points == Points::Fixed).then_some(FNV_NAME_CUT)
            };
            fnv(points, name_cut.unwrap_or(by_points))
        }
        other => {
            for value in ["name_cut", "points"].into_iter().filter_map(|key| section.take(key)) {
                let why = format!("directive \"{}\" is only valid with a FNV ring", value.key);
                value.refuse(Reason::from(why).or("distribution: ketama_fnv"));
            }
            other
        }
    }
}
