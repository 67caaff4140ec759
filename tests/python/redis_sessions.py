"""redis-py through the proxy, in both versions of the protocol: transactions, commands that block,
scripts, and pipelines of all these, written before any reply is read.

    redis_sessions.py PORT
"""

import sys
import threading

import redis

PORT = int(sys.argv[1])


def connect(protocol):
    return redis.Redis("127.0.0.1", PORT, protocol=protocol, socket_timeout=20)


def versions(client, protocol):
    """Replies are of the version that was asked for."""
    client.hset("hash", mapping={"a": 1})
    client.zadd("scores", {"one": 1.5})
    connection = client.connection_pool.get_connection("x")
    connection.send_command("HGETALL", "hash")
    raw = {2: [b"a", b"1"], 3: {b"a": b"1"}}
    assert connection.read_response() == raw[protocol]
    connection.send_command("ZSCORE", "scores", "one")
    assert connection.read_response() == {2: b"1.5", 3: 1.5}[protocol]
    connection.send_command("HELLO")
    hello = connection.read_response()
    if protocol == 2:
        hello = dict(zip(hello[::2], hello[1::2]))
    assert hello[b"proto"] == protocol, hello
    client.connection_pool.release(connection)
    assert client.hgetall("hash") == {b"a": b"1"}
    assert client.mget("none", "none2") == [None, None]


def transactions(client, _):
    """Many at once raise one number: what one has watched fails for the others."""
    client.set("{t}n", 0)

    def raise_it():
        for _ in range(20):
            client.transaction(
                lambda pipe: (n := int(pipe.get("{t}n")), pipe.multi(), pipe.set("{t}n", n + 1)),
                "{t}n",
            )

    workers = [threading.Thread(target=raise_it) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert client.get("{t}n") == b"80"
    with client.pipeline() as pipe:
        try:
            pipe.set("{t}a", "x").incr("{t}a").get("{t}a").execute()
            raise AssertionError("a text was raised")
        except redis.ResponseError as error:
            assert "not an integer" in str(error), error
    assert client.get("{t}a") == b"x"


def blocking(client, _):
    def then(wait, act):
        got = []
        waiter = threading.Thread(target=lambda: got.append(wait()))
        waiter.start()
        act()
        waiter.join()
        return got[0]

    got = then(lambda: client.brpop(["{b}l", "{b}m"], 10), lambda: client.rpush("{b}m", 1, 2))
    assert list(got) == [b"{b}m", b"2"], got
    got = then(lambda: client.blmove("{b}x", "{b}y", 10), lambda: client.rpush("{b}x", "v"))
    assert got == b"v"
    got = then(lambda: client.blmpop(10, 1, "{b}p", direction="LEFT"), lambda: client.lpush("{b}p", 1))
    assert got == [b"{b}p", [b"1"]], got
    got = then(lambda: client.bzpopmax("{b}z", 10), lambda: client.zadd("{b}z", {"a": 1}))
    assert list(got) == [b"{b}z", b"a", 1.0], got
    got = then(
        lambda: client.xread({"{b}s": "0"}, block=10_000),
        lambda: client.xadd("{b}s", {"f": "v"}, id="1-1"),
    )
    entries = got[b"{b}s"][0] if isinstance(got, dict) else got[0][1]
    assert entries == [(b"1-1", {b"f": b"v"})], got
    client.xgroup_create("{b}s", "group", "$")
    got = then(
        lambda: client.xreadgroup("group", "me", {"{b}s": ">"}, block=10_000),
        lambda: client.xadd("{b}s", {"f": "w"}, id="2-1"),
    )
    entries = got[b"{b}s"][0] if isinstance(got, dict) else got[0][1]
    assert entries == [(b"2-1", {b"f": b"w"})], got
    assert client.xack("{b}s", "group", "2-1") == 1
    assert client.blpop("{b}none", timeout=0.05) is None


def scripts(client, _):
    """EVALSHA first; what a server does not have is loaded at all, and tried again."""
    raised = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    keys = [f"raise:{number * 7919}" for number in range(20)]
    for key in keys:
        client.delete(key)
    assert client.script_flush()
    assert client.script_exists(raised.sha) == [False]
    try:
        client.evalsha(raised.sha, 1, keys[0], 1)
        raise AssertionError("a script that nobody has was run")
    except redis.exceptions.NoScriptError:
        pass
    assert [raised(keys=[key], args=[5]) for key in keys] == [5] * 20
    assert client.script_exists(raised.sha, "f" * 40) == [True, False]
    assert client.script_flush()
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            raised(keys=[key], args=[5], client=pipe)
        assert pipe.execute() == [10] * 20
    client.function_load(
        "#!lua name=mine\nredis.register_function('say', function(k, a) return a[1] end)", True
    )
    assert [client.fcall("say", 1, key, key) for key in keys] == [key.encode() for key in keys]
    assert client.function_delete("mine")


def pipelines(client, _):
    """As jedis does it: all is written, then all is read."""
    connection = client.connection_pool.get_connection("x")
    written, wanted = [], []

    def say(reply, *words):
        written.append(words)
        wanted.append(reply)

    for number in range(300):
        key, text = f"{{j{number}}}", str(number).encode()
        say(b"OK", "SET", key, number)
        say(text, "GET", key)
        say(b"OK", "MULTI")
        say(b"QUEUED", "INCR", key)
        say(b"QUEUED", "PUBLISH", f"{key}c", "x")
        say(b"QUEUED", "GET", key)
        say([number + 1, 0, str(number + 1).encode()], "EXEC")
        say(1, "RPUSH", f"{key}l", number)
        say([f"{key}l".encode(), text], "BLPOP", f"{key}l", 0)
        say(b"OK", "WATCH", key)
        say([str(number + 1).encode(), None], "MGET", key, f"{key}none")
        say(b"OK", "MULTI")
        say(b"QUEUED", "DEL", key)
        say(b"OK", "DISCARD")
        say(1, "DEL", key)
    sender = threading.Thread(
        target=lambda: connection.send_packed_command(connection.pack_commands(written))
    )
    sender.start()
    for words, reply in zip(written, wanted):
        got = connection.read_response()
        assert got == reply, (words, got, reply)
    sender.join()
    client.connection_pool.release(connection)


def listeners(client, _):
    channels = [f"listened:{number * 7919}" for number in range(20)]
    pubsub = client.pubsub()
    pubsub.subscribe(*channels)
    pubsub.psubscribe("listened:*")
    for _ in range(len(channels) + 1):
        assert pubsub.get_message(timeout=10) is not None
    assert sorted(client.pubsub_channels("listened:*")) == sorted(c.encode() for c in channels)
    counts = client.pubsub_numsub(channels[7], "nobody")
    assert counts == [(channels[7].encode(), 1), (b"nobody", 0)], counts
    assert client.pubsub_numpat() == 1
    pubsub.close()
    while client.pubsub_numpat() > 0:
        pass


def main():
    for protocol in (2, 3):
        client = connect(protocol)
        for check in (versions, transactions, blocking, scripts, pipelines, listeners):
            check(client, protocol)
            client.delete("{b}s", "{b}z", "{b}l", "{b}m", "{b}y", "{b}p")
        client.close()


main()
