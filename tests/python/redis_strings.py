"""redis-py at a cache server: strings, keys, expiry, transactions, both versions of the protocol.

    redis_strings.py PORT
"""

import asyncio
import sys
import threading
import time

import redis
import redis.asyncio
from redis_client import large, pipelines, split, threads


def fails(action, *arguments, **named):
    try:
        action(*arguments, **named)
    except redis.ResponseError:
        return
    raise AssertionError(f"{arguments} was not refused")


def strings(client):
    assert client.set("a", "1") is True
    assert client.get("a") == b"1"
    assert client.get("missing") is None
    assert client.set("a", "2", nx=True) is None
    assert client.set("missing", "2", xx=True) is None
    assert client.set("a", "2", get=True) == b"1"
    assert client.setnx("a", "3") is False and client.setnx("b", "3") is True
    assert client.getset("a", "4") == b"2"
    assert client.getdel("b") == b"3" and client.getdel("b") is None
    assert client.append("a", "56") == 3
    assert client.strlen("a") == 3
    assert client.getrange("a", 1, -1) == b"56" and client.substr("a", 0, 0) == b"4"
    assert client.setrange("a", 1, "xyz") == 4
    assert client.get("a") == b"4xyz"
    assert client.msetnx({"m1": "1", "m2": "2"}) is True
    assert client.msetnx({"m2": "1", "m3": "2"}) is False
    assert client.mget("m1", "m2", "m3") == [b"1", b"2", None]
    assert client.lcs("m1", "m1") == b"1"
    client["item"] = "x"
    assert client["item"] == b"x" and "item" in client
    del client["item"]
    assert "item" not in client


def numbers(client):
    assert client.incr("n") == 1
    assert client.incr("n", 10) == 11
    assert client.decr("n") == 10
    assert client.decrby("n", 20) == -10
    assert client.incrbyfloat("f", 1.5) == 1.5
    client.set("text", "x")
    fails(client.incr, "text")
    assert client.setbit("bits", 7, 1) == 0
    assert client.getbit("bits", 7) == 1 and client.getbit("bits", 100) == 0
    assert client.bitcount("bits") == 1


def expiry(client):
    client.set("ttl", "x", ex=1000)
    assert 999 <= client.ttl("ttl") <= 1000
    assert 990_000 < client.pttl("ttl") <= 1_000_000
    client.set("ttl", "y", keepttl=True)
    assert 999 <= client.ttl("ttl") <= 1000
    assert client.persist("ttl") is True and client.ttl("ttl") == -1
    assert client.ttl("missing") == -2
    assert client.expire("ttl", 2000) is True
    assert client.expire("ttl", 1000, gt=True) is False
    assert client.expire("ttl", 3000, nx=True) is False
    assert client.pexpire("ttl", 500_000, lt=True) is True
    at = int(time.time()) + 5000
    assert client.expireat("ttl", at) is True
    assert client.expiretime("ttl") == at and client.pexpiretime("ttl") == at * 1000
    assert client.getex("ttl", persist=True) == b"y" and client.ttl("ttl") == -1
    assert client.getex("ttl", ex=100) == b"y" and 99 <= client.ttl("ttl") <= 100
    assert client.setex("ttl", 100, "z") and client.psetex("ttl", 100_000, "z")
    client.set("short", "x", px=100)
    end = time.monotonic() + 10
    while client.get("short") is not None:
        assert time.monotonic() < end, "it does not expire"
    fails(client.set, "ttl", "x", ex=0)


def keys(client):
    client.flushall()
    names = {f"k:{number}" for number in range(300)}
    client.mset({name: "x" for name in names})
    assert client.dbsize() == 300
    assert {key.decode() for key in client.keys("k:*")} == names
    assert {key.decode() for key in client.scan_iter(match="k:*", count=50)} == names
    assert client.keys("k:[12]") and client.randomkey().decode() in names
    assert client.type("k:1") == b"string" and client.type("missing") == b"none"
    assert client.exists("k:1", "k:1", "missing") == 2
    assert client.rename("k:1", "r:1") is True and client.get("k:1") is None
    assert client.renamenx("r:1", "k:2") is False
    fails(client.rename, "missing", "x")
    assert client.copy("k:2", "c:2") is True and client.copy("k:2", "c:2") is False
    assert client.copy("k:2", "c:2", replace=True) is True
    assert client.object("encoding", "k:2") in (b"embstr", b"raw", b"int")
    assert client.flushdb() and client.dbsize() == 0


def transactions(client):
    with client.pipeline() as pipe:
        pipe.set("t", "1").incr("t").get("t")
        assert pipe.execute() == [True, 2, b"2"]
    with client.pipeline() as pipe:
        pipe.watch("t")
        client.set("t", "9")
        pipe.multi()
        pipe.set("t", "10")
        try:
            pipe.execute()
            raise AssertionError("a changed key was not seen")
        except redis.WatchError:
            pass
    assert client.get("t") == b"9"

    def add(pipe):
        pipe.multi()
        pipe.incr("t")

    assert client.transaction(add, "t") == [10]


def servers(client):
    assert client.ping() and client.echo("hello") == b"hello"
    assert client.info()["redis_version"] and client.info("memory")["maxmemory"] >= 0
    assert client.config_get("maxmemory-policy")
    assert client.client_setname("test") and client.client_getname() in ("test", b"test")
    assert client.client_id() > 0 and client.client_list()
    assert client.time()[0] > 1_600_000_000
    assert client.command_count() > 50 and "get" in client.command()
    fails(client.execute_command, "NOSUCHCOMMAND", "x")
    fails(client.execute_command, "GET")
    assert client.ping()


def versions(client, port):
    """RESP3, and replies as text."""
    newer = redis.Redis("127.0.0.1", port, protocol=3, decode_responses=True, socket_timeout=10)
    assert newer.set("v", "é") and newer.get("v") == "é" and newer.get("missing") is None
    assert newer.mget("v", "missing") == ["é", None]
    assert newer.config_get("maxmemory").keys() == {"maxmemory"}
    with newer.pipeline() as pipe:
        assert pipe.set("v", "1").incr("v").execute() == [True, 2]
    newer.close()


def asynchronous(port):
    async def work():
        client = redis.asyncio.Redis(host="127.0.0.1", port=port, socket_timeout=10)
        await asyncio.gather(*(client.set(f"as:{n}", n) for n in range(100)))
        found = await asyncio.gather(*(client.get(f"as:{n}") for n in range(100)))
        assert found == [str(n).encode() for n in range(100)]
        await client.aclose()

    asyncio.run(work())


def counting(client):
    """Many threads count; nothing is lost, neither by INCR nor by WATCH and MULTI."""
    client.mset({"c1": 0, "c2": 0})

    def add(pipe):
        value = int(pipe.get("c2"))
        pipe.multi()
        pipe.set("c2", value + 1)

    def work():
        for _ in range(50):
            client.incr("c1")
            client.transaction(add, "c2")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert client.mget("c1", "c2") == [b"200", b"200"]


def main():
    port = int(sys.argv[1])
    client = redis.Redis("127.0.0.1", port, socket_timeout=10)
    client.flushall()
    for check in (strings, numbers, expiry, keys, transactions, servers):
        check(client)
    versions(client, port)
    asynchronous(port)
    for check in (split, pipelines, large, threads, counting):
        check(client)
    client.close()


main()
