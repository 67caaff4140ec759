//! Addresses as operators write them: `host:port`, `/path/to.sock` and permission bits, `stdio`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::settings::Listen;
use crate::config::source::Reason;

/// What fits `sun_path` of Linux's `sockaddr_un` with its closing zero.
const UNIX_PATH_BYTES_MAX: usize = 107;
const MODE_MAX: u32 = 0o777;

/// Reads a pool's listen address. twemproxy splits at the last colon and the first space
/// (nc_conf.c:1456-1542), so `::1:22121` is port 22121 of `::1`; `[::1]:22121` is read as well.
pub(super) fn listen(text: &str) -> Result<Listen, Reason> {
    match text {
        "stdio" => Ok(Listen::Stdio),
        path if path.starts_with('/') => unix(path),
        _ => tcp(text),
    }
}

/// Stands for an address that was refused, so that the rest of its pool can be read.
pub(super) fn nowhere() -> Listen {
    Listen::Tcp { host: String::new(), port: 0 }
}

/// Reads `host:port`, or `off` as no address at all.
pub(super) fn optional(text: &str) -> Result<Option<String>, Reason> {
    if text == "off" {
        return Ok(None);
    }
    tcp(text).map(|listen| Some(listen.to_string())).map_err(|reason| match reason.fix {
        Some(_) => reason,
        None => reason.or("write host:port, or off"),
    })
}

fn tcp(text: &str) -> Result<Listen, Reason> {
    let format = "has an invalid \"hostname:port\" format string";
    let (host, port) = text.rsplit_once(':').ok_or(format)?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(format.into());
    }
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err("has an invalid port in \"hostname:port\" format string".into());
    }
    let port = port.parse().map_err(|_| {
        Reason::from("has an invalid port in \"hostname:port\" format string").or("1 to 65535")
    })?;
    Ok(Listen::Tcp { host: host.to_owned(), port })
}

fn unix(text: &str) -> Result<Listen, Reason> {
    let (path, mode) = match text.split_once(' ') {
        None => (text, None),
        Some((path, mode)) => (path, Some(permission(mode.trim())?)),
    };
    if path.len() > UNIX_PATH_BYTES_MAX {
        let why = format!("has a path of {} bytes", path.len());
        return Err(Reason::from(why).or(format!("at most {UNIX_PATH_BYTES_MAX}")));
    }
    Ok(Listen::Unix { path: PathBuf::from(path), mode })
}

fn permission(text: &str) -> Result<u32, Reason> {
    let why = "has an invalid file permission in \"socket_path permission\" format string";
    let octal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| octal && *mode <= MODE_MAX)
        .ok_or_else(|| Reason::from(why).or("octal digits up to 0777"))
}

impl Listen {
    /// True if not both can be listened on. Port 0 is another port each time; `0.0.0.0` holds all
    /// addresses of IPv4, `::` those of IPv6.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp { port: 0, .. }, _) => false,
            (Self::Tcp { host, port }, Self::Tcp { host: other, port: theirs }) => {
                port == theirs && (host == other || covers(host, other) || covers(other, host))
            }
            (Self::Unix { path: a, .. }, Self::Unix { path: b, .. }) => a == b,
            _ => self == other,
        }
    }
}

fn covers(any: &str, host: &str) -> bool {
    let (Ok(any), Ok(host)) = (any.parse::<IpAddr>(), host.parse::<IpAddr>()) else { return false };
    any.is_unspecified() && any.is_ipv4() == host.is_ipv4()
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path, .. } => write!(f, "{}", path.display()),
            Self::Stdio => f.write_str("stdio"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_of(host: &str, port: u16) -> Result<Listen, Reason> {
        Ok(Listen::Tcp { host: host.to_owned(), port })
    }

    #[test]
    fn host_and_port_part_at_the_last_colon() {
        assert_eq!(listen("127.0.0.1:22121"), tcp_of("127.0.0.1", 22121));
        assert_eq!(listen("::1:22121"), tcp_of("::1", 22121));
        assert_eq!(listen("[::1]:22121"), tcp_of("::1", 22121));
        assert_eq!(listen("[::1]:22121").unwrap().to_string(), "[::1]:22121");
    }

    #[test]
    fn a_path_may_carry_permission_bits() {
        let unix = |path: &str, mode| Ok(Listen::Unix { path: path.into(), mode });
        assert_eq!(listen("/tmp/a.sock"), unix("/tmp/a.sock", None));
        assert_eq!(listen("/tmp/a.sock 0600"), unix("/tmp/a.sock", Some(0o600)));
        assert_eq!(listen("/tmp/a.sock 777"), unix("/tmp/a.sock", Some(0o777)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["22121", ":22121", "h:", "h:x", "h:65536", "h:+1", "a b:1", "", "stdin"] {
            listen(text).unwrap_err();
        }
        for text in ["/tmp/a 0999", "/tmp/a 1000", "/tmp/a x", "/tmp/a +7", "/tmp/a 6 6"] {
            listen(text).unwrap_err();
        }
        listen(&format!("/{}", "x".repeat(107))).unwrap_err();
    }
}
