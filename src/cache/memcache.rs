//! stub
use super::{After, Context};
use crate::protocol::Request;
/// x
pub fn execute(_c: &Context<'_>, _r: Request<'_>, out: &mut Vec<u8>) -> After {
    out.extend_from_slice(b"STUB\r\n");
    After::Stay
}
