//! Documents of every format: what is read of them, what is refused, and why.

use std::fs;
use std::path::Path;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use crate::config::{Format, NameFrom};
use crate::control::topology::decode::{DATA_BYTES_MAX, Decoder, Proposal, ZNode, native};
use crate::control::topology::refusal::{Reason, Refusal};
use crate::topology::{Document, GivenUp, Node, Phase, State};

const FORMATS: [Format; 6] = [
    Format::Native,
    Format::Nutcracker,
    Format::ServerSet,
    Format::Nerve,
    Format::Curator,
    Format::List,
];

fn decoder(format: Format) -> Decoder {
    let name_from = if format == Format::ServerSet { NameFrom::Shard } else { NameFrom::Name };
    Decoder { format, name_from, endpoint: None, pool: "web".to_owned() }
}

/// A file of samples: what is expected of it, and the znodes as they are.
struct Sample {
    name: String,
    expected: Vec<String>,
    decoder: Decoder,
    nodes: Vec<ZNode>,
}

/// Lines `expect: …` and `option: endpoint …` first; then after each `znode: PATH ZXID` its data,
/// `.` being the source itself.
fn samples(folder: &str) -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topology").join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let samples: Vec<Sample> = paths
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let format = FORMATS.into_iter().find(|it| name.starts_with(it.name())).unwrap();
            let mut sample =
                Sample { name, expected: Vec::new(), decoder: decoder(format), nodes: Vec::new() };
            for line in fs::read_to_string(&path).unwrap().split_inclusive('\n') {
                sample.take(line);
            }
            sample
        })
        .collect();
    assert!(samples.len() > 5);
    samples
}

impl Sample {
    fn take(&mut self, line: &str) {
        if let Some(expected) = line.strip_prefix("expect: ") {
            self.expected.push(expected.trim_end().to_owned());
        } else if let Some(endpoint) = line.strip_prefix("option: endpoint ") {
            self.decoder.endpoint = Some(endpoint.trim_end().to_owned());
        } else if let Some(node) = line.strip_prefix("znode: ") {
            let (path, zxid) = node.trim_end().split_once(' ').unwrap();
            let path = if path == "." { String::new() } else { path.to_owned() };
            self.nodes.push(ZNode { path, data: Vec::new(), zxid: zxid.parse().unwrap() });
        } else {
            let data = &mut self.nodes.last_mut().unwrap().data;
            data.extend_from_slice(line.as_bytes());
        }
    }
}

/// A proposal as the samples describe it.
fn described(proposal: &Proposal) -> Vec<String> {
    let Proposal { stamp, document, members, accepted } = proposal;
    let mut first = format!("stamp={stamp} accepted={accepted}");
    let mut nodes = document.current.clone();
    let mut bad = Vec::new();
    if let Some(members) = members {
        let committed = members.committed.map_or_else(|| "none".to_owned(), |it| it.to_string());
        first.push_str(&format!(" committed={committed}"));
        nodes.extend(members.good.iter().map(|(_, node)| node.clone()));
        bad.extend(members.bad.iter().map(|(child, why)| format!("bad {child}: {why}")));
    }
    let mut lines = vec![first];
    if let (Some(hash), Some(distribution)) = (&document.hash, &document.distribution)
        && members.is_none()
        && document.epoch == 0
    {
        lines.push(format!("hash={hash} distribution={distribution}"));
    }
    lines.extend(nodes.iter().map(|Node { server, .. }| {
        format!("{} {} {} {}", server.name, server.address, server.weight, server.state.name())
    }));
    lines.extend(bad);
    lines
}

#[test]
fn samples_of_every_format_are_read() {
    let samples = samples("read");
    for format in FORMATS {
        assert!(samples.iter().any(|it| it.decoder.format == format), "{}", format.name());
    }
    let mut wrong = Vec::new();
    for sample in samples {
        let proposal = sample.decoder.decode(&sample.nodes);
        let proposal = proposal.unwrap_or_else(|refusal| panic!("{}: {refusal}", sample.name));
        let found = described(&proposal);
        if found != sample.expected {
            wrong.push(format!("{}:\nexpected {:#?}\n{found:#?}", sample.name, sample.expected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rejected_documents_say_why_and_where() {
    let mut wrong = Vec::new();
    for sample in samples("rejected") {
        let refusal: Refusal = match sample.decoder.decode(&sample.nodes) {
            Err(refusal) => refusal,
            Ok(proposal) => panic!("{} is read: {proposal:?}", sample.name),
        };
        let (text, expected) = (refusal.to_string(), &sample.expected[0]);
        if !text.starts_with(expected) {
            wrong.push(format!("{}:\nexpected {expected}\n{text}", sample.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_larger_than_a_znode_may_be_is_not_looked_at() {
    let node = ZNode { data: vec![b' '; DATA_BYTES_MAX + 1], ..ZNode::default() };
    for format in FORMATS {
        let refusal = decoder(format).decode(std::slice::from_ref(&node)).unwrap_err();
        assert_eq!(refusal.reason, Reason::Decode, "{}", format.name());
    }
}

#[test]
fn ten_thousand_servers_fit_and_one_more_does_not() {
    let node = |n: usize| {
        Node::new(&format!("10.{}.{}.7:11211", n / 250, n % 250), 1, Some(&format!("cache{n:05}")))
            .unwrap()
    };
    let document = |count| Document {
        epoch: 1,
        current: (0..count).map(node).collect(),
        ..Document::default()
    };
    let text = native::write(&document(10_000));
    assert!(text.len() <= DATA_BYTES_MAX, "{} bytes", text.len());
    assert_eq!(native::read(&text).unwrap(), document(10_000));
    document(10_000).check().unwrap();
    document(10_001).check().unwrap_err();
}

#[test]
fn a_pointer_names_its_version() {
    assert_eq!(native::active(&native::pointer(18, false)), Ok(18));
    assert_eq!(native::pointer(18, true), br#"{"schema":1,"active":18,"accept":18}"#);
    assert_eq!(native::version_path(18), "versions/0000000018");
}

fn node() -> impl Strategy<Value = Node> {
    let state = prop_oneof![Just(State::Up), Just(State::Down), Just(State::Drain)];
    ("[a-z]{1,9}", 1_u16.., 1_u32..100, state, any::<Option<bool>>(), any::<Option<String>>())
        .prop_map(|(name, port, weight, state, tls, zone)| {
            let mut node =
                Node::new(&format!("{name}.example.org:{port}"), weight, Some(&name)).unwrap();
            node.server.state = state;
            (node.tls, node.zone) = (tls, zone);
            node
        })
}

proptest! {
    /// What is written is read back.
    #[test]
    fn a_version_survives_writing(
        nodes in prop::collection::vec(node(), 0..9),
        target in prop::collection::vec(node(), 1..9),
        epoch in any::<u64>(),
        text in any::<String>(),
        flags in any::<[bool; 2]>(),
    ) {
        let mut document = Document {
            epoch,
            phase: Phase::Warm,
            author: text.clone(),
            reason: text.clone(),
            hash: Some(text.clone()),
            dirty: vec![text.clone()],
            dead_old: [(text, GivenUp::Unread)].into(),
            current: nodes,
            target,
            grace: std::time::Duration::from_secs(7),
            allow_empty: flags[0],
            allow_shrink: flags[1],
            ..Document::default()
        };
        crate::topology::nodes_in_ring_order(&mut document.current);
        crate::topology::nodes_in_ring_order(&mut document.target);
        assert_eq!(native::read(&native::write(&document)).unwrap(), document);
    }

    /// Any bytes are read or refused in one line.
    #[test]
    fn any_bytes_come_to_something(data in prop::collection::vec(any::<u8>(), 0..200), path in "(|topology|member_1|versions/0000000018)") {
        for format in FORMATS {
            let nodes = [ZNode { path: path.clone(), data: data.clone(), zxid: 1 }, ZNode::default()];
            if let Err(refusal) = decoder(format).decode(&nodes) {
                assert!(!refusal.text.contains(char::is_control), "{refusal}");
            }
        }
    }

    /// Samples with a few bytes changed: closer to what is read than any bytes are.
    #[test]
    fn damaged_samples_come_to_something(pick in any::<prop::sample::Index>(), places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let samples = samples("read");
        let sample = &samples[pick.index(samples.len())];
        let mut nodes = sample.nodes.clone();
        for (at, byte) in places {
            let total: usize = nodes.iter().map(|node| node.data.len()).sum();
            let mut at = at.index(total);
            for node in &mut nodes {
                if let Some(place) = node.data.get_mut(at) {
                    *place = byte;
                    break;
                }
                at -= node.data.len();
            }
        }
        if let Ok(proposal) = sample.decoder.decode(&nodes) {
            let _ = proposal.document.check();
        }
    }
}
