//! The sample configurations in `conf/`, read just well enough to put other ports into them.

use std::path::Path;

use super::ports::{Port, Scratch};

/// One file of `conf/`.
pub(crate) struct Sample {
    name: String,
    text: String,
}

/// One pool of it.
#[derive(Default)]
pub(crate) struct SamplePool {
    settings: Vec<(String, String)>,
    servers: Vec<String>,
}

impl Sample {
    /// All of them, by name.
    pub(crate) fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
        let entries = std::fs::read_dir(folder).expect("the samples");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "yml"));
        paths.sort();
        let read = |path: &std::path::PathBuf| Self {
            name: path.file_name().expect("a name").to_string_lossy().into_owned(),
            text: std::fs::read_to_string(path).expect("a sample"),
        };
        paths.iter().map(read).collect()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// True if twemproxy could read it.
    pub(crate) fn is_twemproxys(&self) -> bool {
        !self.text.lines().any(|line| line == "pools:")
    }

    /// The mappings that have servers, by name.
    pub(crate) fn pools(&self) -> Vec<(String, SamplePool)> {
        let mut found: Vec<(String, SamplePool)> = Vec::new();
        for line in self.text.lines() {
            let line = line.split(" #").next().unwrap_or("").trim();
            if let (Some(entry), Some((_, pool))) = (line.strip_prefix("- "), found.last_mut()) {
                pool.servers.push(entry.trim().to_owned());
            } else if let Some((key, value)) = line.split_once(':') {
                let (key, value) = (key.to_owned(), value.trim().to_owned());
                match found.last_mut() {
                    _ if line.starts_with('#') => {}
                    _ if value.is_empty() && key != "servers" => {
                        found.push((key, SamplePool::default()));
                    }
                    Some((_, pool)) => pool.settings.push((key, value)),
                    None => {}
                }
            }
        }
        found.retain(|(_, pool)| !pool.servers.is_empty());
        found
    }

    /// The text with every listener on a free port, every unix socket in `scratch`, and every
    /// server at a port where nobody listens. Returns the ports of the pools' TCP listeners too.
    pub(crate) fn moved(&self, scratch: &Scratch) -> (String, Vec<Port>) {
        let mut ports = Vec::new();
        let mut next = || {
            let port = Port::take();
            let number = port.number();
            ports.push(port);
            number
        };
        let folder = scratch.path().display().to_string();
        let lines = self.text.lines().map(|line| {
            let (code, _) = line.split_once(" #").unwrap_or((line, ""));
            let code = code.replace("/tmp/", &format!("{folder}/"));
            let server = code.trim_start().starts_with("- ");
            match code.find("127.0.0.1:") {
                Some(at) if !code.trim_start().starts_with('#') && (server || code.contains("listen")) => {
                    let rest = &code[at + "127.0.0.1:".len()..];
                    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    format!("{}127.0.0.1:{}{}", &code[..at], next(), &rest[end..])
                }
                _ => code,
            }
        });
        let text = lines.collect::<Vec<_>>().join("\n") + "\n";
        (text, ports)
    }
}

impl SamplePool {
    pub(crate) fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Its servers as written.
    pub(crate) fn servers(&self) -> &[String] {
        &self.servers
    }
}
