//! What one client has stored under its keys: what a read may give.

use std::time::{Duration, Instant};

/// Times to live are told in whole seconds, and a clock of seconds may be one behind.
const GRACE: Duration = Duration::from_millis(1500);

/// The last thing that was stored under a key.
#[derive(Clone, Copy, Debug)]
struct Stored {
    version: u64,
    bytes: usize,
    dead_at: Option<Instant>,
}

/// The keys of one client.
#[derive(Debug)]
pub(super) struct Ledger {
    client: u32,
    versions: u64,
    /// By the key's number; none when nothing may be there.
    stored: Vec<Option<Stored>>,
}

impl Ledger {
    pub(super) fn new(client: u32) -> Self {
        Self { client, versions: 0, stored: Vec::new() }
    }

    pub(super) fn key(&self, number: u64) -> String {
        format!("soak:{}:{number}", self.client)
    }

    /// A value of this length that was never stored before.
    pub(super) fn next_value(&mut self, number: u64, bytes: usize) -> Vec<u8> {
        self.versions += 1;
        self.value(number, self.versions, bytes)
    }

    /// The version of the value that was made last.
    pub(super) fn version(&self) -> u64 {
        self.versions
    }

    /// Notes that a value has been stored.
    pub(super) fn stored(&mut self, number: u64, version: u64, bytes: usize, ttl: Option<u64>) {
        *self.slot(number) = Some(Stored { version, bytes, dead_at: ttl.map(dead_at) });
    }

    /// Notes that nothing is there, so that nothing may be there until it is stored again.
    pub(super) fn gone(&mut self, number: u64) {
        *self.slot(number) = None;
    }

    /// Notes that what is there has been given a new time to live.
    pub(super) fn touched(&mut self, number: u64, ttl_seconds: u64) -> Result<(), String> {
        let key = self.key(number);
        let stored = self.slot(number).as_mut();
        let stored = stored.ok_or_else(|| format!("{key} is not there and was touched"))?;
        stored.dead_at = Some(dead_at(ttl_seconds));
        Ok(())
    }

    /// Whether a read may give this; the reason why not.
    pub(super) fn check(&self, number: u64, found: &[u8], asked_at: Instant) -> Result<(), String> {
        let key = self.key(number);
        let stored = usize::try_from(number).ok().and_then(|at| self.stored.get(at));
        let Some(stored) = stored.copied().flatten() else {
            return Err(format!("{key} was deleted or never stored and is {}", begin(found)));
        };
        if stored.dead_at.is_some_and(|dead_at| asked_at > dead_at) {
            return Err(format!("{key} has expired and is {}", begin(found)));
        }
        if found != self.value(number, stored.version, stored.bytes) {
            let bytes = found.len();
            return Err(format!("{key} is {} ({bytes} bytes), not {stored:?}", begin(found)));
        }
        Ok(())
    }

    fn slot(&mut self, number: u64) -> &mut Option<Stored> {
        let at = usize::try_from(number).unwrap_or_default();
        if at >= self.stored.len() {
            self.stored.resize(at + 1, None);
        }
        &mut self.stored[at]
    }

    /// The version, then key and version again and again.
    fn value(&self, number: u64, version: u64, bytes: usize) -> Vec<u8> {
        let text = format!("{} v{version} ", self.key(number)).into_bytes();
        let mut value = format!("v{version} ").into_bytes();
        value.extend(text.iter().cycle().take(bytes));
        value.truncate(bytes);
        value
    }
}

/// When what is stored by now is dead for certain.
fn dead_at(ttl_seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(ttl_seconds) + GRACE
}

fn begin(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned()
}
