//! stub
use super::{After, Context};
use crate::protocol::Request;
/// x
#[derive(Debug, Default)]
pub struct Session;
/// x
pub fn execute(_c: &Context<'_>, _s: &mut Session, _r: Request<'_>, out: &mut Vec<u8>) -> After {
    out.extend_from_slice(b"+STUB\r\n");
    After::Stay
}
