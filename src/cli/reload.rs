//! `twinring reload`: asks a running process, through its admin listener, to read its
//! configuration again, and says how that went.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use super::{BAD_CONFIG, FAILED, complain, look, print};

/// Far more than a reload takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the process whose admin listener is at `admin`, or where `file` says; the exit code: 0 if
/// the configuration is in force, 78 if it is not valid, 1 if it could not be taken over.
pub(super) fn reload(file: Option<&Path>, admin: Option<&str>) -> u8 {
    let failed = |why: &dyn Display| {
        complain(&format!("twinring: {why}\n"));
        FAILED
    };
    let address = match (admin, file) {
        (Some(admin), _) => admin.to_owned(),
        (None, Some(file)) => match look::load(file).map(|config| config.admin) {
            Ok(Some(admin)) => admin,
            Ok(None) => return failed(&"the process has no admin listener; send it SIGHUP"),
            Err(code) => return code,
        },
        (None, None) => return failed(&"give the configuration (-c) or the address (--admin)"),
    };
    match ask(&address) {
        Ok((200, text)) => {
            print(&text);
            0
        }
        Ok((status, text)) => {
            complain(&text);
            if status == 422 { BAD_CONFIG } else { FAILED }
        }
        Err(error) => failed(&format!("{address}: {error}")),
    }
}

/// The status and text of the answer.
fn ask(address: &str) -> io::Result<(u16, String)> {
    let unfit = || io::Error::new(io::ErrorKind::InvalidData, "that is no twinring");
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"POST /reload HTTP/1.1\r\nHost: twinring\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").ok_or_else(unfit)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(unfit)?, text.to_owned()))
}
