//! The accept loop of both doors: few connections at a time, each for a short time.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections of one door at a time; further ones wait in the backlog. Operators and scrapers
/// are few, and a flood must not cost memory.
const CONNECTIONS: usize = 16;
/// Time of one connection, from accept to close: with [`CONNECTIONS`] it bounds how long idle
/// ones can keep others waiting.
const CONNECTION_TIME: Duration = Duration::from_secs(5);
/// Pause after a failed accept, such as for want of descriptors: no spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever and has `answer` deal with each connection.
pub(crate) async fn serve<F>(listener: TcpListener, answer: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = timeout(CONNECTION_TIME, answer(stream));
                tokio::spawn(async move {
                    let _ = answer.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "admin accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
