"""redis-py through the proxy: single commands, pipelines, split commands, large values, scripts.

    redis_client.py PORT [PASSWORD]

With TLS_CA=FILE in the environment over TLS.
"""

import os
import sys
import threading
import time

import redis


def commands(client):
    assert client.ping()
    assert client.set("a", "1")
    assert client.get("a") == b"1"
    assert client.incr("a") == 2
    assert client.set("ttl", "x", ex=1000)
    assert 0 < client.ttl("ttl") <= 1000
    assert client.hset("h", mapping={"a": 1, "b": 2}) == 2
    assert client.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert client.rpush("l", *range(100)) == 100
    assert client.lrange("l", 0, -1) == [str(n).encode() for n in range(100)]
    assert client.sadd("s", "x", "y") == 2
    assert client.smembers("s") == {b"x", b"y"}
    assert client.zadd("z", {"one": 1, "two": 2}) == 2
    assert client.zrange("z", 0, -1, withscores=True) == [(b"one", 1.0), (b"two", 2.0)]
    assert client.eval("return {KEYS[1], ARGV[1]}", 1, "a", "b") == [b"a", b"b"]
    assert [key for key, _ in client.hscan_iter("h")] == [b"a", b"b"]
    assert client.setbit("bits", 7, 1) == 0
    assert client.echo("hello") == b"hello"
    assert client.command_count() > 50


def split(client):
    items = {f"split:{number}": f"value {number}" for number in range(1000)}
    assert client.mset(items)
    keys = list(items)
    assert client.mget(keys) == [value.encode() for value in items.values()]
    assert client.mget("missing", keys[3], "missing") == [None, b"value 3", None]
    assert client.exists(*keys[:10]) == 10
    assert client.touch(*keys[:10]) == 10
    assert client.unlink(*keys[:10]) == 10
    assert client.delete(*keys) == 990
    assert client.mget(keys) == [None] * 1000


def pipelines(client):
    with client.pipeline(transaction=False) as pipe:
        for number in range(5000):
            pipe.set(f"p{number}", number)
            pipe.get(f"p{number}")
        replies = pipe.execute()
    assert replies[0::2] == [True] * 5000
    assert replies[1::2] == [str(number).encode() for number in range(5000)]
    with client.pipeline(transaction=False) as pipe:
        pipe.set("text", "x").incr("text").get("text")
        replies = pipe.execute(raise_on_error=False)
    assert replies[0] is True and replies[2] == b"x"
    assert isinstance(replies[1], redis.ResponseError), replies


def large(client):
    for size in (0, 1, 4096, 65536, 1_000_000, 10_000_000):
        value = (bytes(range(256)) * (size // 256 + 1))[:size]
        assert client.set("large", value)
        assert client.get("large") == value
    assert client.mget("large", "missing", "large") == [value, None, value]


def refused(client):
    for words in (("KEYS", "*"), ("MONITOR",), ("NOSUCHCOMMAND", "x")):
        try:
            client.execute_command(*words)
            raise AssertionError(f"{words} was not refused")
        except redis.ResponseError:
            pass
        assert client.ping()


def transactions(client):
    client.set("{n}a", 1)
    with client.pipeline() as pipe:
        assert pipe.incr("{n}a").get("{n}a").execute() == [2, b"2"]
    with client.pipeline() as pipe:
        pipe.watch("{n}a")
        assert pipe.get("{n}a") == b"2"
        client.set("{n}a", 10)
        pipe.multi()
        pipe.incr("{n}a")
        try:
            pipe.execute()
            raise AssertionError("what was watched has changed")
        except redis.WatchError:
            pass
    client.transaction(lambda pipe: (pipe.multi(), pipe.incr("{n}a")), "{n}a")
    assert client.get("{n}a") == b"11"
    apart = [f"apart:{number * 7919}" for number in range(100)]
    try:
        with client.pipeline() as pipe:
            for key in apart:
                pipe.set(key, "x")
            pipe.execute()
        alone = True
    except redis.RedisError as error:
        # With several servers; with one it is done.
        assert "CROSSSLOT" in str(error), error
        alone = False
    assert client.exists(*apart) == (100 if alone else 0)


def blocking(client):
    started = time.monotonic()
    assert client.blpop("{n}list", timeout=1) is None
    assert time.monotonic() - started < 5
    popped = []
    waiter = threading.Thread(target=lambda: popped.append(client.blpop("{n}list", timeout=9)))
    waiter.start()
    client.rpush("{n}list", "v")
    waiter.join()
    assert popped == [(b"{n}list", b"v")], popped
    lock = client.lock("{n}lock", timeout=5)
    assert lock.acquire(blocking_timeout=1)
    assert not client.lock("{n}lock").acquire(blocking=False)
    lock.release()
    client.register_script("return redis.call('incr', KEYS[1])")(keys=["{n}counter"])
    assert client.get("{n}counter") == b"1"


def threads(client):
    """One pool of connections, many threads: nobody gets another's reply."""
    wrong = []

    def work(name):
        for number in range(300):
            word = f"{name}:{number}"
            client.set(name, word)
            if client.get(name) != word.encode():
                wrong.append(word)

    workers = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, wrong[:5]


def main():
    password = sys.argv[2] if len(sys.argv) > 2 else None
    ca = os.environ.get("TLS_CA")
    secure = {"ssl": True, "ssl_ca_certs": ca} if ca else {}
    port = int(sys.argv[1])
    client = redis.Redis("127.0.0.1", port, password=password, socket_timeout=10, **secure)
    for check in (commands, split, pipelines, large, refused, transactions, blocking, threads):
        check(client)
    client.close()


if __name__ == "__main__":
    main()
