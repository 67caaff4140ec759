//! How keys find servers: what decides where a key lives, beside the servers themselves.

use crate::topology::Placement;

/// How keys find servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Hash of the key.
    pub hash: Hash,
    /// How the byte-at-a-time hashes read bytes from 0x80 on.
    pub hash_char: HashChar,
    /// Only what stands between these two bytes is hashed.
    pub hash_tag: Option<[u8; 2]>,
    /// Hash to server.
    pub distribution: Distribution,
}

/// The hash functions of twemproxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named as in twemproxy's configuration")]
pub enum Hash {
    OneAtATime,
    Md5,
    Crc16,
    Crc32,
    Crc32a,
    Fnv1_64,
    Fnv1a64,
    Fnv1_32,
    Fnv1a32,
    Hsieh,
    Murmur,
    Jenkins,
}

/// Whether bytes from 0x80 on are sign-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashChar {
    /// As C's `char` on x86: the default.
    Signed,
    /// As C's `char` on ARM, and libketama everywhere.
    Unsigned,
}

/// Hash to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// twemproxy's and libmemcached's weighted ketama.
    Ketama,
    /// Hash modulo the total weight.
    Modula,
    /// Any live server.
    Random,
    /// Wayfair's FNV ring.
    KetamaFnv {
        /// How many points a server has.
        points: Points,
        /// Bytes of the node name that count; `None` for all.
        name_cut: Option<usize>,
    },
}

/// How many points a server has on the FNV ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Points {
    /// 160 for each server, weights ignored (Wayfair's twemproxy).
    Fixed,
    /// By weight (Wayfair's libketama); servers sharing a point: the name lower by bytes has it.
    Weighted,
}

impl Routing {
    /// What of it, beside the servers, decides where a key lives.
    pub fn placement(&self) -> Placement {
        let mut hash = crate::config::hash_name(self.hash).to_owned();
        if self.hash_char == HashChar::Unsigned {
            hash.push_str(" unsigned");
        }
        let distribution = match self.distribution {
            Distribution::Ketama => "ketama".to_owned(),
            Distribution::Modula => "modula".to_owned(),
            Distribution::Random => "random".to_owned(),
            Distribution::KetamaFnv { points, name_cut } => {
                let points = if points == Points::Fixed { "fixed" } else { "weighted" };
                let cut = name_cut.map_or_else(|| "none".to_owned(), |cut| cut.to_string());
                format!("ketama_fnv {points} {cut}")
            }
        };
        let tag = self.hash_tag.map(|tag| tag.map(char::from).iter().collect());
        Placement { hash, distribution, hash_tag: tag.unwrap_or_default(), carried: false }
    }
}
