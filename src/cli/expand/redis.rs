//! A Redis server as the operator's commands ask it: one question, or several at once, at a time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::config::{Address, Node, Pool};
use crate::net::{Blocking, TlsConnector};
use crate::protocol::redis::{Scanner, bulk_text, elements, integer, write_command};

/// How long a server may take to accept a connection or to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of one value of a reply: keys, not what they hold.
const VALUE_BYTES_MAX: u64 = 512 << 20;

/// A connection.
#[derive(Debug)]
pub(super) struct Redis {
    stream: Blocking,
    buffer: Vec<u8>,
}

impl Redis {
    /// Connects to a server of a pool, with the pool's TLS, password and database.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn connect(pool: &Pool, node: &Node) -> Result<Self, String> {
        let tls = pool.server_tls.as_ref().map(TlsConnector::new).transpose();
        let tls = tls.map_err(|error| error.to_string())?;
        let stream = Blocking::open(&node.address, tls.as_ref(), TIMEOUT);
        let stream = stream.map_err(|error| error.to_string())?;
        let mut server = Self { stream, buffer: Vec::new() };
        if let Some(secret) = &pool.redis_auth {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(pool.redis_user.as_ref().map(|user| user.as_bytes()));
            words.push(secret.reveal().as_bytes());
            server.done(&words)?;
        }
        server.done(&[b"SELECT", pool.redis_db.to_string().as_bytes()])?;
        Ok(server)
    }

    /// Asks; an error of the server's is one of ours.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn done(&mut self, words: &[&[u8]]) -> Result<Vec<u8>, String> {
        let reply = self.all(&[words.to_vec()])?.pop().unwrap_or_default();
        match reply.strip_prefix(b"-") {
            Some(why) => Err(String::from_utf8_lossy(why).trim_end().to_owned()),
            None => Ok(reply),
        }
    }

    /// Asks several questions at once; their replies, errors of the server's among them.
    ///
    /// # Errors
    /// The connection failed, in words.
    pub(super) fn all(&mut self, questions: &[Vec<&[u8]>]) -> Result<Vec<Vec<u8>>, String> {
        let mut wire = Vec::new();
        questions.iter().for_each(|words| write_command(words.iter().copied(), &mut wire));
        self.stream.write_all(&wire).map_err(|error| error.to_string())?;
        questions.iter().map(|_| self.reply()).collect()
    }

    fn reply(&mut self) -> Result<Vec<u8>, String> {
        let (mut scanner, mut seen) = (Scanner::default(), 0);
        loop {
            let scan = scanner.scan(&self.buffer[seen..], VALUE_BYTES_MAX);
            let scan = scan.map_err(|_| "it does not answer as a Redis server does".to_owned())?;
            seen += scan.used;
            if scan.end.is_some() {
                let rest = self.buffer.split_off(seen);
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk).map_err(|error| error.to_string())? {
                0 => return Err("it has closed the connection".to_owned()),
                n => self.buffer.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// Looks at all keys, a page at a time.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn each_page(
        &mut self,
        mut look: impl FnMut(&mut Self, Vec<Vec<u8>>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut cursor = b"0".to_vec();
        loop {
            let reply = self.done(&[b"SCAN", &cursor, b"COUNT", b"200"])?;
            let mut parts = elements(&reply).into_iter().flatten().map(|part| part.of(&reply));
            let next = parts.next().and_then(bulk_text).map(<[u8]>::to_vec);
            let (Some(next), Some(list)) = (next, parts.next()) else {
                return Err("SCAN is not answered as it should be".to_owned());
            };
            let keys = elements(list).into_iter().flatten();
            let keys = keys.filter_map(|key| bulk_text(key.of(list)).map(<[u8]>::to_vec));
            look(self, keys.collect())?;
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// A figure or word of INFO.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn info(&mut self, section: &str, name: &str) -> Result<String, String> {
        let reply = self.done(&[b"INFO", section.as_bytes()])?;
        let text = String::from_utf8_lossy(bulk_text(&reply).unwrap_or_default()).into_owned();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::to_owned).ok_or_else(|| format!("INFO does not tell its {name}"))
    }
}

/// Connects to where a server listens.
///
/// # Errors
/// It cannot be reached within some seconds.
pub(super) fn dial(address: &Address) -> io::Result<TcpStream> {
    let Address::Tcp { host, port } = address else {
        return Err(io::Error::other("it listens on a unix socket"));
    };
    let mut last = io::Error::other("its name has no address");
    for address in (host.as_str(), *port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The number of a reply, 0 for anything else.
pub(super) fn figure(reply: &[u8]) -> u64 {
    integer(reply).and_then(|figure| u64::try_from(figure).ok()).unwrap_or(0)
}
