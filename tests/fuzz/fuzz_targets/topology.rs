//! Any bytes as what a source of servers has, in every format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinring::config::{Format, NameFrom};
use twinring::control::topology::decode::{Decoder, ZNode, native};

const FORMATS: [Format; 6] = [
    Format::Native,
    Format::Nutcracker,
    Format::ServerSet,
    Format::Nerve,
    Format::Curator,
    Format::List,
];

/// The first byte is the format; then come nodes with a zero byte between them: the source, the
/// pointer, a version, members.
fuzz_target!(|data: &[u8]| {
    let [format, data @ ..] = data else { return };
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let paths = ["", native::POINTER, "versions/0000000001", "member_1", "vector_1"];
    let nodes: Vec<ZNode> = paths
        .into_iter()
        .zip(data.split(|byte| *byte == 0))
        .map(|(path, data)| ZNode { path: path.to_owned(), data: data.to_vec(), zxid: 1 })
        .collect();
    let name_from = if format == Format::ServerSet { NameFrom::Shard } else { NameFrom::Name };
    let decoder = Decoder { format, name_from, endpoint: None, pool: "web".to_owned() };
    match decoder.decode(&nodes) {
        Err(refusal) => assert!(!refusal.text.contains(char::is_control)),
        Ok(proposal) if format == Format::Native && proposal.document.check().is_ok() => {
            let text = native::write(&proposal.document);
            assert_eq!(native::read(&text), Ok(proposal.document), "{text}");
        }
        Ok(_) => {}
    }
});
