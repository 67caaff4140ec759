"""pymemcache: every command of the library, large values, many keys.

    memcache_client.py PORT            through the proxy
    memcache_client.py PORT server     at a server, which knows more

With TLS_CA=FILE in the environment over TLS.
"""

import os
import ssl
import sys
import threading
import time

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient
from pymemcache.exceptions import MemcacheClientError, MemcacheIllegalInputError
from pymemcache.serde import pickle_serde


def commands(client):
    assert client.set("a", "1", noreply=False)
    assert client.get("a") == b"1"
    assert client.get("missing") is None
    assert not client.add("a", "2", noreply=False)
    assert client.add("b", "2", noreply=False)
    assert client.replace("b", "3", noreply=False)
    assert not client.replace("missing", "3", noreply=False)
    assert client.append("b", "4", noreply=False)
    assert client.prepend("b", "2", noreply=False)
    assert client.get("b") == b"234"
    value, cas = client.gets("b")
    assert value == b"234"
    assert client.cas("b", "5", cas, noreply=False) is True
    assert client.cas("b", "6", cas, noreply=False) is False
    assert client.cas("missing", "6", cas, noreply=False) is None
    assert client.set("n", "10", noreply=False)
    assert client.incr("n", 5) == 15
    assert client.decr("n", 1) == 14
    assert client.incr("missing", 1) is None
    assert client.touch("n", 100, noreply=False)
    assert client.delete("n", noreply=False)
    assert not client.delete("n", noreply=False)
    assert client.set("gone", "1", expire=-1, noreply=False)
    assert client.get("gone") is None
    assert client.version()


def quiet(client):
    """noreply is the library's default: the next reply must be the next request's."""
    for number in range(500):
        client.set(f"q{number}", str(number), noreply=True)
        if number % 50 == 0:
            assert client.get(f"q{number}") == str(number).encode()
    client.delete("q1", noreply=True)
    assert client.get("q1") is None
    assert client.get("q2") == b"2"


def many(client):
    items = {f"many:{number}": f"value {number}" * (number % 7) for number in range(1000)}
    assert client.set_many(items, noreply=False) == []
    found = client.get_many(list(items))
    assert found == {key: value.encode() for key, value in items.items()}
    found = client.gets_many(list(items)[:100])
    assert {key: value for key, (value, _) in found.items()} == {
        key: items[key].encode() for key in list(items)[:100]
    }
    assert client.delete_many(list(items), noreply=False)
    assert client.get_many(list(items)) == {}


def large(client):
    for size in (0, 1, 4095, 4096, 16384, 65536, 500_000, 1_000_000):
        value = bytes(range(256)) * (size // 256 + 1)
        value = value[:size]
        assert client.set("large", value, noreply=False)
        assert client.get("large") == value
    objects = {"text": "é", "list": list(range(1000))}
    pickling = Client(client.server, serde=pickle_serde, tls_context=client.tls_context)
    assert pickling.set("object", objects, noreply=False)
    assert pickling.get("object") == objects
    pickling.close()


def errors(client):
    try:
        client.get("k" * 251)
    except MemcacheIllegalInputError:
        pass
    assert client.set("text", "x", noreply=False)
    try:
        client.incr("text", 1)
        raise AssertionError("incr of a text")
    except MemcacheClientError:
        pass
    # The library closes after such an error and connects again.
    assert client.get("text") == b"x"


def meta(client):
    """The library has no meta commands of its own: they go by its raw_command, a pipeline of quiet
    ones by its socket, of which raw_command loses what comes in parts."""
    keys = [f"meta:{number}" for number in range(200)]
    for key in keys:
        assert client.raw_command(f"ms {key} {len(key)} T100\r\n{key.upper()}") == b"HD"
    wanted = "".join(f"VA {len(key)} k{key} O{at}\r\n{key.upper()}\r\n" for at, key in enumerate(keys))
    pipeline = "\r\n".join(f"mg {key} k v q O{at}" for at, key in enumerate(keys))
    client.sock.sendall(f"mg none v q\r\n{pipeline}\r\nmn\r\n".encode())
    found = b""
    while not found.endswith(b"MN\r\n"):
        found += client.sock.recv(65536)
    assert found == f"{wanted}MN\r\n".encode(), found
    client.delete("counter", noreply=False)
    assert client.raw_command("ma counter N0 J7") == b"HD"
    assert client.raw_command("ma counter D5") == b"HD"
    assert client.get("counter") == b"12"
    assert client.raw_command(f"md {keys[0]}") == b"HD"
    assert client.raw_command(f"mg {keys[0]} v") == b"EN"
    assert client.raw_command(f"mg {keys[1]} s f") == f"HD s{len(keys[1])} f0".encode()


def whole(client):
    """What only a server answers: statistics, flush, lines that the library does not know."""
    assert client.set("g", "1", expire=1000, noreply=False)
    # Of the library's commands it has none that reads and touches.
    assert client.raw_command("gat 2000 g missing", "END\r\n") == b"VALUE g 0 1\r\n1\r\n"
    line, value, _ = client.raw_command("gats 2000 g", "END\r\n").split(b"\r\n")
    assert value == b"1" and client.cas("g", "2", line.split()[4], noreply=False) is True
    assert client.raw_command("gat -1 g", "END\r\n") == b"VALUE g 0 1\r\n2\r\n"
    assert client.get("g") is None
    assert client.set("short", "1", expire=1, noreply=False)
    end = time.monotonic() + 10
    while client.get("short") is not None:
        assert time.monotonic() < end, "it does not expire"
    assert client.set("n", str(2**64 - 1), noreply=False)
    assert client.incr("n", 2) == 1
    assert client.decr("n", 5) == 0
    figures = client.stats()
    for figure in (b"pid", b"uptime", b"version", b"curr_items", b"cmd_get", b"bytes"):
        assert figure in figures, (figure, figures)
    assert client.stats("settings") and client.stats("items") and client.stats("slabs")
    assert client.raw_command("mn") == b"MN"
    assert client.raw_command("mg n t f") == b"HD t-1 f0"
    assert client.set("later", "x", noreply=False)
    assert client.flush_all(delay=1000, noreply=False)
    assert client.get("later") == b"x"
    assert client.flush_all(noreply=False)
    assert client.get("later") is None
    assert client.raw_command("verbosity 1") == b"OK"


def kinds_of_client(client):
    """The library's other clients, and one pool of connections for many threads."""
    address = client.server
    hashed = HashClient([address], timeout=10)
    assert hashed.set_many({"h1": "1", "h2": "2"}, noreply=False) == []
    assert hashed.get_many(["h1", "h2", "h3"]) == {"h1": b"1", "h2": b"2"}
    hashed.close()
    retrying = RetryingClient(Client(address, timeout=10), attempts=2)
    assert retrying.get("h1") == b"1"
    retrying.close()
    pool = PooledClient(address, max_pool_size=8, timeout=10)
    wrong = []

    def work(name):
        for number in range(300):
            word = f"{name}:{number}"
            pool.set(name, word, noreply=False)
            if pool.get(name) != word.encode():
                wrong.append(word)

    workers = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, wrong[:5]
    pool.close()


def main():
    ca = os.environ.get("TLS_CA")
    secure = ssl.create_default_context(cafile=ca) if ca else None
    address = ("127.0.0.1", int(sys.argv[1]))
    client = Client(address, connect_timeout=5, timeout=10, tls_context=secure)
    checks = [commands, quiet, many, large, errors, meta]
    if sys.argv[2:] == ["server"]:
        checks += [whole, kinds_of_client]
    for check in checks:
        check(client)
    client.quit()


main()
