//! What servers are told where the proxy carries values from the one to the other: see
//! [`carry`](super::carry).
//!
//! The token of a key is a key beside it at the server that it goes to. Both scripts name it, so that
//! a server of either side forgets the tokens of the other direction when a key leaves it again.

use super::carry::Load;

/// Names of tokens begin with this, and nothing else may.
const TOKENS: &[u8] = b"twinring:token:";

/// At the server that may have KEYS[1]: gives it away if it is a string of at most ARGV[1] bytes;
/// whatever it was, it is gone then. Nobody puts anything down for KEYS[2] here any more.
///
/// Answers 0 if there is nothing, 1 if something else was there, otherwise the value and what is left
/// of its time in ms (-1: it has no end).
const TAKE: &[u8] = b"redis.call('DEL',KEYS[2])
local kind=redis.call('TYPE',KEYS[1]).ok
if kind=='none' then return 0 end
local reply=1
if kind=='string' and redis.call('STRLEN',KEYS[1])<=tonumber(ARGV[1]) then
reply={redis.call('GET',KEYS[1]),redis.call('PTTL',KEYS[1])} end
redis.call('UNLINK',KEYS[1])
return reply";

/// At the server that KEYS[1] goes to, whose token KEYS[2] is ARGV[1] and was given for ARGV[2] ms:
/// puts ARGV[3] down with ARGV[4] ms (-1: no end), less what the token has been held for, by then
/// longer than the value was on its way. Without a value it ends the token alone.
///
/// Answers 1 if that is done, 2 if there is a key already, 0 if the token is not ours any more.
const PUT: &[u8] = b"if redis.call('GET',KEYS[2])~=ARGV[1] then return 0 end
local spent=ARGV[2]-redis.call('PTTL',KEYS[2])
redis.call('DEL',KEYS[2])
if not ARGV[3] then return 1 end
if redis.call('EXISTS',KEYS[1])==1 then return 2 end
local left=ARGV[4]-spent
if ARGV[4]=='-1' then redis.call('SET',KEYS[1],ARGV[3])
elseif left>0 then redis.call('SET',KEYS[1],ARGV[3],'PX',string.format('%.0f',left)) end
return 1";

/// Whether a key is a token: it ends by itself, and does not move.
pub fn is_token(key: &[u8]) -> bool {
    key.starts_with(TOKENS)
}

/// The name of a key's token.
pub fn token_key(key: &[u8]) -> Vec<u8> {
    [TOKENS, key].concat()
}

/// Asks for a key's token, for so many ms; word by word.
pub fn token_command(key: &[u8], token: &[u8], life_ms: u128) -> Vec<Vec<u8>> {
    let life = life_ms.to_string();
    let words: [&[u8]; 6] = [b"SET", &token_key(key), token, b"NX", b"PX", life.as_bytes()];
    words.map(<[u8]>::to_vec).to_vec()
}

/// Takes a key away, its value with it if that has no more than so many bytes.
pub fn take_command(key: &[u8], bytes_max: u64) -> Vec<Vec<u8>> {
    let most = bytes_max.to_string();
    let words: [&[u8]; 6] = [b"EVAL", TAKE, b"2", key, &token_key(key), most.as_bytes()];
    words.map(<[u8]>::to_vec).to_vec()
}

/// Ends what was begun with a token of so many ms: with a value, if there is one.
pub(super) fn put_command(
    key: &[u8],
    (token, life_ms): (&[u8], u128),
    load: Option<&Load>,
) -> Vec<Vec<u8>> {
    let life = life_ms.to_string();
    let words: [&[u8]; 7] = [b"EVAL", PUT, b"2", key, &token_key(key), token, life.as_bytes()];
    let mut words = words.map(<[u8]>::to_vec).to_vec();
    if let Some(Load { value, ttl_ms }) = load {
        let ttl = ttl_ms.map_or_else(|| "-1".to_owned(), |ttl| ttl.to_string());
        words.extend([value.clone(), ttl.into_bytes()]);
    }
    words
}

/// The same with a value that has no end.
pub fn put_value_command(
    key: &[u8],
    (token, life_ms): (&[u8], u128),
    value: &[u8],
) -> Vec<Vec<u8>> {
    put_command(key, (token, life_ms), Some(&Load { value: value.to_vec(), ttl_ms: None }))
}
