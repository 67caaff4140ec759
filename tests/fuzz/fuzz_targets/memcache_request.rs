//! Any bytes as memcache requests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinring::protocol::memcache;
use twinring_fuzz::protocol::check;

fuzz_target!(|data: &[u8]| check(memcache::parse, data));
