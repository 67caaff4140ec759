//! Single operations, step by step.

use crate::protocol::{Parsed, Request, Rules, memcache};
use crate::service::expansion::operation::Operation;

pub(super) const RULES: Rules = Rules {
    compat: false,
    cache: false,
    lenient_lf: true,
    key_bytes: 250,
    value_bytes: 1 << 20,
    keys_per_request: 100,
    args_per_request: 100,
    line_bytes: 8192,
};

/// The operation that a client asks for with these bytes.
pub(super) fn operation(request: &str) -> Operation {
    let mut args = Vec::new();
    let Parsed::Request(head) = memcache::parse(request.as_bytes(), &RULES, &mut args) else {
        panic!("{request:?}");
    };
    Operation::of(&Request { head: &head, bytes: request.as_bytes(), args: &args })
}
