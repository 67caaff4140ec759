//! What `deploy/` has for systemd and Kubernetes runs what there is.

use std::process::Command;

use serde_json::Value;
use twinring::config;

use crate::docs::read;
use crate::support::{LONG, Port, Process, Scratch, http_get, wait_until};

#[test]
fn the_unit_for_systemd_runs_what_there_is() {
    let unit = read("deploy/twinring.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("the unit has no {key}")).to_owned()
    };
    let twinring = |key: &str, file: &str| {
        let line = value(key).replace("/etc/twinring/twinring.yml", file);
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("/usr/local/bin/twinring"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        command.args(words).output().expect("twinring").status.code()
    };
    assert_eq!(twinring("ExecStartPre", "conf/sidecar.yml"), Some(0));
    let bad = twinring("ExecStart", "tests/conf/invalid/listen_missing.yml");
    assert_eq!(bad, twinring("ExecStartPre", "tests/conf/invalid/listen_missing.yml"));
    let never: Vec<String> =
        value("RestartPreventExitStatus").split_whitespace().map(str::to_owned).collect();
    assert!(never.contains(&bad.expect("a code").to_string()), "{bad:?}: {never:?}");
    // Nobody answers there, but the words are understood.
    let text = "admin: { listen: 127.0.0.1:1 }\npools: { web: { listen: 127.0.0.1:2 } }\n";
    let file = Scratch::new();
    let path = file.file("twinring.yml", text);
    assert_eq!(twinring("ExecReload", &path.to_string_lossy()), Some(1));
}

#[test]
fn the_sidecar_for_kubernetes_runs_what_there_is() {
    let sample = read("deploy/kubernetes.yml");
    let documents = sample.split("\n---\n").map(serde_saphyr::from_str);
    let documents: Vec<Value> = documents.map(|it| it.expect("a document of YAML")).collect();
    let [map, deployment] = &documents[..] else { panic!("{} documents", documents.len()) };
    let found = |value: &'_ Value, pointer: &str| {
        value.pointer(pointer).cloned().unwrap_or_else(|| panic!("nothing at {pointer}"))
    };
    let pod = |pointer: &str| found(deployment, &format!("/spec/template/spec{pointer}"));
    let sidecar = |pointer: &str| pod(&format!("/initContainers/0{pointer}"));

    // The file is where the program looks for it.
    assert_eq!(pod("/volumes/0/configMap/name"), found(map, "/metadata/name"));
    assert_eq!(sidecar("/volumeMounts/0/name"), pod("/volumes/0/name"));
    let folder = sidecar("/volumeMounts/0/mountPath");
    let file = format!("{}/twinring.yml", folder.as_str().expect("a path"));
    assert_eq!(sidecar("/command"), Value::from(vec!["/usr/local/bin/twinring", "-c", &file]));

    // Who asks asks at the right ports, and the pod is given the time that a drain takes.
    let text = found(map, "/data/twinring.yml").as_str().expect("a text").to_owned();
    let config = config::parse(&text, "twinring.yml", false).expect("a valid configuration");
    let admin = config.admin.as_deref().expect("an admin listener").to_owned();
    assert_eq!(sidecar("/ports/0/name"), sidecar("/livenessProbe/httpGet/port"));
    assert!(admin.ends_with(&format!(":{}", sidecar("/ports/0/containerPort"))), "{admin}");
    let listen = pod("/containers/0/env/0/value").as_str().expect("an address").to_owned();
    assert!(text.contains(&format!("listen: {listen}\n")), "{listen}");
    let seconds = pod("/terminationGracePeriodSeconds").as_u64().expect("seconds");
    assert!(seconds > config.drain_timeout.as_secs());

    // And is answered, on ports of the test.
    let (front, back) = (Port::take(), Port::take());
    let here = |port: &Port| format!("127.0.0.1:{}", port.number());
    let text = text.replace(&admin, &here(&back)).replace(&listen, &here(&front));
    let scratch = Scratch::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.arg("-c").arg(scratch.file("twinring.yml", &text));
    let mut process = Process::start(command);
    process.wait_for(back.number());
    for probe in ["startupProbe", "livenessProbe"] {
        let path = sidecar(&format!("/{probe}/httpGet/path"));
        let asked = || http_get(back.number(), path.as_str().expect("a path")).0 == 200;
        assert!(wait_until(LONG, asked), "{probe}: {}", process.output());
    }
}
