"""pylibmc, which is libmemcached: every method of its client, on a server of its own.

    pylibmc_client.py PORT [binary]
"""

import sys
import threading
import time

import pylibmc


BINARY = sys.argv[2:] == ["binary"]


def connect(address, **more):
    return pylibmc.Client([address], binary=BINARY, **more)


def fails(error, action, *arguments):
    try:
        action(*arguments)
    except error:
        return
    raise AssertionError(f"{action.__name__} did not fail with {error.__name__}")


def absent(action, *arguments):
    """What there is no item for is answered with a word of its own in the binary protocol alone."""
    if BINARY:
        fails(pylibmc.NotFound, action, *arguments)
    else:
        assert not action(*arguments)


def commands(client):
    assert client.set("a", "1")
    assert client.get("a") == "1"
    assert client.get("missing") is None
    assert client.get("missing", "other") == "other"
    assert not client.add("a", "2")
    assert client.add("b", "2")
    assert client.replace("b", "3")
    absent(client.replace, "missing", "3")
    assert client.append("b", "4")
    assert client.prepend("b", "2")
    assert client.get("b") == "234"
    assert client.touch("b", 100)
    assert not client.touch("missing", 100)
    assert client.delete("b")
    assert not client.delete("b")
    client["map"] = "x"
    assert client["map"] == "x" and "map" in client
    del client["map"]
    assert "map" not in client


def numbers(client):
    assert client.set("n", 10)
    assert client.incr("n") == 11
    assert client.incr("n", 5) == 16
    assert client.decr("n", 1) == 15
    assert client.decr("n", 100) == 0
    assert client.get("n") == 0
    fails(pylibmc.NotFound, client.incr, "missing")
    assert client.set_multi({"1": 1, "2": 2}, key_prefix="n:") == []
    client.incr_multi(["1", "2"], key_prefix="n:", delta=10)
    assert client.get_multi(["1", "2"], key_prefix="n:") == {"1": 11, "2": 12}
    assert client.set("text", "x")
    fails(pylibmc.Error, client.incr, "text")


def comparing(client):
    client.behaviors["cas"] = True
    assert client.set("c", "1")
    value, cas = client.gets("c")
    assert value == "1"
    assert client.cas("c", "2", cas)
    assert not client.cas("c", "3", cas)
    assert client.get("c") == "2"
    assert client.gets("missing") == (None, None)
    fails(pylibmc.NotFound, client.cas, "missing", "1", cas)
    client.behaviors["cas"] = False


def expiring(client):
    assert client.set("long", "x", time=1000)
    assert client.get("long") == "x"
    assert client.set("short", "x", time=1)
    end = time.monotonic() + 10
    while client.get("short") is not None:
        assert time.monotonic() < end, "it does not expire"
    assert client.add("short", "y", time=1000)


def many(client):
    items = {f"many:{number}": f"value {number}" * (number % 7) for number in range(1000)}
    assert client.set_multi(items) == []
    assert client.get_multi(list(items) + ["missing"]) == items
    assert client.add_multi({"many:1": "x", "new:1": "y"}) == ["many:1"]
    assert client.get_multi(["1", "2"], key_prefix="many:") == {"1": items["many:1"], "2": items["many:2"]}
    assert client.delete_multi(list(items))
    assert client.get_multi(list(items)) == {}


def large(client):
    for size in (0, 1, 4095, 4096, 16384, 65536, 500_000, 1_000_000):
        value = (bytes(range(256)) * (size // 256 + 1))[:size]
        assert client.set("large", value)
        assert client.get("large") == value
    text = "a line of text\n" * 50_000
    assert client.set("packed", text, min_compress_len=100)
    assert client.get("packed") == text
    fails(pylibmc.TooBig, client.set, "large", b"x" * (2 << 20))
    assert client.get("packed") == text


def kinds(client):
    for value in (True, 7, -7, 1 << 40, "é", b"\r\n\0", {"list": [1, 2], "none": None}):
        assert client.set("kind", value)
        assert client.get("kind") == value


def ways(client, address):
    """Writes that are not waited for, by either way of the library."""
    for behavior in ("no_block", "_noreply"):
        other = connect(address, behaviors={behavior: True, "tcp_nodelay": True})
        for number in range(500):
            other.set(f"q{number}", f"{behavior} {number}")
        other.delete("q1")
        assert other.get("q1") is None and other.get("q499") == f"{behavior} 499"
        other.disconnect_all()
    clone = client.clone()
    assert clone.get("q2") == "_noreply 2"
    clone.disconnect_all()


def threads(address):
    """A pool of clients, many threads: nobody gets another's reply."""
    pool = pylibmc.ThreadMappedPool(connect(address))
    wrong = []

    def work(name):
        for number in range(300):
            word = f"{name}:{number}"
            with pool.reserve() as client:
                client.set(name, word)
                if client.get(name) != word:
                    wrong.append(word)
        pool.relinquish()

    workers = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, wrong[:5]


def statistics(client):
    ((name, figures),) = client.get_stats()
    assert "127.0.0.1" in str(name)
    figures = {str(key): value for key, value in figures.items()}
    for figure in ("pid", "uptime", "version", "curr_items", "cmd_get", "limit_maxbytes"):
        assert figure in figures, (figure, figures)
    assert int(figures["curr_items"]) > 0
    ((_, settings),) = client.get_stats("settings")
    assert settings
    assert client.flush_all()
    assert client.get("a") is None
    assert client.set("later", "x")
    assert client.flush_all(time=1000)
    assert client.get("later") == "x"


def main():
    address = f"127.0.0.1:{sys.argv[1]}"
    for check in (commands, numbers, comparing, expiring, many, large, kinds):
        # In the binary protocol the library gives up a server where a text is no number.
        client = connect(address)
        check(client)
        client.disconnect_all()
    client = connect(address)
    ways(client, address)
    threads(address)
    statistics(client)
    client.disconnect_all()


main()
