//! The rules of the house that no compiler knows, checked on the text of `src/`.
//!
//! 1. The table of imports points only downwards, so that no circle can be written.
//! 2. Imports follow the table.
//! 3. Files are short and say what they are.
//! 4. A foreign crate is used only where it is at home.
//!
//! The scan is textual; so a name is always imported by its full path (`use crate::protocol::…`),
//! and `tests.rs` files are free.

use std::fs;
use std::path::{Path, PathBuf};

/// Each module and what it may import, in the order in which a request meets them. `main` and
/// `lib` are exempt.
const IMPORTS: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "process", "control", "frontend", "service", "routing", "cache", "backend", "protocol",
            "storage", "net", "config", "topology", "signal", "metrics",
        ],
    ),
    (
        "process",
        &[
            "control", "frontend", "service", "routing", "cache", "backend", "protocol", "storage",
            "net", "config", "topology", "signal", "metrics",
        ],
    ),
    ("control", &["routing", "net", "config", "topology", "signal", "metrics"]),
    ("frontend", &["service", "protocol", "net", "config", "signal", "metrics"]),
    ("service", &["routing", "cache", "backend", "protocol", "config", "metrics"]),
    ("routing", &["config", "topology"]),
    ("cache", &["storage", "protocol", "config", "metrics"]),
    ("backend", &["protocol", "net", "config", "topology", "metrics"]),
    ("protocol", &[]),
    ("storage", &["config", "metrics"]),
    ("net", &["config"]),
    ("config", &["topology"]),
    ("topology", &[]),
    ("signal", &[]),
    ("metrics", &[]),
];

/// Each dependency and the modules where it is at home; one that is missing here is refused.
const HOMES: &[(&str, &[&str])] = &[
    ("ahash", &["storage"]),
    ("axum", &["control"]),
    ("base64", &["topology"]),
    ("bytes", &["frontend", "service", "backend", "protocol", "storage", "net"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("hyper", &["control"]),
    ("hyper_util", &["control"]),
    ("md5", &["routing"]),
    ("memchr", &["service", "routing", "backend", "protocol"]),
    ("mimalloc", &["main"]),
    ("mmap_rs", &["storage"]),
    ("nix", &["control", "process"]),
    ("prometheus", &["metrics"]),
    ("rustix", &["cli", "control", "net"]),
    ("serde", &["control", "config"]),
    ("serde_json", &["cli", "control"]),
    ("serde_saphyr", &["config"]),
    ("sha2", &["topology"]),
    ("socket2", &["net"]),
    (
        "thiserror",
        &[
            "cli", "process", "control", "frontend", "service", "routing", "cache", "backend",
            "protocol", "storage", "net", "topology",
        ],
    ),
    ("tokio", &["process", "control", "frontend", "backend", "net"]),
    ("tokio_rustls", &["net"]),
    ("tokio_util", &["control", "net"]),
    ("tracing", &["cli", "process", "control", "frontend", "service", "backend", "net"]),
    ("tracing_appender", &["process", "control"]),
    ("tracing_subscriber", &["process", "control"]),
    ("zookeeper_client", &["control"]),
];

/// Crates whose name in code is not that of the package.
const RENAMED: &[(&str, &str)] = &[("md-5", "md5")];

/// Lines that a file of `src/` may have, tests beside it not counted.
const LINES_MAX: usize = 500;

#[test]
fn the_table_points_only_downwards() {
    for (row, (module, allowed)) in IMPORTS.iter().enumerate() {
        for name in *allowed {
            let below = IMPORTS[row + 1..].iter().any(|(other, _)| other == name);
            assert!(below, "{module} may import {name}, which has no later row");
        }
    }
    for (name, homes) in HOMES {
        for home in *homes {
            let known = *home == "main" || IMPORTS.iter().any(|(module, _)| module == home);
            assert!(known, "{name} is at home in {home}, which is no module");
        }
    }
}

#[test]
fn the_sources_follow_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(files.len() > 10, "the sources are not where they should be");
    let mut broken = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let place = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        broken.extend(check(&place, &text));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_dependency_has_a_home() {
    let manifest = include_str!("../../Cargo.toml");
    let section = manifest.split("\n[").find_map(|part| part.strip_prefix("dependencies]\n"));
    let names = section.unwrap().lines().filter_map(|line| line.split_once(" = "));
    let mut count = 0;
    for (package, _) in names {
        let renamed = RENAMED.iter().find(|(known, _)| *known == package.trim());
        let name = renamed
            .map_or_else(|| package.trim().replace('-', "_"), |(_, name)| (*name).to_owned());
        assert!(HOMES.iter().any(|(known, _)| *known == name), "{name} has no home");
        count += 1;
    }
    assert!(count > 5, "the manifest is not read");
}

#[test]
fn each_rule_can_fail() {
    let fails = |place: &str, text: &str, part: &str| {
        let broken = check(place, text).join("\n");
        assert!(broken.contains(part), "{place}: {text:?} gave {broken:?}");
    };
    fails(
        "src/net/tcp.rs",
        "//! x\nuse crate::frontend::Session;\n",
        "net may not import frontend",
    );
    fails("src/net/tcp.rs", "//! x\nlet a = crate::service::b();\n", "net may not import service");
    fails("src/surprise/mod.rs", "//! x\n", "surprise has no row");
    fails("src/net/tcp.rs", "//! x\nuse crate::{config};\n", "import by full path");
    fails("src/net/a/b.rs", "//! x\nuse super::super::c;\n", "super::super");
    fails("src/net/mod.rs", "//! x\nuse super::frontend;\n", "leaves the module");
    fails("src/net/tcp.rs", "use std::io;\n", "does not open with //!");
    fails("src/net/tcp.rs", &format!("//! x\n{}", "\n".repeat(LINES_MAX)), "lines");
    fails("src/net/tcp.rs", "//! x\nuse axum::Router;\n", "axum is not at home in net");
    fails("src/protocol/x.rs", "//! x\nfn a() { tokio::spawn(b()) }\n", "tokio is not at home");
}

#[test]
fn right_texts_pass() {
    let passes = |place: &str, text: &str| assert_eq!(check(place, text), Vec::<String>::new());
    passes("src/net/tcp.rs", "//! x\nuse crate::config::Listen;\nuse crate::net::Port;\n");
    passes("src/net/tcp.rs", "//! x\npub(crate) fn a() {}\n// axum::Router is not for us\n");
    passes("src/net/tcp.rs", "//! x\nuse super::Port;\nuse std::net::tokio_like;\n");
    passes("src/signal.rs", "//! x\nmod tests {\n    use super::Life;\n}\n");
    passes("src/main.rs", "//! x\nstatic A: mimalloc::MiMalloc = b;\n");
}

/// All `.rs` files below `folder`, without tests.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// What a file breaks, one line for each rule; `place` is its path from the root.
fn check(place: &str, text: &str) -> Vec<String> {
    let module = place.split('/').nth(1).unwrap().trim_end_matches(".rs");
    let mut broken = check_shape(place, text);
    broken.extend(check_imports(place, module, text));
    broken.extend(check_homes(place, module, text));
    broken
}

fn check_shape(place: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if !text.starts_with("//!") {
        broken.push(format!("{place}: does not open with //!"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        broken.push(format!("{place}: {lines} lines, at most {LINES_MAX}"));
    }
    if text.contains("use crate::{") {
        broken.push(format!("{place}: import by full path, not by crate::{{…}}"));
    }
    if text.contains("super::super") {
        broken.push(format!("{place}: super::super hides where a name comes from"));
    }
    broken
}

fn check_imports(place: &str, module: &str, text: &str) -> Vec<String> {
    if matches!(module, "main" | "lib") {
        return Vec::new();
    }
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{place}: {module} has no row in the table")];
    };
    let mut broken = Vec::new();
    for name in names_after(text, "crate::") {
        if name != module && !allowed.contains(&name) {
            broken.push(format!("{place}: {module} may not import {name}"));
        }
    }
    // At the top of a module `super` is the crate; within its inline tests it is the module.
    let top = place.matches('/').count() == 1 || place.ends_with("/mod.rs");
    let code = text.split("mod tests {").next().unwrap_or(text);
    if top && place.matches('/').count() <= 2 && code.contains("super::") {
        broken.push(format!("{place}: super:: leaves the module past the table"));
    }
    broken
}

fn check_homes(place: &str, module: &str, text: &str) -> Vec<String> {
    let code: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let strays = HOMES.iter().filter(|(name, homes)| !homes.contains(&module) && uses(&code, name));
    strays.map(|(name, _)| format!("{place}: {name} is not at home in {module}")).collect()
}

/// The identifiers that follow `prefix` in the text.
fn names_after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).filter_map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

/// True if the code has a path that starts with this crate.
fn uses(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        !(before.is_alphanumeric() || before == '_' || before == ':')
    })
}
