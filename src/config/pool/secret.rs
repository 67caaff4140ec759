//! What is secret, and stands in files of its own.

use std::fs::File;
use std::io::Read;

use crate::config::identity::Secret;
use crate::config::source::Value;

/// What is read of a password file: far more than a password.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// The text of the file that a value names.
pub(super) fn file_text(value: &Value<'_>) -> Option<String> {
    let path = value.text()?;
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text));
    if let Err(error) = read {
        value.refuse(format!("cannot read {path}: {error}"));
        return None;
    }
    Some(text)
}

/// A file holds the password and perhaps a line end.
pub(super) fn secret_of_file(value: &Value<'_>) -> Option<Secret> {
    let path = value.text()?;
    let text = file_text(value)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        value.refuse(format!("{path} is empty"));
        return None;
    }
    Some(Secret::new(secret))
}
