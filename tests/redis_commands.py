#!/usr/bin/env python3
"""Writes the commands of a running Redis server, as it describes them itself, one a line:

    name arity access keys

Access is R, W or - (neither); for a command with subcommands what the most of them may do. Keys are
written as the table in src/protocol/redis/commands.rs has them, or "unknown" where it has no word for
them. What a command is for, by COMMAND DOCS, follows behind a #.

    tests/redis_commands.py [HOST:]PORT
"""

import socket
import sys


def connect(address):
    host, _, port = address.rpartition(":")
    return socket.create_connection((host or "127.0.0.1", int(port))).makefile("rwb")


def ask(server, *words):
    server.write(b"*%d\r\n" % len(words))
    for word in words:
        server.write(b"$%d\r\n%s\r\n" % (len(word), word.encode()))
    server.flush()
    return answer(server)


def answer(server):
    kind, rest = server.read(1), server.readline().rstrip(b"\r\n")
    if kind in b"+-":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return server.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
    return [answer(server) for _ in range(int(rest))]


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2])) if flat else {}


def specification(described):
    """One key specification: how its beginning is found, and how many keys there are."""
    begin, find = (pairs(pairs(described)[part]) for part in ("begin_search", "find_keys"))
    begin_values = tuple(pairs(begin["spec"]).values())
    find_values = tuple(pairs(find["spec"]).values())
    return (begin["type"], *begin_values), (find["type"], *find_values)


ONE = ("range", 0, 1, 0)
REST = ("range", -1, 1, 0)
COUNTED = ("keynum", 0, 1, 1)


def keys(name, specifications):
    """The specifications of a command, in the words of the table."""
    match specifications:
        case []:
            return "none"
        case [(("index", at), ("range", 0, 1, 0))]:
            return f"at {at}"
        case [(("index", at), ("range", last, step, 0))]:
            return f"every {at} {last if last < 0 else at + last} {step}"
        case [(("index", at), found)] if found == COUNTED:
            return f"counted {at}"
        case [(("index", at), first), (("index", then), second)] if first == ONE and then == at + 1:
            if second == ONE:
                return f"every {at} {then} 1"
            if second == REST:
                return f"every {at} -1 1"
            if second == COUNTED and at == 1:
                return f"counted into {then}"
        case [(("keyword", "STREAMS", at), ("range", -1, 1, 2))]:
            return f"streams {at}"
        case [(("index", 1), first), (("keyword", "STORE", at), _), (("keyword", "STOREDIST", _), _)]:
            return f"stored {at}"
    # What SORT's patterns name cannot be told from its words; where it stores can.
    if name == "SORT":
        return "stored 2"
    if name == "SORT_RO":
        return "every 1 1 1"
    return "unknown"


def access(flags):
    return "W" if "write" in flags else "R" if "readonly" in flags else "-"


def line(described, docs):
    name, arity, flags, specifications, subcommands = (described[at] for at in (0, 1, 2, 8, 9))
    name = name.upper()
    specifications = [specification(each) for each in specifications]
    if subcommands:
        under = [(access(sub[2]), [specification(each) for each in sub[8]]) for sub in subcommands]
        keyed = [(mode, found) for mode, found in under if found]
        specifications = keyed[0][1] if keyed else []
        flags = {"W": ["write"], "R": ["readonly"]}.get(max((m for m, _ in keyed), default="-"), [])
    found = keys(name, specifications)
    summary = pairs(docs.get(name.lower(), [])).get("summary", "")
    return f"{name} {arity} {access(flags)} {found} # {summary}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    server = connect(sys.argv[1])
    docs = pairs(ask(server, "COMMAND", "DOCS"))
    for described in sorted(ask(server, "COMMAND")):
        print(line(described, docs))


if __name__ == "__main__":
    main()
