"""pymemcache through the proxy: every command of the library, large values, many keys.

    memcache_client.py PORT
"""

import sys

from pymemcache.client.base import Client
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
    pickling = Client(client.server, serde=pickle_serde)
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


def main():
    client = Client(("127.0.0.1", int(sys.argv[1])), connect_timeout=5, timeout=10)
    for check in (commands, quiet, many, large, errors):
        check(client)
    client.quit()


main()
