//! What a running process takes over of a file, and when.

use std::fs;
use std::sync::{Arc, Mutex};

use crate::config::{Config, parse};
use crate::control::given::Given;
use crate::control::reload::{Refused, Reloader, Source, Swap};
use crate::metrics::AdminMetric;
use crate::topology::{Server, State};

const TEXT: &str = "
pools:
  web: { listen: 127.0.0.1:22121, topology: { source: file, path: /nowhere }, servers: [ '10.0.0.1:11211:1 a', '10.0.0.2:11211:1 b' ] }
";

fn config(text: &str) -> Config {
    parse(text, "test", false).unwrap()
}

fn server(entry: &str) -> Server {
    entry.parse().unwrap()
}

/// Whether to fail, and the servers of each time.
type Seen = (bool, Vec<Vec<Server>>);

/// A swap that fails on demand, and what it has put in force.
fn swap() -> (Swap, Arc<Mutex<Seen>>) {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let inner = Arc::clone(&seen);
    let swap = move |new: &Config| {
        let mut seen = inner.lock().unwrap();
        if seen.0 {
            return Err("bind 127.0.0.1:1: Address already in use".to_owned());
        }
        seen.1.push(new.pools[0].servers.clone());
        Ok(())
    };
    (Box::new(swap), seen)
}

#[tokio::test]
async fn what_is_refused_leaves_everything_as_it_was() {
    let (swap, seen) = swap();
    let reloader = Reloader::new(config(TEXT), None, swap, Arc::default());
    let refused = reloader.apply(config(&format!("workers: 7{TEXT}"))).await;
    assert_eq!(refused, Err(Refused::NeedsRestart(vec!["workers: needs a restart".to_owned()])));
    seen.lock().unwrap().0 = true;
    let unable = reloader.apply(config(&TEXT.replace("0.2", "0.3"))).await;
    assert!(matches!(unable, Err(Refused::Unable(_))), "{unable:?}");
    assert_eq!(*reloader.current(), config(TEXT));
    assert!(seen.lock().unwrap().1.is_empty());
}

fn given(servers: Vec<Server>) -> Given {
    Given { servers, walk: None }
}

#[tokio::test]
async fn servers_that_a_source_has_given_outlive_the_next_file() {
    let (swap, seen) = swap();
    let reloader = Reloader::new(config(TEXT), None, swap, Arc::default());
    let mut b = server("10.0.0.9:11211:1 b");
    b.state = State::Down;
    let done = reloader.give("web", given(vec![server("10.0.0.3:11211:1 cc"), b])).unwrap();
    assert_eq!(done.changes.len(), 4, "{done:?}");
    let names = |servers: &[Server]| -> Vec<String> {
        servers.iter().map(|server| server.name.clone()).collect()
    };
    assert_eq!(names(&seen.lock().unwrap().1[0]), ["b", "cc"], "ring order");
    reloader.apply(config(&TEXT.replace("servers", "timeout: 5s, servers"))).await.unwrap();
    assert_eq!(names(&seen.lock().unwrap().1[1]), ["b", "cc"]);
    assert!(reloader.current().pools[0].timeout.is_some_and(|time| time.as_secs() == 5));
}

#[tokio::test]
async fn servers_that_could_not_be_had_are_forgotten() {
    let (swap, seen) = swap();
    let reloader = Reloader::new(config(TEXT), None, swap, Arc::default());
    seen.lock().unwrap().0 = true;
    assert!(reloader.give("web", given(vec![server("10.0.0.3:11211:1 c")])).is_err());
    seen.lock().unwrap().0 = false;
    let done = reloader.apply(config(TEXT)).await.unwrap();
    assert_eq!(done.changes, Vec::<String>::new());
    let missing = reloader.give("none", Given::default());
    assert_eq!(missing, Err(Refused::NoPool("none".to_owned())));
}

#[tokio::test]
async fn the_file_is_read_again() {
    let file = std::env::temp_dir().join(format!("twinring-reload-{}.yml", std::process::id()));
    fs::write(&file, TEXT).unwrap();
    let source = Source { file: file.clone(), compat: false };
    let (swap, _) = swap();
    let admin = Arc::default();
    let reloader = Reloader::new(config(TEXT), Some(source), swap, Arc::clone(&admin));
    fs::write(&file, TEXT.replace(":1 b", ":3 b")).unwrap();
    let done = reloader.reload("test").await.unwrap();
    assert_eq!(done.changes, ["pools.web.servers: b has weight 3 now"]);
    fs::write(&file, "pools: { web: {} }").unwrap();
    let invalid = reloader.reload("test").await.unwrap_err();
    assert!(matches!(&invalid, Refused::Invalid(text) if text.contains("listen")), "{invalid}");
    fs::remove_file(&file).unwrap();
    assert!(matches!(reloader.reload("test").await, Err(Refused::Invalid(_))));
    assert_eq!(admin.get(AdminMetric::ReloadsOk), 1);
    assert_eq!(admin.get(AdminMetric::ReloadsRefused), 2);
}
