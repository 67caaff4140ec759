//! Blocking work around a measurement: storing the values, and clients that stay silent.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use tokio_rustls::rustls::Stream;

use crate::load::Workload;
use crate::load::exchange::{Pending, Recipe};
use crate::wire::Target;

/// A proxy that does not answer for so long is broken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of writes that are sent before their replies are read.
const BATCH_BYTES: usize = 256 << 10;

/// Stores a value under each key of the workload, at a server or through a proxy.
///
/// # Errors
/// The socket's, or `InvalidData` for a reply that is not "stored".
pub(crate) fn fill(target: impl Into<Target>, workload: &Workload) -> io::Result<()> {
    let recipe = Recipe::new(workload, 1);
    let target = target.into();
    let mut socket = open(target.port)?;
    match target.secure()? {
        Some(mut secure) => {
            fill_over(&mut Stream::new(&mut secure, &mut socket), &recipe, workload)
        }
        None => fill_over(&mut socket, &recipe, workload),
    }
}

fn fill_over(
    stream: &mut (impl Read + Write),
    recipe: &Recipe,
    workload: &Workload,
) -> io::Result<()> {
    let batch = (BATCH_BYTES / workload.value_bytes).clamp(1, 256) as u32;
    let mut out = Vec::new();
    let mut input = Vec::new();
    for first in (0..workload.keys).step_by(batch as usize) {
        out.clear();
        let last = (first + batch).min(workload.keys);
        let waiting: Vec<_> = (first..last).map(|key| recipe.write(&mut out, key)).collect();
        stream.write_all(&out)?;
        input.clear();
        for pending in waiting {
            let bytes = read_reply(stream, &mut input, recipe, &pending)?;
            input.drain(..bytes);
        }
    }
    Ok(())
}

/// Opens `count` connections to `port`, each of which does one read and is then silent. One after
/// the other, so that the buffers of many requests under way are not taken for those of idlers.
///
/// # Errors
/// As [`fill`].
pub(crate) fn idle_clients(
    port: u16,
    workload: &Workload,
    count: usize,
) -> io::Result<Vec<TcpStream>> {
    let mut recipe = Recipe::new(&Workload { reads_permille: 1000, ..*workload }, 2);
    let mut clients = Vec::with_capacity(count);
    let (mut out, mut input) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut stream = open(port)?;
        out.clear();
        let pending = recipe.draw(&mut out, 0);
        stream.write_all(&out)?;
        input.clear();
        read_reply(&mut stream, &mut input, &recipe, &pending)?;
        clients.push(stream);
    }
    Ok(clients)
}

fn open(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads until the reply is whole; its length.
fn read_reply(
    stream: &mut impl Read,
    input: &mut Vec<u8>,
    recipe: &Recipe,
    pending: &Pending,
) -> io::Result<usize> {
    loop {
        match recipe.check(input, pending) {
            Some(reply) if reply.right => return Ok(reply.bytes),
            Some(_) => return Err(wrong(input)),
            None => read_some(stream, input)?,
        }
    }
}

fn read_some(stream: &mut impl Read, input: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            input.extend_from_slice(&chunk[..count]);
            Ok(())
        }
    }
}

fn wrong(input: &[u8]) -> io::Error {
    let line = String::from_utf8_lossy(&input[..input.len().min(80)]).escape_debug().to_string();
    io::Error::new(io::ErrorKind::InvalidData, format!("wrong reply: {line}"))
}
