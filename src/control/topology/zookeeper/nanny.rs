//! The nanny at work: looks at the servers of a native topology, tells the others what it sees, and,
//! if it is the elected one, writes what is decided.
//!
//! ```text
//!  every second: read the version ─▶ look at each server ─▶ PATH/view/ID ─▶ read all views
//!                                        └▶ Nanny: decide ─▶ elected? ─▶ next version, by CAS
//! ```
//! No session, no change: an election ends with its session, and a version is written only as the
//! successor of the one that was read.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zookeeper_client::Error;

use super::session::Session;
use super::{PAUSE, jittered};
use crate::config::{Address, Format, Pool, Protocol, ZooKeeper};
use crate::control::nanny::{AUTHOR, Decision, Judgement, Nanny, Orders, Probe, ProbeRules, View};
use crate::control::topology::decode::{Decoder, Proposal};
use crate::topology::{Document, Node, Server, State};

/// Between two rounds of looks.
const ROUND: Duration = Duration::from_secs(1);
/// A healthy cache answers within milliseconds.
const LOOK: Duration = Duration::from_millis(500);
/// Where views and candidates are, below the source.
const VIEWS: &str = "view";
const CANDIDATES: &str = "nanny";

/// A view as it stands in ZooKeeper. It is as old as its beat, whatever any clock says.
#[derive(Deserialize, Serialize)]
struct Said {
    beat: u64,
    failing: BTreeSet<String>,
    well: BTreeSet<String>,
}

/// Looks after the servers of `pool`, whose native topology is at `place`, for ever. `id` is what
/// its views are called.
pub async fn watch_over(pool: &Pool, place: &ZooKeeper, id: &str, orders: Orders) {
    let mut watch = Watch {
        pool,
        path: &place.path,
        id,
        orders,
        nanny: Nanny::new(orders.rules),
        probes: HashMap::new(),
        beats: HashMap::new(),
        beat: 0,
    };
    let mut pause = PAUSE.0;
    loop {
        let ended = match Session::open(place).await {
            Ok(session) => {
                pause = PAUSE.0;
                watch.session(&session).await
            }
            Err(why) => why,
        };
        tracing::warn!(pool = pool.name, why = ended, "no ZooKeeper: nothing is decided");
        sleep(jittered(pause, 0.5)).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

struct Watch<'a> {
    pool: &'a Pool,
    path: &'a str,
    id: &'a str,
    orders: Orders,
    nanny: Nanny,
    probes: HashMap<String, Probe>,
    /// The last beat of each observer.
    beats: HashMap<String, u64>,
    beat: u64,
}

impl Watch<'_> {
    /// Rounds, until the session fails; why.
    async fn session(&mut self, session: &Session) -> String {
        let mut ours = None;
        loop {
            match self.round(session, &mut ours).await {
                Ok(()) => sleep(ROUND).await,
                Err(why) => return why,
            }
        }
    }

    async fn round(&mut self, session: &Session, ours: &mut Option<String>) -> Result<(), String> {
        let failed = |error: Error| error.to_string();
        let limit = session.timeout();
        let late = |_| "it does not answer in time".to_owned();
        let read = session.read(self.path, Format::Native);
        let nodes = timeout(limit, read).await.map_err(late)?.map_err(failed)?;
        let decoder = Decoder::of(&self.pool.name, Format::Native);
        let document = match decoder.decode(&nodes) {
            Ok(Proposal { document, .. }) if document.check().is_ok() => document,
            Ok(_) => return Err("the topology is not valid".to_owned()),
            Err(refusal) => return Err(refusal.to_string()),
        };
        self.nanny.saw(&document, Instant::now());
        self.look(&document).await;
        timeout(limit, self.exchange(session)).await.map_err(late)?.map_err(failed)?;
        if ours.is_none() {
            let standing = session.stand(self.path, CANDIDATES);
            *ours = Some(timeout(limit, standing).await.map_err(late)?.map_err(failed)?);
        }
        let elected = session.elected(self.path, CANDIDATES);
        let elected = timeout(limit, elected).await.map_err(late)?.map_err(failed)?;
        if elected != *ours {
            return Ok(());
        }
        match self.nanny.decide(Instant::now()) {
            Some(decision) => self.act(session, document, &decision).await,
            None => Ok(()),
        }
    }

    /// A look at every server, all at a time.
    async fn look(&mut self, document: &Document) {
        let mut looks = JoinSet::new();
        for Server { name, address, .. } in document.all_servers() {
            let (protocol, plain) = (self.pool.protocol, self.pool.server_tls.is_none());
            looks.spawn(async move {
                let look = answers(&address, protocol, plain);
                (name, timeout(LOOK, look).await.is_ok_and(|good| good))
            });
        }
        let mut before = std::mem::take(&mut self.probes);
        while let Some(looked) = looks.join_next().await {
            let Ok((name, good)) = looked else { continue };
            let mut probe = before.remove(&name).unwrap_or_default();
            probe.look(good, Instant::now());
            self.probes.insert(name, probe);
        }
    }

    /// Says what this observer sees, and takes in what all say.
    async fn exchange(&mut self, session: &Session) -> Result<(), Error> {
        self.beat += 1;
        let of = |judgement, rules: &ProbeRules| -> BTreeSet<String> {
            let such = self.probes.iter().filter(|(_, probe)| probe.judgement(rules) == judgement);
            such.map(|(name, _)| name.clone()).collect()
        };
        let said = Said {
            beat: self.beat,
            failing: of(Judgement::Failing, &self.orders.probes),
            well: of(Judgement::Well, &self.orders.probes),
        };
        let text = serde_json::to_string(&said).unwrap_or_default();
        session.say((self.path, VIEWS), self.id, &text).await?;
        for (observer, text) in session.said(self.path, VIEWS).await? {
            let Ok(said) = serde_json::from_str::<Said>(&text) else { continue };
            if self.beats.insert(observer.clone(), said.beat) != Some(said.beat) {
                let view = View { failing: said.failing, well: said.well };
                self.nanny.observe(&observer, view, Instant::now());
            }
        }
        Ok(())
    }

    /// Writes a decision, or says what it would be.
    async fn act(
        &mut self,
        session: &Session,
        mut document: Document,
        decision: &Decision,
    ) -> Result<(), String> {
        let (pool, node, to) = (&self.pool.name, &decision.node, decision.to.name());
        let why = &decision.why;
        if self.orders.dry_run {
            tracing::warn!(pool, node, to, why, "would be marked: this is a dry run");
            self.nanny.acted(Instant::now());
            return Ok(());
        }
        document.epoch += 1;
        AUTHOR.clone_into(&mut document.author);
        document.reason = format!("{node} {to}: {why}");
        mark(&mut document.current, node, decision.to);
        mark(&mut document.target, node, decision.to);
        match session.publish(self.path, &document).await {
            Ok(()) => {}
            // Somebody else has written: the next round sees what.
            Err(Error::BadVersion | Error::NodeExists) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        tracing::warn!(pool, node, to, epoch = document.epoch, why, "marked");
        self.nanny.acted(Instant::now());
        self.nanny.saw(&document, Instant::now());
        Ok(())
    }
}

fn mark(nodes: &mut [Node], name: &str, to: State) {
    for node in nodes.iter_mut().filter(|node| node.server.name == name) {
        node.server.state = to;
    }
}

/// True if the server answers as one does. Behind TLS it is enough that it accepts.
async fn answers(address: &Address, protocol: Protocol, plain: bool) -> bool {
    match address {
        Address::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
            Ok(stream) => !plain || speaks(stream, protocol).await,
            Err(_) => false,
        },
        Address::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => speaks(stream, protocol).await,
            Err(_) => false,
        },
    }
}

async fn speaks(mut stream: impl AsyncRead + AsyncWrite + Unpin, protocol: Protocol) -> bool {
    let (request, replies): (&[u8], &[&[u8]]) = match protocol {
        Protocol::Redis => (b"PING\r\n", &[b"+PONG", b"-NOAUT"]),
        Protocol::Memcache | Protocol::Ping => (b"version\r\n", &[b"VERSION"]),
    };
    let mut reply = [0; 5];
    let asked = stream.write_all(request).await;
    let answered = stream.read_exact(&mut reply).await;
    asked.is_ok() && answered.is_ok() && replies.iter().any(|known| known.starts_with(&reply))
}
