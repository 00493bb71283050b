"""Talks to the application of wire_server.py with the library websockets: websocket_client.py PORT HOST CA.

Its client for threads reads and writes one TLS connection from two threads at the same time, which OpenSSL does not
allow: now and then its first request is lost when the server's session tickets arrive meanwhile. This is its other one.
"""

import asyncio
import os
import socket
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

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


async def received(client, seconds=20):
    return await asyncio.wait_for(client.recv(), seconds)


async def echoes_of_all_sizes(compression):
    async with open_socket("/", compression=compression) as client:
        assert client.subprotocol == "chat"
        await client.send("headers")
        assert await received(client) == "https"
        for size in (0, 1, 125, 126, 65535, 65536, 3 << 20):
            await client.send("é" * size)
            assert await received(client, 60) == "é" * size
            data = os.urandom(size)
            await client.send(data)
            assert await received(client, 60) == data
        await asyncio.wait_for(await client.ping(), 20)


async def one_of_many(number):
    async with open_socket("/") as client:
        await client.send(str(number))
        assert await received(client) == str(number)
    assert client.close_code == 1000


async def closed(path):
    async with open_socket(path) as client:
        try:
            await received(client)
        except ConnectionClosed as end:
            return end.rcvd
    raise AssertionError("the connection was not closed")


async def main():
    # Texts and bytes, compressed and not.
    await echoes_of_all_sizes("deflate")
    await echoes_of_all_sizes(None)
    await asyncio.gather(*(one_of_many(number) for number in range(30)))
    # The application closes, refuses, and dies.
    end = await closed("/close")
    assert (end.code, end.reason) == (4001, "because"), end
    try:
        await open_socket("/no")
        raise AssertionError("the handshake succeeded")
    except InvalidStatus as error:
        assert error.response.status_code == 403, error
    end = await closed("/die")
    assert end is not None and end.code == 1001, end


asyncio.run(main())
print("done")
