//! Servers out of files, and what tells two lists of them apart.

use std::fmt::Write;
use std::path::Path;

use super::{FAILED, complain};
use crate::config::Format;
use crate::control::topology::decode::{Decoder, ZNode};
use crate::topology::{Diff, Document};

/// The document that a file of servers holds.
pub(super) fn read(file: &Path, format: &str, pool: &str) -> Result<Document, u8> {
    let refused = |why: String| {
        complain(&format!("{}: {why}\n", file.display()));
        FAILED
    };
    let data = std::fs::read(file).map_err(|error| refused(error.to_string()))?;
    let formats = [Format::Native, Format::Nutcracker, Format::List];
    let format = formats.into_iter().find(|it| it.name() == format).unwrap_or(Format::Native);
    let decoder = Decoder::of(pool, format);
    let proposal = decoder
        .decode(&[ZNode { data, ..ZNode::default() }])
        .map_err(|refusal| refused(refusal.text))?;
    proposal.document.check().map_err(|error| refused(error.to_string()))?;
    Ok(proposal.document)
}

/// A change in each line.
pub(super) fn changes_text(changes: &Diff) -> String {
    let mut text = String::new();
    for server in &changes.added {
        let (name, address, weight) = (&server.name, &server.address, server.weight);
        let _ = writeln!(text, "+ {name}\t{address}\tweight={weight}");
    }
    for server in &changes.removed {
        let _ = writeln!(text, "- {}\t{}\tweight={}", server.name, server.address, server.weight);
    }
    for (a, b) in &changes.reweighted {
        let _ = writeln!(text, "~ {}\tweight {} -> {}", a.name, a.weight, b.weight);
    }
    for (a, b) in &changes.relocated {
        let _ = writeln!(text, "~ {}\t{} -> {}", a.name, a.address, b.address);
    }
    for (a, b) in &changes.restated {
        let _ = writeln!(text, "~ {}\t{} -> {}", a.name, a.state.name(), b.state.name());
    }
    if text.is_empty() {
        text.push_str("no change\n");
    }
    text
}
