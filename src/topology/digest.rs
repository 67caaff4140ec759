//! A short name for what places keys: two proxies with the same digest send each key to the same
//! server.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::topology::server::{Server, ring_order};

/// What beside the servers decides where a key lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The hash, in the configuration's words.
    pub hash: String,
    /// The distribution, likewise, with what it is further told.
    pub distribution: String,
    /// The hash tag; empty if there is none.
    pub hash_tag: String,
    /// Whether proxies carry values between two rings, which all of them must then do.
    pub carried: bool,
}

/// `sha256:` and 64 hexadecimal digits over placement, names and weights, whatever order the
/// servers are given in. Addresses and states are not part of it: they move no key.
pub fn digest(placement: &Placement, servers: &[Server]) -> String {
    let mut servers = servers.to_vec();
    ring_order(&mut servers);
    // Each text is preceded by its length, so that no two lists have one image.
    let mut image = String::from("twinring-ring-1\n");
    let Placement { hash, distribution, hash_tag, .. } = placement;
    for text in [hash, distribution, hash_tag] {
        let _ = writeln!(image, "{}:{text}", text.len());
    }
    for Server { name, weight, .. } in &servers {
        let _ = writeln!(image, "{}:{name} {weight}", name.len());
    }
    sha256(image.as_bytes())
}

/// `sha256:` and 64 hexadecimal digits over these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(7 + 64);
    text.push_str("sha256:");
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Placement, digest, sha256};
    use crate::topology::{Server, State};

    fn servers(entries: &[&str]) -> Vec<Server> {
        entries.iter().map(|entry| entry.parse().unwrap()).collect()
    }

    fn placement(hash: &str, hash_tag: &str) -> Placement {
        let distribution = "ketama".to_owned();
        let (hash, hash_tag) = (hash.to_owned(), hash_tag.to_owned());
        Placement { hash, distribution, hash_tag, carried: false }
    }

    #[test]
    fn it_is_sha_256() {
        let of_abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), of_abc, "FIPS 180-2, B.1");
    }

    #[test]
    fn what_places_keys_changes_it_and_nothing_else_does() {
        let fnv = placement("fnv1a_64", "");
        let one = digest(&fnv, &servers(&["h:1:1 a", "h:2:2 bb"]));
        assert_eq!(one, digest(&fnv, &servers(&["h:2:2 bb", "h:1:1 a"])), "the order");
        assert_eq!(one, digest(&fnv, &servers(&["i:7:1 a", "h:2:2 bb"])), "an address");
        let mut down = servers(&["h:1:1 a", "h:2:2 bb"]);
        down[0].state = State::Down;
        assert_eq!(one, digest(&fnv, &down), "a state");
        let others = [
            digest(&fnv, &servers(&["h:1:1 a", "h:2:2 bc"])),
            digest(&fnv, &servers(&["h:1:2 a", "h:2:2 bb"])),
            digest(&fnv, &servers(&["h:1:1 a"])),
            digest(&placement("md5", ""), &servers(&["h:1:1 a", "h:2:2 bb"])),
            digest(&placement("fnv1a_64", "{}"), &servers(&["h:1:1 a", "h:2:2 bb"])),
        ];
        for other in others {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn it_is_the_same_for_ever() {
        let known = digest(&placement("fnv1a_64", ""), &servers(&["h:1:1 a", "h:2:2 bb"]));
        let image = "twinring-ring-1\n8:fnv1a_64\n6:ketama\n0:\n1:a 1\n2:bb 2\n";
        assert_eq!(known, sha256(image.as_bytes()));
    }
}
