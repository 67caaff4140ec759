//! Keys that stay at their old servers, as text: in files, and in versions.
//!
//! ```text
//!  feed:everybody     the key itself
//!  base64:AP+A        any bytes, base64 (RFC 4648, padded): these three, which are no text
//!  base64:YmFzZTY0Ong=  so, too, a key that begins with base64: itself (base64:x)
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// Of text that stands for no key so much is told, in characters.
const TOLD: usize = 80;
/// Before the base64 of a key.
const PREFIX: &str = "base64:";

/// Text that stands for no key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PinError {
    /// There is none.
    #[error("a key is not empty")]
    Empty,
    /// What stands behind the prefix.
    #[error("{0:?} is not base64; a key that begins with base64: itself is written in base64, too")]
    Base64(String),
}

/// The bytes of the key that an entry stands for.
///
/// # Errors
/// It stands for none.
pub fn key_of_text(text: &str) -> Result<Vec<u8>, PinError> {
    let Some(encoded) = text.strip_prefix(PREFIX) else {
        return if text.is_empty() { Err(PinError::Empty) } else { Ok(text.as_bytes().to_vec()) };
    };
    let key = STANDARD
        .decode(encoded)
        .map_err(|_| PinError::Base64(text.chars().take(TOLD).collect()))?;
    if key.is_empty() { Err(PinError::Empty) } else { Ok(key) }
}

/// The entry for a key: the key itself where that can be read and written in one line.
pub fn text_of_key(key: &[u8]) -> String {
    let plain = std::str::from_utf8(key).ok();
    let plain = plain.filter(|it| !it.starts_with(PREFIX) && !it.contains(char::is_control));
    plain.map_or_else(|| format!("{PREFIX}{}", STANDARD.encode(key)), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_comes_back() {
        let keys: [(&[u8], &str); 6] = [
            (b"feed:everybody", "feed:everybody"),
            (b" a b ", " a b "),
            ("schl\u{fc}ssel".as_bytes(), "schl\u{fc}ssel"),
            (b"\0\xff\x80", "base64:AP+A"),
            (b"two\nlines", "base64:dHdvCmxpbmVz"),
            (b"base64:x", "base64:YmFzZTY0Ong="),
        ];
        for (key, text) in keys {
            assert_eq!(text_of_key(key), text);
            assert_eq!(key_of_text(text).unwrap(), key);
        }
        for byte in 0..=u8::MAX {
            assert_eq!(key_of_text(&text_of_key(&[byte])).unwrap(), [byte]);
        }
        // A key that need not be written so may be.
        assert_eq!(key_of_text("base64:Zm9v").unwrap(), b"foo");
    }

    #[test]
    fn what_stands_for_no_key_is_refused() {
        assert_eq!(key_of_text(""), Err(PinError::Empty));
        assert_eq!(key_of_text("base64:"), Err(PinError::Empty));
        for text in ["base64:x", "base64:Zm9", "base64:Zm9v\n", "base64:AP-A", "base64: Zm9v"] {
            assert_eq!(key_of_text(text), Err(PinError::Base64(text.to_owned())));
        }
        let long = format!("base64:{}", "?".repeat(1 << 20));
        assert_eq!(key_of_text(&long), Err(PinError::Base64(long[..TOLD].to_owned())));
    }
}
