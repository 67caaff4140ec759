//! The last good topology on disk, from which a start without its source serves.
//!
//! Two lines: what the second is and its checksum, then the document as the native format has it.
//! Written to a file beside, brought to the disk, and renamed: the file is whole or the old one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::control::topology::admission::Admitted;
use crate::control::topology::decode::native;
use crate::topology::sha256;

/// The one form there is.
const FORMAT: u32 = 1;

#[derive(Deserialize, Serialize)]
struct Header {
    format: u32,
    /// The source that it came from: another one's servers are none of ours.
    source: String,
    stamp: u64,
    /// Seconds since 1970.
    time: u64,
    checksum: String,
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What was followed.
    pub admitted: Admitted,
    /// How long ago it was written, as far as the clock is right.
    pub age: Duration,
}

/// Why there is none.
#[derive(Debug, Error)]
pub enum Fault {
    /// None has been written yet.
    #[error("there is none")]
    Missing,
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("it is corrupt: {0}")]
    Corrupt(String),
    /// It is of another source.
    #[error("it is of {0}")]
    Foreign(String),
}

/// Reads the snapshot of `source`.
///
/// # Errors
/// See [`Fault`]; the file is left as it is.
pub fn read(file: &Path, source: &str) -> Result<Snapshot, Fault> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Fault::Missing),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(Fault::Corrupt(error.to_string()));
        }
        read => read?,
    };
    let corrupt = |why: &str| Fault::Corrupt(why.to_owned());
    let (header, document) = text.split_once('\n').ok_or_else(|| corrupt("it is cut"))?;
    let document = document.strip_suffix('\n').ok_or_else(|| corrupt("it is cut"))?;
    let header: Header =
        serde_json::from_str(header).map_err(|error| corrupt(&error.to_string()))?;
    if header.format != FORMAT {
        return Err(corrupt("it has another format"));
    }
    if header.checksum != checksum(&header, document) {
        return Err(corrupt("its checksum is wrong"));
    }
    if header.source != source {
        return Err(Fault::Foreign(header.source));
    }
    let document = native::read(document).map_err(|refusal| corrupt(&refusal.text))?;
    document.check().map_err(|error| corrupt(&error.to_string()))?;
    let age = Duration::from_secs(unix_time().saturating_sub(header.time));
    Ok(Snapshot { admitted: Admitted { stamp: header.stamp, document }, age })
}

/// Writes the snapshot of `source`; makes its folder if there is none.
///
/// # Errors
/// It cannot be written; the old one is there still.
pub fn write(file: &Path, source: &str, admitted: &Admitted) -> io::Result<()> {
    let document = native::write(&admitted.document);
    let mut header = Header {
        format: FORMAT,
        source: source.to_owned(),
        stamp: admitted.stamp,
        time: unix_time(),
        checksum: String::new(),
    };
    header.checksum = checksum(&header, &document);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder)?;
    }
    let fresh = beside(file);
    let mut out = File::create(&fresh)?;
    out.write_all(serde_json::to_string(&header)?.as_bytes())?;
    out.write_all(b"\n")?;
    out.write_all(document.as_bytes())?;
    out.write_all(b"\n")?;
    out.sync_all()?;
    fs::rename(&fresh, file)?;
    // The rename itself is safe once the folder is.
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Two processes with one snapshot must not write into one file.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    PathBuf::from(name)
}

fn checksum(header: &Header, document: &str) -> String {
    let Header { format, source, stamp, time, checksum: _ } = header;
    sha256(format!("{format}\n{source}\n{stamp}\n{time}\n{document}").as_bytes())
}

/// Seconds since 1970.
pub fn unix_time() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::{Fault, read, write};
    use crate::control::topology::admission::Admitted;
    use crate::topology::{Document, Node};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("twinring-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("below/topology.json")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn admitted(epoch: u64) -> Admitted {
        let node = Node::new("10.0.0.1:11211", 3, Some("a")).unwrap();
        let document = Document { epoch, current: vec![node], ..Document::default() };
        Admitted { stamp: epoch, document }
    }

    #[test]
    fn what_is_written_is_read_and_the_next_takes_its_place() {
        let folder = Folder::new("snapshot");
        assert!(matches!(read(&folder.file(), "zk"), Err(Fault::Missing)));
        for epoch in [7, 8] {
            write(&folder.file(), "zk", &admitted(epoch)).unwrap();
            let back = read(&folder.file(), "zk").unwrap();
            assert_eq!(back.admitted, admitted(epoch));
            assert!(back.age.as_secs() < 60);
        }
        let beside = fs::read_dir(folder.0.join("below")).unwrap().count();
        assert_eq!(beside, 1, "nothing is left behind");
    }

    #[test]
    fn another_sources_snapshot_is_not_ours() {
        let folder = Folder::new("foreign");
        write(&folder.file(), "zk /a", &admitted(7)).unwrap();
        assert!(matches!(read(&folder.file(), "zk /b"), Err(Fault::Foreign(_))));
    }

    #[test]
    fn no_byte_can_be_lost_or_changed_unseen() {
        let folder = Folder::new("corrupt");
        write(&folder.file(), "zk", &admitted(7)).unwrap();
        let whole = fs::read(folder.file()).unwrap();
        for length in 0..whole.len() {
            fs::write(folder.file(), &whole[..length]).unwrap();
            assert!(
                matches!(read(&folder.file(), "zk"), Err(Fault::Corrupt(_))),
                "cut at {length}"
            );
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(folder.file(), &bytes).unwrap();
            assert!(read(&folder.file(), "zk").is_err(), "byte {at}");
        }
    }

    #[test]
    fn where_nothing_can_be_written_that_is_said() {
        let folder = Folder::new("unwritable");
        fs::create_dir_all(folder.file()).unwrap();
        write(&folder.file(), "zk", &admitted(7)).unwrap_err();
        assert!(matches!(read(&folder.file(), "zk"), Err(Fault::Io(_))));
    }
}
