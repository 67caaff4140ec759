"""redis-py's pub/sub through the proxy.

    redis_pubsub.py PORT
"""

import sys
import threading

import redis

CHANNELS = [f"channel:{number * 7919}" for number in range(30)]


def listen(port, protocol):
    client = redis.Redis("127.0.0.1", port, protocol=protocol, socket_timeout=10)
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    handled = []
    pubsub.subscribe(*CHANNELS)
    pubsub.psubscribe(**{"news.*": handled.append})
    got = []

    def read():
        while len(got) < len(CHANNELS) or len(handled) < 3:
            message = pubsub.get_message(timeout=5)
            if message is not None:
                got.append((message["channel"], message["data"]))

    # The subscriptions are confirmed before anything is published.
    while not pubsub.subscribed or client.publish("news.first", "0") == 0:
        pubsub.get_message(timeout=0.1)
    reader = threading.Thread(target=read)
    reader.start()
    for channel in CHANNELS:
        while client.publish(channel, channel.upper()) == 0:
            pass
    for number in range(3):
        client.publish(f"news.{number}", number)
    reader.join(20)
    assert not reader.is_alive(), (len(got), len(handled))
    assert set(got) >= {(name.encode(), name.upper().encode()) for name in CHANNELS}, got
    pubsub.unsubscribe()
    pubsub.punsubscribe()
    pubsub.close()
    assert client.ping()


def main():
    for protocol in (2, 3):
        listen(int(sys.argv[1]), protocol)


main()
