//! A ZooKeeper ensemble of its own (Debian's package), and a client of it.

use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Error, Permission};

use super::ports::{Port, Scratch};
use super::process::Process;
use super::tls::Files;
use super::wait::wait_until;

/// A Java machine starts in a second where nothing else runs.
const START: Duration = Duration::from_secs(60);

/// Servers of one ensemble.
pub(crate) struct Ensemble {
    servers: Vec<Server>,
}

struct Server {
    port: Port,
    /// For the other servers; none if there are no others.
    _peers: Vec<Port>,
    scratch: Scratch,
    process: Process,
}

impl Ensemble {
    /// A single server.
    pub(crate) fn single() -> Self {
        Self::of(1)
    }

    /// So many servers, of which more than half must live.
    pub(crate) fn of(count: usize) -> Self {
        Self::with(count, "")
    }

    /// A single server that has a port with TLS beside its plain one, and asks clients there for a
    /// certificate; its own is in `own`.
    pub(crate) fn secure(port: &Port, own: &Files, authority: &Path) -> Self {
        let read = |path: &Path| fs::read_to_string(path).expect("a file");
        let both = own.certificate.with_extension("both.pem");
        fs::write(&both, read(&own.key) + &read(&own.certificate)).expect("a file");
        let (both, authority, port) = (both.display(), authority.display(), port.number());
        let text = format!(
            "secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\n\
             serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
             ssl.keyStore.location={both}\nssl.keyStore.type=PEM\n\
             ssl.trustStore.location={authority}\nssl.trustStore.type=PEM\nssl.clientAuth=need\n"
        );
        let ensemble = Self::with(1, &text);
        // It has read its files before it listened.
        let open = wait_until(START, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        assert!(open, "no TLS:\n{}", ensemble.servers[0].process.output());
        ensemble
    }

    fn with(count: usize, more: &str) -> Self {
        let ports: Vec<[Port; 3]> =
            (0..count).map(|_| [Port::take(), Port::take(), Port::take()]).collect();
        let mut peers = String::new();
        if count > 1 {
            peers.push_str("initLimit=20\nsyncLimit=10\n");
            for (number, [_, peer, election]) in ports.iter().enumerate() {
                let (peer, election) = (peer.number(), election.number());
                writeln!(peers, "server.{}=127.0.0.1:{peer}:{election}", number + 1).unwrap();
            }
        }
        let server = |(number, [port, peer, election]): (usize, [Port; 3])| {
            let scratch = Scratch::new();
            fs::create_dir_all(scratch.path().join("data")).expect("a folder");
            scratch.file("data/myid", &format!("{}\n", number + 1));
            let data = scratch.path().join("data");
            let text = format!(
                "tickTime=200\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n\
                 admin.enableServer=false\nmaxClientCnxns=0\n{peers}{more}",
                data.display(),
                port.number()
            );
            scratch.file("zoo.cfg", &text);
            let process = start(&scratch);
            Server { port, _peers: vec![peer, election], scratch, process }
        };
        let ensemble = Self { servers: ports.into_iter().enumerate().map(server).collect() };
        ensemble.servers.iter().for_each(Server::wait);
        ensemble
    }

    /// As a configuration names it.
    pub(crate) fn connect(&self) -> String {
        let hosts = self.servers.iter().map(|it| format!("127.0.0.1:{}", it.port.number()));
        hosts.collect::<Vec<_>>().join(",")
    }

    /// The port of one of them.
    pub(crate) fn port(&self, number: usize) -> u16 {
        self.servers[number].port.number()
    }

    pub(crate) fn client(&self) -> Zoo {
        Zoo::connect(&self.connect(), None)
    }

    /// SIGSTOP to all.
    pub(crate) fn freeze(&self) {
        self.servers.iter().for_each(|server| server.process.freeze());
    }

    /// SIGCONT to all.
    pub(crate) fn thaw(&self) {
        self.servers.iter().for_each(|server| server.process.thaw());
    }

    pub(crate) fn kill(&mut self, number: usize) {
        self.servers[number].process.kill();
    }

    /// Starts a killed one again; `empty`: with nothing of what it held.
    pub(crate) fn restart(&mut self, number: usize, empty: bool) {
        let server = &mut self.servers[number];
        if empty {
            let _ = fs::remove_dir_all(server.scratch.path().join("data/version-2"));
        }
        server.process = start(&server.scratch);
        server.wait();
    }
}

impl Server {
    fn wait(&self) {
        let address = (Ipv4Addr::LOCALHOST, self.port.number());
        let open = wait_until(START, || TcpStream::connect(address).is_ok());
        assert!(open, "ZooKeeper does not start:\n{}", self.process.output());
    }
}

fn start(scratch: &Scratch) -> Process {
    let mut command = Command::new("java");
    command.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg("-cp").arg(class_path());
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
    command.arg(scratch.path().join("zoo.cfg"));
    Process::start(command)
}

/// Where Debian keeps what ZooKeeper is made of; what TLS needs is not named in its own file.
fn class_path() -> String {
    let netty = ["buffer", "codec", "common", "handler", "resolver", "transport"];
    let more = ["transport-native-unix-common", "transport-native-epoll"];
    let jar = |name: &&str| format!(":/usr/share/java/netty-{name}.jar");
    let netty: String = netty.iter().chain(&more).map(jar).collect();
    format!("/etc/zookeeper/conf:/usr/share/java/zookeeper.jar{netty}")
}

/// A client that waits for each answer.
pub(crate) struct Zoo {
    client: Client,
    handle: Handle,
    stop: Arc<Notify>,
    driver: Option<JoinHandle<()>>,
    acls: Vec<Acl>,
}

impl Zoo {
    /// A client of the ensemble, as `user:password` if given: then its nodes are its own.
    pub(crate) fn connect(ensemble: &str, auth: Option<&str>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (handle, stop) = (runtime.handle().clone(), Arc::new(Notify::new()));
        let until = Arc::clone(&stop);
        let driver = thread::spawn(move || runtime.block_on(until.notified()));
        let open = || {
            let mut connector = Client::connector().with_session_timeout(Duration::from_secs(4));
            if let Some(auth) = auth {
                connector = connector.with_auth("digest", auth.as_bytes());
            }
            handle.block_on(connector.connect(ensemble))
        };
        let mut client = None;
        wait_until(START, || {
            client = open().ok();
            client.is_some()
        });
        let id = if auth.is_some() { AuthId::authed() } else { AuthId::anyone() };
        Self {
            client: client.expect("ZooKeeper answers"),
            handle: handle.clone(),
            stop,
            driver: Some(driver),
            acls: vec![Acl::new(Permission::ALL, id)],
        }
    }

    /// Writes a node, whether it was there or not; makes what it is below.
    pub(crate) fn put(&self, path: &str, data: impl AsRef<[u8]>) {
        self.handle.block_on(async {
            let options = CreateMode::Persistent.with_acls(Acls::new(&self.acls));
            self.client.mkdir(path, &options).await.expect("made");
            self.client.set_data(path, data.as_ref(), None).await.expect("written");
        });
    }

    pub(crate) fn delete(&self, path: &str) {
        self.handle.block_on(self.client.delete(path, None)).expect("deleted");
    }

    /// A member of a server set, as Finagle's announcer writes it.
    pub(crate) fn join(&self, path: &str, shard: u16, port: u16) -> String {
        let member = json!({
            "serviceEndpoint": { "host": "127.0.0.1", "port": port },
            "additionalEndpoints": {}, "status": "ALIVE", "shard": shard,
        });
        let node = format!("{path}/member_{shard:010}");
        self.put(&node, member.to_string());
        node
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        match self.handle.block_on(self.client.get_data(path)) {
            Ok((data, _)) => Some(String::from_utf8(data).expect("text")),
            Err(Error::NoNode) => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub(crate) fn children(&self, path: &str) -> Vec<String> {
        self.handle.block_on(self.client.list_children(path)).unwrap_or_default()
    }

    /// Writes a version below `path` and has the pointer name it, as whoever publishes one does.
    pub(crate) fn publish(&self, path: &str, version: &Value) {
        let epoch = version["epoch"].as_u64().expect("an epoch");
        self.put(&format!("{path}/versions/{epoch:010}"), version.to_string());
        let pointer = json!({ "schema": 1, "active": epoch });
        self.put(&format!("{path}/topology"), pointer.to_string());
    }
}

impl Drop for Zoo {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(driver) = self.driver.take() {
            let _ = driver.join();
        }
    }
}

/// A version over servers `server1`, `server2`, … on these ports.
pub(crate) fn version(epoch: u64, ports: &[u16]) -> Value {
    let node = |(index, port): (usize, &u16)| json!({ "name": format!("server{}", index + 1), "addr": format!("127.0.0.1:{port}") });
    let nodes: Vec<Value> = ports.iter().enumerate().map(node).collect();
    json!({ "schema": 1, "epoch": epoch, "rings": { "current": { "nodes": nodes } } })
}
