//! What the documents list is what there is: commands, metrics, faults.

use std::path::Path;

use twinring::metrics::{
    AdminMetric, ListenerMetric, PoolMetric, RING_INFO, ResolverMetric, ServerMetric,
    TopologyMetric, WorkerMetric,
};
use twinring::protocol::redis;

/// A text of the project.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn the_readme_lists_every_command_of_redis() {
    let readme = read("README.md");
    let missing: Vec<&str> = redis::commands()
        .iter()
        .map(|command| command.name)
        .filter(|name| !has_word(&readme, name))
        .collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
}

#[test]
fn the_readme_lists_every_metric() {
    let readme = read("README.md");
    let names = WorkerMetric::FAMILIES
        .iter()
        .map(|family| family.name)
        .chain(PoolMetric::FAMILIES.iter().map(|family| family.name))
        .chain(ServerMetric::FAMILIES.iter().map(|family| family.name))
        .chain(ListenerMetric::FAMILIES.iter().map(|family| family.name))
        .chain(TopologyMetric::FAMILIES.iter().map(|family| family.name))
        .chain([RING_INFO.name])
        .chain(ResolverMetric::FAMILIES.iter().map(|family| family.name))
        .chain(AdminMetric::FAMILIES.iter().map(|family| family.name));
    let missing: Vec<&str> = names.filter(|name| !has_word(&readme, name)).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
}

#[test]
fn the_readme_lists_no_metric_that_is_not_there() {
    let readme = read("README.md");
    let table = readme.split("| metrics, each").nth(1).expect("the table of metrics");
    let table = table.split("\n\n").next().unwrap_or_default();
    let exposed = read("src/metrics/table.rs");
    for row in table.lines().skip(2) {
        let names = row.split('|').nth(2).unwrap_or_default();
        for name in names.split_whitespace() {
            let known = exposed.contains(&format!("\"{name}\"")) || name == "build_info";
            assert!(known, "{name} is listed and not exposed");
        }
    }
}

#[test]
fn faults_that_the_readme_names_are_tests() {
    let readme = read("README.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/faults");
    let tests: String = std::fs::read_dir(folder)
        .expect("the folder of faults")
        .map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a file"))
        .collect();
    let is_fault = |word: &&str| {
        let digits = word.strip_prefix('f').and_then(|rest| rest.get(..2));
        digits.is_some_and(|two| two.bytes().all(|b| b.is_ascii_digit())) && word.contains('_')
    };
    let named: Vec<&str> = readme.split('`').filter(is_fault).collect();
    assert!(named.len() > 3, "the README names hardly a fault: {named:?}");
    for name in named {
        assert!(tests.contains(&format!("fn {name}(")), "{name} is no test");
    }
}
