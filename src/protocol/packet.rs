//! Replies of memcached's binary protocol: a header that repeats part of the request's, then what
//! there is to say (memcached's doc/protocol-binary.txt).

/// Bytes of a header, of requests and of replies.
pub(super) const HEADER: usize = 24;

/// What every reply begins with.
const REPLY: u8 = 0x81;

/// What a reply repeats of its request, so that the client knows which it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Which command it was.
    pub opcode: u8,
    /// Whatever the client has put there.
    pub opaque: [u8; 4],
}

/// How a request went. The numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// As asked.
    Done = 0x00,
    /// There is no such item.
    NotFound = 0x01,
    /// There is one already, or one of another version.
    Exists = 0x02,
    /// The value is larger than any may be.
    TooLarge = 0x03,
    /// The packet does not consist of what its opcode asks for.
    Invalid = 0x04,
    /// The item is not in the state that was asked for.
    NotStored = 0x05,
    /// Not a number, so it cannot be added to.
    NotNumeric = 0x06,
    /// The client has not given its password, or a wrong one.
    Stranger = 0x20,
    /// No such command.
    Unknown = 0x81,
    /// No memory for it.
    NoMemory = 0x82,
}

impl Status {
    /// memcached's words for it.
    const fn text(self) -> &'static str {
        match self {
            Self::Done => "",
            Self::NotFound => "Not found",
            Self::Exists => "Data exists for key.",
            Self::TooLarge => "Too large.",
            Self::Invalid => "Invalid arguments",
            Self::NotStored => "Not stored.",
            Self::NotNumeric => "Non-numeric server-side value for incr or decr",
            Self::Stranger => "Auth failure.",
            Self::Unknown => "Unknown command",
            Self::NoMemory => "Out of memory",
        }
    }
}

/// A request that was not done, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub echo: Echo,
    /// Why.
    pub status: Status,
}

impl Failure {
    /// Appends the reply that says so.
    pub fn write(&self, out: &mut Vec<u8>) {
        let text = self.status.text();
        self.echo.begin(self.status, 0, (0, 0, text.len()), out);
        out.extend_from_slice(text.as_bytes());
    }
}

impl Echo {
    /// Appends a reply to a request that went well: extras, key and value as they are given.
    pub fn reply(&self, cas: u64, (extras, key, value): (&[u8], &[u8], &[u8]), out: &mut Vec<u8>) {
        self.begin(Status::Done, cas, (extras.len(), key.len(), value.len()), out);
        for part in [extras, key, value] {
            out.extend_from_slice(part);
        }
    }

    /// Appends the header of a reply; extras, key and value of these lengths are to follow it.
    pub fn begin(
        &self,
        status: Status,
        cas: u64,
        (extras, key, value): (usize, usize, usize),
        out: &mut Vec<u8>,
    ) {
        let mut header = [0; HEADER];
        header[0] = REPLY;
        header[1] = self.opcode;
        header[2..4].copy_from_slice(&(key as u16).to_be_bytes());
        header[4] = extras as u8;
        header[6..8].copy_from_slice(&(status as u16).to_be_bytes());
        header[8..12].copy_from_slice(&((extras + key + value) as u32).to_be_bytes());
        header[12..16].copy_from_slice(&self.opaque);
        header[16..].copy_from_slice(&cas.to_be_bytes());
        out.extend_from_slice(&header);
    }
}
