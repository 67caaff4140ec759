"""redis-py's client-side cache on a cache of ours: what it keeps is what is there.

    redis_near.py REDIS_PORT MEMCACHE_PORT
"""

import sys
import time

import redis
from pymemcache.client.base import Client
from redis.cache import CacheConfig


def until(condition):
    """Waits for it for ten seconds at most."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it does not come about"


def main():
    port, memcache_port = int(sys.argv[1]), int(sys.argv[2])
    near = redis.Redis("127.0.0.1", port, protocol=3, cache_config=CacheConfig(), socket_timeout=10)
    other = redis.Redis("127.0.0.1", port, socket_timeout=10)
    memcache = Client(("127.0.0.1", memcache_port), timeout=10)

    def kept():
        return near.get_cache().size

    def reads():
        return other.info("stats")["keyspace_hits"]

    other.mset({"a": "1", "b": "1"})
    assert (near.get("a"), near.mget("a", "b")) == (b"1", [b"1", b"1"])
    assert kept() == 2
    before = reads()
    for _ in range(100):
        assert near.get("a") == b"1"
    assert reads() == before, "the copy was not used"
    # A push comes when it comes: who reads its copy at once may be a little early.
    other.set("a", "2")
    until(lambda: (near.get("a"), near.mget("a", "b")) == (b"2", [b"2", b"1"]))
    memcache.set("a", "3")
    until(lambda: near.get("a") == b"3")
    memcache.delete("b")
    until(lambda: near.mget("a", "b") == [b"3", None])
    near.set("a", "4")
    assert near.get("a") == b"4"
    other.set("a", "5", px=50)
    until(lambda: near.get("a") is None)
    other.mset({"a": "6", "b": "6"})
    until(lambda: (near.get("a"), near.get("b")) == (b"6", b"6"))
    other.flushall()
    until(lambda: (near.get("a"), near.get("b")) == (None, None))
    for client in (near, other, memcache):
        client.close()


main()
