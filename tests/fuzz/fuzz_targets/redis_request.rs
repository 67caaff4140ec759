//! Any bytes as redis requests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinring::protocol::redis;
use twinring_fuzz::protocol::check;

fuzz_target!(|data: &[u8]| check(redis::parse, data));
