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

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// True if twemproxy could read it.
    pub(crate) fn is_twemproxys(&self) -> bool {
        !self.text.lines().any(|line| line == "pools:")
    }

    /// The mappings that have servers, by name.
    pub(crate) fn pools(&self) -> Vec<(String, SamplePool)> {
        let mut found = self.mappings();
        found.retain(|(_, pool)| !pool.servers.is_empty());
        found
    }

    /// Where it listens: each mapping with an address, by name.
    pub(crate) fn listeners(&self) -> Vec<(String, String)> {
        let address = |(name, pool): (String, SamplePool)| {
            let listen = pool.setting("listen")?.to_owned();
            Some((name, listen))
        };
        self.mappings().into_iter().filter_map(address).collect()
    }

    fn mappings(&self) -> Vec<(String, SamplePool)> {
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
        found
    }

    /// The same with every listener on a free port, every unix socket in `scratch`, and every
    /// server at a port where nobody listens; and the ports, which are free while they are held.
    pub(crate) fn moved(&self, scratch: &Scratch) -> (Self, Vec<Port>) {
        let mut ports = Vec::new();
        let folder = format!("{}/", scratch.path().display());
        let lines = self.text.lines().map(|line| {
            let code = line.split(" #").next().unwrap_or("").replace("/tmp/", &folder);
            let text = code.trim_start();
            let address = text.starts_with("- ") || text.contains("listen:");
            match code.split_once("127.0.0.1:").filter(|_| address && !text.starts_with('#')) {
                Some((before, rest)) => {
                    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    let port = Port::take();
                    let line = format!("{before}127.0.0.1:{}{}", port.number(), &rest[end..]);
                    ports.push(port);
                    line
                }
                None => code,
            }
        });
        let mut text = lines.collect::<Vec<_>>().join("\n") + "\n";
        if !self.is_twemproxys() && !self.text.contains("\nadmin:") {
            // Its default port is one for all.
            text.insert_str(0, "admin: { listen: off }\n");
        }
        (Self { name: self.name.clone(), text }, ports)
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
