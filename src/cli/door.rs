//! Asking a running process through its admin door.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{FAILED, complain, look};

/// Where the admin listener is if nothing else is said.
const ADMIN: &str = "127.0.0.1:9900";
/// The admin thread answers within milliseconds; beyond this it is not there.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Which process is meant.
#[derive(Debug, Args)]
pub(super) struct DoorArgs {
    /// The configuration of the running process: says where its admin listener is.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Its admin listener. [default: that of the configuration, or 127.0.0.1:9900]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

impl DoorArgs {
    /// The configuration, if it was named.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Whether a process is meant, and not what the configuration describes.
    pub(super) fn names_a_process(&self) -> bool {
        self.admin.is_some()
    }

    fn address(&self) -> Result<String, u8> {
        if let Some(address) = &self.admin {
            return Ok(address.clone());
        }
        let Some(file) = &self.config else { return Ok(ADMIN.to_owned()) };
        look::load(file)?.admin.ok_or_else(|| {
            complain(&format!("twinring: {} has no admin listener\n", file.display()));
            FAILED
        })
    }

    /// Whether to ask: an address was named, or a process listens where the configuration says.
    pub(super) fn answers(&self) -> bool {
        if self.admin.is_some() {
            return true;
        }
        let configured = || look::load(self.config.as_deref()?).ok()?.admin;
        configured().is_some_and(|address| TcpStream::connect(address).is_ok())
    }

    /// Asks; the body of the answer, or an exit code after a complaint.
    pub(super) fn ask(&self, method: &str, path: &str) -> Result<String, u8> {
        let address = self.address()?;
        let (status, body) = exchange(&address, method, path).map_err(|error| {
            complain(&format!("twinring: no answer from the admin listener {address}: {error}\n"));
            FAILED
        })?;
        if status != 200 {
            complain(&format!("twinring: {}\n", body.trim_end()));
            return Err(FAILED);
        }
        Ok(body)
    }
}

fn exchange(address: &str, method: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let broken = || std::io::Error::new(std::io::ErrorKind::InvalidData, "it speaks no HTTP");
    let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok());
    let (_, body) = reply.split_once("\r\n\r\n").ok_or_else(broken)?;
    Ok((status.ok_or_else(broken)?, body.to_owned()))
}

/// Text as a part of a query.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            quoted.push_str(&format!("%{byte:02X}"));
        }
    }
    quoted
}
