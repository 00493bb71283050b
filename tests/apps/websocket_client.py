"""Talks to the application of wire_server.py with the library websockets: websocket_client.py PORT HOST CA."""

import os
import socket
import ssl
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

port, host, ca = sys.argv[1:4]
trust = ssl.create_default_context(cafile=ca)


def open_socket(path, **options):
    return connect(
        f"wss://{host}:{port}{path}",
        sock=socket.create_connection(("127.0.0.1", int(port))),
        ssl=trust,
        server_hostname=host,
        subprotocols=["chat"],
        max_size=8 << 20,
        **options,
    )


# Texts and bytes of all sizes, compressed and not, and a ping.
for compression in ("deflate", None):
    with open_socket("/", compression=compression) as client:
        assert client.subprotocol == "chat"
        client.send("headers")
        assert client.recv(timeout=20) == "https"
        for size in (0, 1, 125, 126, 65535, 65536, 3 << 20):
            client.send("é" * size)
            assert client.recv(timeout=60) == "é" * size
            data = os.urandom(size)
            client.send(data)
            assert client.recv(timeout=60) == data
        assert client.ping().wait(20)


def closed(path):
    with open_socket(path) as client:
        try:
            client.recv(timeout=20)
        except ConnectionClosed as end:
            return end.rcvd
    raise AssertionError("the connection was not closed")


# The application closes, refuses, and dies.
end = closed("/close")
assert (end.code, end.reason) == (4001, "because"), end
try:
    open_socket("/no")
    raise AssertionError("the handshake succeeded")
except InvalidStatus as error:
    assert error.response.status_code == 403, error
end = closed("/die")
assert end is not None and end.code == 1001, end
print("done")
