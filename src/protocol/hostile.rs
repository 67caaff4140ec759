//! Bytes that no client of a cache sends: HTTP from a browser, TLS on a plain port.

/// True if no text command begins so: control bytes and bytes beyond ASCII, among them the first
/// byte of a TLS hello and of memcached's binary protocol. White space and line ends pass.
pub(super) const fn not_text(first: u8) -> bool {
    (first < 0x20 && !first.is_ascii_whitespace()) || first >= 0x7f
}

/// True for a line of HTTP: a request line (its last word is the version, as memcached looks at
/// it) or a `Host` header. What follows would be run as commands written by a web page.
pub(super) fn is_http(first: &[u8], last: &[u8]) -> bool {
    last.starts_with(b"HTTP/") || first.eq_ignore_ascii_case(b"host:")
}

#[cfg(test)]
mod tests {
    use super::{is_http, not_text};

    #[test]
    fn http_is_told_from_commands() {
        assert!(is_http(b"GET", b"HTTP/1.1"));
        assert!(is_http(b"Host:", b"localhost"));
        assert!(!is_http(b"GET", b"/"));
    }

    #[test]
    fn binary_starts_are_told_from_text() {
        assert!(not_text(0x16) && not_text(0x80) && not_text(0));
        assert!(!not_text(b'g') && !not_text(b'\r') && !not_text(b' '));
    }
}
