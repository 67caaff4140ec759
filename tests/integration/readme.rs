//! The commands that the README and the guides show are run, and print what they say; their links
//! lead somewhere.
//!
//! A block that opens with ` ```sh test ` is run by bash in the root of the tree, with the program
//! under test first in the path. If a ` ```text ` block follows it, that is what it prints; in it
//! `…` stands for anything within a line. What it has started in the background ends with it.
//! Where the system allows it, a block has a network of its own, so that its ports are free.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::docs::read;
use crate::support::Process;

/// Longer than any command takes that a reader would wait for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What users read.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "deploy/growing.md",
    "deploy/reload.md",
    "deploy/topology.md",
    "tests/bench/README.md",
    "tests/bench/results.md",
    "tests/bench/storage/README.md",
];

/// A block of commands and, if it is shown, what they print.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    /// Line where it opens.
    line: usize,
    commands: String,
    output: Option<String>,
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    check("README.md");
}

#[test]
fn the_commands_of_the_guide_to_reloads_do_what_it_says() {
    check("deploy/reload.md");
}

#[test]
fn the_commands_of_the_guide_to_topologies_do_what_it_says() {
    check("deploy/topology.md");
}

#[test]
fn the_commands_of_the_guide_to_growing_do_what_it_says() {
    check("deploy/growing.md");
}

#[test]
fn links_lead_to_what_is_there() {
    let mut found = 0;
    for file in DOCUMENTS {
        for link in links(&read(file)).filter(|link| !link.contains("://")) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let folder = Path::new(file).parent().unwrap_or_else(|| Path::new(""));
            let target = if path.is_empty() { file.into() } else { folder.join(path) };
            let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(&target);
            assert!(full.exists(), "{file} leads to {link}, which is not there");
            let has = || anchors(&read(&target)).any(|anchor| anchor == heading);
            assert!(heading.is_empty() || has(), "{file} leads to {link}: no such heading");
            found += 1;
        }
    }
    assert!(found > 20, "hardly a link was found: {found}");
}

#[test]
fn examples_are_found_with_their_output() {
    let text = "# x\n```sh test\ntrue\necho a\n```\n\n```text\na\n```\n```sh\nrm -r /\n```\n```sh test\nb\n```\n";
    let wanted = [
        Example { line: 2, commands: "true\necho a\n".into(), output: Some("a\n".into()) },
        Example { line: 13, commands: "b\n".into(), output: None },
    ];
    assert_eq!(examples(text), wanted);
    assert!(fits("a … c\n", "a b c\n") && fits("…\n", "\n"));
    assert!(!fits("a\n", "b\n") && !fits("a\n", "a\nb\n") && !fits("a … c\n", "a b d\n"));
}

/// Runs all examples of a document.
fn check(document: &str) {
    let examples = examples(&read(document));
    assert!(!examples.is_empty(), "no block of {document} is marked as a test");
    let alone = has_own_network();
    for example in &examples {
        run(document, example, alone);
    }
}

/// Where the links of a text lead; a link may be broken over two lines, its target is not.
fn links(text: &str) -> impl Iterator<Item = String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned())
}

/// What links to the headings of a text are called.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let words = line.trim_start_matches('#').trim().to_lowercase();
        words.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut lines = text.lines().enumerate();
    // True if nothing but empty lines stands between the last example and here.
    let mut follows = false;
    while let Some((index, line)) = lines.next() {
        if !line.starts_with("```") {
            follows &= line.trim().is_empty();
            continue;
        }
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let block: String = inside.map(|line| format!("{line}\n")).collect();
        if line == "```sh test" {
            found.push(Example { line: index + 1, commands: block, output: None });
        } else if let (true, "```text", Some(last)) = (follows, line, found.last_mut()) {
            last.output = Some(block);
        }
        follows = line == "```sh test";
    }
    found
}

fn run(document: &str, example: &Example, alone: bool) {
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}", example.commands);
    let mut command = if alone {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "bash", "-euo", "pipefail", "-c"]);
        command.arg(format!("ip link set lo up\n{script}"));
        command
    } else {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c"]).arg(script);
        command
    };
    let program = Path::new(env!("CARGO_BIN_EXE_twinring"));
    let folder = program.parent().expect("a folder").display();
    command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut process = Process::start(command);
    let status = process.wait_end(PATIENCE);
    let said = process.output();
    let place = format!("{document}:{}", example.line);
    assert!(status.is_some_and(|status| status.success()), "{place}: {status:?}\n{said}");
    if let Some(output) = &example.output {
        assert!(fits(output, &said), "{place} shows\n{output}\nbut it is\n{said}");
    }
}

/// True if the shown text fits what was printed, line by line.
fn fits(shown: &str, printed: &str) -> bool {
    let same = shown.lines().count() == printed.lines().count();
    same && shown.lines().zip(printed.lines()).all(|(shown, line)| fits_line(shown, line))
}

fn fits_line(shown: &str, line: &str) -> bool {
    let Some((head, rest)) = shown.split_once('…') else { return shown == line };
    let Some(tail) = line.strip_prefix(head) else { return false };
    let ends = (0..=tail.len()).filter(|at| tail.is_char_boundary(*at));
    ends.into_iter().any(|at| fits_line(rest, &tail[at..]))
}

/// True if a network namespace can be made and its loopback switched on.
fn has_own_network() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "ip", "link", "set", "lo", "up"]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
