//! Signals: the orders with time under control, and real ones sent to this process.

use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;

use crate::control::parts::ControlPlane;
use crate::control::signals::{Caught, DRAIN_POLL, Duty, Order, Signals, signals_of};
use crate::control::testing::plane;
use crate::metrics::WorkerMetric;
use crate::signal::Phase;

fn caught(order: Order) -> Caught {
    Caught { number: 15, name: "SIGTERM", order }
}

/// A plane that counts its wakes, with `clients` clients.
fn busy(clients: u64) -> (ControlPlane, Arc<AtomicU32>) {
    let wakes = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&wakes);
    let plane = plane(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    plane.registry.layout().workers[1].add(WorkerMetric::Connections, clients);
    (plane, wakes)
}

/// Obeys `orders` and then waits for more; returns the exit code.
async fn obeyed(plane: &ControlPlane, orders: &[Order]) -> u8 {
    let (sender, mut receiver) = mpsc::channel(16);
    for order in orders {
        sender.send(caught(*order)).await.unwrap();
    }
    Duty::new(plane).until_end(async || receiver.recv().await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_the_last_client_is_gone() {
    let (plane, wakes) = busy(1);
    let begun = Instant::now();
    let leave = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(plane.life.phase(), Phase::Draining);
        plane.registry.layout().workers[1].sub(WorkerMetric::Connections, 1);
    };
    let (code, ()) = tokio::join!(obeyed(&plane, &[Order::Drain]), leave);
    assert_eq!(code, 0);
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(3) + DRAIN_POLL * 4);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_takes_too_long_ends_all_the_same() {
    let (plane, _) = busy(1);
    let begun = Instant::now();
    assert_eq!(obeyed(&plane, &[Order::Drain]).await, 0);
    assert_eq!(begun.elapsed().as_secs(), plane.reloader.current().drain_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_second_request_to_end_is_obeyed_at_once() {
    let (plane, _) = busy(1);
    let begun = Instant::now();
    assert_eq!(obeyed(&plane, &[Order::Drain, Order::Reopen, Order::Drain]).await, 1);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn levels_step_and_exit_needs_no_drain() {
    let (plane, wakes) = busy(1);
    let orders = [Order::Louder, Order::Nothing, Order::Louder, Order::Quieter, Order::Exit];
    assert_eq!(obeyed(&plane, &orders).await, 1);
    assert_eq!(plane.log.level(), LevelFilter::DEBUG);
    assert_eq!(plane.life.phase(), Phase::Starting);
    assert_eq!(wakes.load(Ordering::Relaxed), 0);
}

#[test]
fn in_compat_term_keeps_its_default_and_int_exits() {
    let order = |compat, name| {
        signals_of(compat).into_iter().find(|row| row.1 == name).map(|(_, _, order)| order)
    };
    assert_eq!(order(true, "SIGTERM"), None);
    assert_eq!(order(true, "SIGINT"), Some(Order::Exit));
    assert_eq!(order(true, "SIGUSR1"), Some(Order::Nothing));
    assert_eq!(order(true, "SIGHUP"), Some(Order::Reopen));
    assert_eq!(order(false, "SIGHUP"), Some(Order::Reload));
    assert_eq!(order(false, "SIGTERM"), Some(Order::Drain));
    assert_eq!(order(false, "SIGINT"), Some(Order::Drain));
    assert_eq!(order(false, "SIGUSR1"), Some(Order::Reopen));
}

/// Only such as end nothing: every test of this process that catches signals gets them.
#[tokio::test]
async fn real_signals_arrive_under_their_names() {
    let mut signals = Signals::catch(false).unwrap();
    for (name, order) in [("TTIN", Order::Louder), ("TTOU", Order::Quieter), ("HUP", Order::Reload)]
    {
        let pid = process::id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
        let caught = signals.next().await;
        assert_eq!((caught.name, caught.order), (format!("SIG{name}").as_str(), order));
    }
}
