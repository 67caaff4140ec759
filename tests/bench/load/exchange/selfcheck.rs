//! Whether the checker of replies can be trusted: it accepts the right reply and nothing near it.
//!
//! Run by `cargo test --bench proxy`, where there is no time for a load.

use crate::load::Workload;
use crate::load::exchange::check::Reply;
use crate::load::exchange::recipe::{Pending, Recipe};
use crate::wire::{Protocol, digits, filler, put_value};

/// Shows the checker, for each protocol and for one key and several, and for mg: the right reply, the reply of
/// another key, each beginning of the right reply, and it with each byte changed.
///
/// # Errors
/// What it got wrong.
pub(crate) fn selfcheck() -> Result<(), String> {
    for protocol in [Protocol::Memcache, Protocol::Redis] {
        for keys_per_read in [1, 3] {
            let workload = workload(protocol, keys_per_read);
            let name = format!("{} reply to {keys_per_read} keys", protocol.name());
            check_one(&workload).map_err(|what| format!("{name}: {what}"))?;
        }
    }
    let meta = Workload { meta: true, ..workload(Protocol::Memcache, 1) };
    check_one(&meta).map_err(|what| format!("reply to mg: {what}"))
}

fn check_one(workload: &Workload) -> Result<(), String> {
    let mut recipe = Recipe::new(workload, 1);
    let pending = recipe.draw(&mut Vec::new(), 0);
    let right = reply(workload, &pending, 0);
    let accepted = Some(Reply { bytes: right.len(), right: true });
    if recipe.check(&right, &pending) != accepted {
        return Err("refused".to_owned());
    }
    if recipe.check(&[right.as_slice(), b"more"].concat(), &pending) != accepted {
        return Err("refused with another behind it".to_owned());
    }
    let is_right = |input: &[u8]| recipe.check(input, &pending).is_some_and(|reply| reply.right);
    if is_right(&reply(workload, &pending, 1)) {
        return Err("accepted for other keys".to_owned());
    }
    for at in 0..right.len() {
        if recipe.check(&right[..at], &pending).is_some() {
            return Err(format!("taken for whole after {at} bytes"));
        }
        let mut changed = right.clone();
        changed[at] ^= 1;
        if is_right(&changed) {
            return Err(format!("accepted with byte {at} changed"));
        }
    }
    Ok(())
}

/// The reply that a server owes to `pending`, were its keys so many further on.
fn reply(workload: &Workload, pending: &Pending, further: u32) -> Vec<u8> {
    let Workload { protocol, keys_per_read, value_bytes, keys, meta, .. } = *workload;
    let several = protocol == Protocol::Redis && keys_per_read > 1;
    let list = if several { format!("*{keys_per_read}\r\n") } else { String::new() };
    let mut out = list.into_bytes();
    for nth in 0..keys_per_read {
        let name = digits((pending.base + further + nth) % keys);
        let head = match protocol {
            Protocol::Memcache if meta => format!("VA {value_bytes}\r\n"),
            Protocol::Memcache => {
                let key = String::from_utf8_lossy(&name);
                format!("VALUE bench:{value_bytes:09}:{key} 0 {value_bytes}\r\n")
            }
            Protocol::Redis => format!("${value_bytes}\r\n"),
        };
        out.extend_from_slice(head.as_bytes());
        put_value(&mut out, &name, &filler(value_bytes));
        out.extend_from_slice(b"\r\n");
    }
    if protocol == Protocol::Memcache && !meta {
        out.extend_from_slice(b"END\r\n");
    }
    out
}

fn workload(protocol: Protocol, keys_per_read: u32) -> Workload {
    Workload {
        protocol,
        clients: 1,
        depth: 1,
        reads_permille: 1000,
        meta: false,
        keys_per_read,
        value_bytes: 40,
        keys: 1000,
        sizes: 1,
        skew: 0.0,
        rate: None,
    }
}
