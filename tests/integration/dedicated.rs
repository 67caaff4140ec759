//! Sessions with a server connection of their own: what they leave behind, and what ends them.

use std::time::Duration;

use crate::support::{Client, LONG, PoolSpec, Proxy, Redis, wait_until};

const RESET: &str = "-ERR Connection reset by peer\r\n";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";

struct Stand {
    proxy: Proxy,
    redis: Redis,
}

impl Stand {
    fn start(limits: &str) -> Self {
        let redis = Redis::start(&[]);
        let pool = PoolSpec::redis(&[redis.port()]).set("timeout", 300);
        let pool = if limits.is_empty() { pool } else { pool.set("limits", limits) };
        Self { proxy: Proxy::twinring(pool), redis }
    }

    fn client(&self) -> Client {
        Client::connect(self.proxy.port())
    }

    fn direct(&self) -> Client {
        Client::connect(self.redis.port())
    }

    /// A figure of the server's INFO.
    fn info(&self, name: &str) -> u64 {
        let mut client = self.direct();
        client.send("INFO\r\n");
        let text = String::from_utf8(client.redis_reply()).expect("a text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("{name}:\n{text}"))
    }

    fn lent(&self) -> u64 {
        self.proxy.metrics().get("twinring_backend_dedicated_connections", &[]) as u64
    }

    fn wait_for_blocked(&self, count: u64) {
        assert!(wait_until(LONG, || self.info("blocked_clients") == count), "not {count} blocked");
    }

    fn wait_for_lent(&self, count: u64) {
        assert!(wait_until(LONG, || self.lent() == count), "{} are lent, not {count}", self.lent());
    }
}

#[test]
fn a_blocked_session_holds_nobody_up_and_is_never_late() {
    let stand = Stand::start("");
    let (mut blocked, mut other) = (stand.client(), stand.client());
    blocked.send("BLPOP list 0\r\nGET key\r\n");
    stand.wait_for_blocked(1);
    // Longer than the pool's timeout, and by the server's clock.
    other.ask("BLPOP nothing 0.7\r\n", "*-1\r\n");
    other.ask("SET key v\r\n", "+OK\r\n");
    assert_eq!(stand.lent(), 1);
    other.ask("RPUSH list x\r\n", ":1\r\n");
    blocked.expect("*2\r\n$4\r\nlist\r\n$1\r\nx\r\n$1\r\nv\r\n");
    stand.wait_for_lent(0);
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let stand = Stand::start("");
    let before = stand.info("connected_clients");
    for begun in [
        "BLPOP list 0\r\n",
        "BLPOP list 0\r\nGET a\r\nGET b\r\n",
        "MULTI\r\nSET key 1\r\n",
        "WATCH key\r\nMULTI\r\n",
        "WATCH key\r\nBLPOP list 0\r\n",
    ] {
        let mut client = stand.client();
        client.send(begun);
        stand.wait_for_lent(1);
        if begun.contains("BLPOP") {
            stand.wait_for_blocked(1);
        }
        drop(client);
        stand.wait_for_lent(0);
        stand.wait_for_blocked(0);
        // The connection has gone with it; that of all sessions may have come meanwhile.
        assert!(wait_until(LONG, || stand.info("connected_clients") <= before + 1), "{begun:?}");
    }
    let mut client = stand.client();
    client.ask("RPUSH list x\r\n", ":1\r\n");
    client.ask("LLEN list\r\nEXISTS key\r\n", ":1\r\n:0\r\n");
}

#[test]
fn a_connection_is_used_again_but_never_with_what_another_session_began() {
    let stand = Stand::start("");
    let made = || stand.info("total_connections_received");
    let mut client = stand.client();
    client.ask("MULTI\r\nINCR n\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    let before = made();
    for n in 2..50 {
        let mut client = stand.client();
        client.ask("WATCH n\r\nUNWATCH\r\n", "+OK\r\n+OK\r\n");
        client.ask("WATCH n\r\nMULTI\r\nDISCARD\r\n", "+OK\r\n+OK\r\n+OK\r\n");
        client.ask("MULTI\r\nINCR n\r\n", "+OK\r\n+QUEUED\r\n");
        client.ask("NOSUCH\r\n", "-ERR unknown command 'NOSUCH', with args beginning with: \r\n");
        client.ask("EXEC\r\n", ABORTED);
        let done = format!("+OK\r\n+QUEUED\r\n*1\r\n:{n}\r\n");
        client.ask("MULTI\r\nINCR n\r\nEXEC\r\n", done);
    }
    // Who asks for the figure is counted, and while a refused transaction is being dropped there
    // the session that had it may begin the next.
    let made = made() - before;
    assert!(made <= 2, "{made} connections for fifty sessions");
}

#[test]
fn unwatch_is_queued_as_any_command_is_once_a_server_has_the_transaction() {
    let stand = Stand::start("");
    let mut client = stand.client();
    let queued = "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:1\r\n";
    client.ask("WATCH n\r\nMULTI\r\nUNWATCH\r\nINCR n\r\nEXEC\r\n", queued);
    // It does not undo what is watched: that is over with EXEC.
    client.ask("WATCH n\r\n", "+OK\r\n");
    stand.client().ask("INCR n\r\n", ":2\r\n");
    let unseen = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n";
    client.ask("MULTI\r\nUNWATCH\r\nINCR n\r\nEXEC\r\n", unseen);
    let later = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:3\r\n+OK\r\n";
    client.ask("MULTI\r\nINCR n\r\nUNWATCH\r\nEXEC\r\n", later);
}

#[test]
fn what_is_in_the_middle_fails_with_its_server_and_only_that() {
    let mut stand = Stand::start("");
    let (mut queueing, mut watching, mut blocked) =
        (stand.client(), stand.client(), stand.client());
    queueing.ask("MULTI\r\nSET a 1\r\n", "+OK\r\n+QUEUED\r\n");
    watching.ask("WATCH a\r\n", "+OK\r\n");
    blocked.send("BLPOP list 0\r\n");
    stand.wait_for_blocked(1);
    stand.redis.restart();
    blocked.expect(RESET);
    stand.wait_for_lent(0);
    queueing.ask("SET a 2\r\n", RESET);
    queueing.ask("EXEC\r\n", ABORTED);
    // What was watched may have changed unseen.
    watching.ask("MULTI\r\n", "+OK\r\n");
    watching.ask("SET a 3\r\n", RESET);
    watching.ask("EXEC\r\n", ABORTED);
    for client in [&mut queueing, &mut watching, &mut blocked] {
        client.ask("MULTI\r\nGET a\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
    }
}

#[test]
fn an_exec_whose_server_went_silent_is_late_and_not_repeated() {
    let stand = Stand::start("");
    let mut client = stand.client();
    client.ask("MULTI\r\nINCR n\r\n", "+OK\r\n+QUEUED\r\n");
    stand.redis.process.freeze();
    client.ask("EXEC\r\n", "-ERR Connection timed out\r\n");
    stand.redis.process.thaw();
    stand.wait_for_lent(0);
    client.ask("GET n\r\n", "$1\r\n1\r\n");
}

#[test]
fn so_many_sessions_as_the_pool_says_have_a_connection_of_their_own() {
    let stand = Stand::start("{ dedicated_connections: 2 }");
    let mut clients: Vec<Client> = (0..2).map(|_| stand.client()).collect();
    for client in &mut clients {
        client.ask("MULTI\r\nGET a\r\n", "+OK\r\n+QUEUED\r\n");
    }
    let mut third = stand.client();
    let full = "-ERR too many dedicated connections\r\n";
    third.ask("BLPOP list 0\r\n", full);
    third.ask("WATCH a\r\n", full);
    third.ask("MULTI\r\nGET a\r\nEXEC\r\n", format!("+OK\r\n{full}{ABORTED}"));
    third.ask("GET a\r\n", "$-1\r\n");
    drop(clients);
    stand.wait_for_lent(0);
    third.ask("MULTI\r\nGET a\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
}

/// The end of a client's side means that it has gone only while it waits for others.
#[test]
fn a_client_that_has_waited_once_still_gets_what_it_asks_for_later() {
    let stand = Stand::start("");
    let mut client = stand.client();
    client.ask("WATCH a\r\nBLPOP list 0.01\r\n", "+OK\r\n*-1\r\n");
    stand.redis.process.freeze();
    client.send("MULTI\r\nGET a\r\nEXEC\r\n");
    client.half_close();
    // It is read to its end while the server has not answered.
    stand.client().ask("GET a\r\n", "-ERR Connection timed out\r\n");
    stand.redis.process.thaw();
    let late = "-ERR Connection timed out\r\n";
    client.expect(late.repeat(3));
    client.expect_closed();
}

/// It has gone, though there is more of it to serve than the command that waits.
#[test]
fn a_client_that_ended_before_its_command_could_wait_is_not_kept() {
    let stand = Stand::start("");
    let mut client = stand.client();
    stand.redis.process.freeze();
    client.send("GET a\r\nBLPOP list 0\r\nGET b\r\n");
    client.half_close();
    stand.redis.process.thaw();
    client.redis_reply();
    client.expect_closed();
    stand.wait_for_lent(0);
    stand.wait_for_blocked(0);
}

#[test]
fn a_large_value_within_a_transaction_is_part_of_it() {
    let stand = Stand::start("");
    let mut client = stand.client();
    let value = "x".repeat(3 << 20);
    client.ask("MULTI\r\n", "+OK\r\n");
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len()));
    client.expect("+QUEUED\r\n");
    stand.direct().ask("EXISTS k\r\n", ":0\r\n");
    client.ask("STRLEN k\r\nEXEC\r\n", format!("+QUEUED\r\n*2\r\n+OK\r\n:{}\r\n", value.len()));
}

#[test]
fn a_drain_does_not_wait_for_those_who_wait_for_others() {
    let mut stand = Stand::start("");
    let mut blocked = stand.client();
    blocked.send("BLPOP list 0\r\n");
    stand.wait_for_blocked(1);
    stand.proxy.terminate();
    let ended = stand.proxy.process.wait_end(Duration::from_secs(5));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    blocked.expect_closed();
}
