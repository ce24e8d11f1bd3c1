"""A connection of the endpoint keeps nothing of what it has answered, and always has an end."""

import asyncio
import contextlib
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from k6_sweep.api.connection import Connection
from k6_sweep.api.crowd import Crowd

KEEP_ALIVE = 1
HEADERS = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nX: " + b"x" * 10_000 + b"\r\n\r\n"
ANSWER = b"no"
Send = Callable[[dict[str, Any]], Any]


async def refuse(scope: dict[str, Any], receive: object, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """Answer without reading the body, as the endpoint does without the token."""
    head = [(b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 403, "headers": head})
    await send({"type": "http.response.body", "body": ANSWER})


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[list[Connection], socket.socket]]:
    """Yield a connection of the endpoint, in a list that alone holds it, and its client's socket."""
    config = uvicorn.Config(
        refuse, loop="asyncio", ws="none", lifespan="off", log_config=None, timeout_keep_alive=KEEP_ALIVE
    )
    config.load()
    listening = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listening.getsockname())
    accepted, _ = listening.accept()
    listening.close()
    for each in (client, accepted):
        each.setblocking(False)
    made = [Connection(config, ServerState(), Crowd(10, 10**6), "127.0.0.1")]
    transport = (await asyncio.get_running_loop().connect_accepted_socket(lambda: made[0], accepted))[0]
    try:
        yield made, client
    finally:
        client.close()
        transport.abort()
        await asyncio.sleep(0)  # the loop closes its socket


async def answered(client: socket.socket, request: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, request)
    received = b""
    while not received.endswith(ANSWER):
        received += await loop.sock_recv(client, 4096)


def test_an_idle_connection_holds_no_headers() -> None:
    """After an answer, the headers of its request are gone: idle connections are counted without them."""

    async def run() -> None:
        async with connected() as ((connection,), client):
            await answered(client, HEADERS + b"{}")
            assert [connection.headers, connection.scope, connection.cycle.scope] == [None] * 3

    asyncio.run(run())


def test_a_reset_connection_is_gone() -> None:
    """No timer holds a connection that its client has reset."""

    async def run() -> None:
        async with connected() as (made, client):
            await answered(client, HEADERS + b"{}")
            connection = weakref.ref(made.pop())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            for _ in range(10):
                await asyncio.sleep(0.01)
            assert connection() is None

    asyncio.run(run())


def test_a_body_after_its_answer() -> None:
    """A connection whose body came after the answer is closed when it has been idle, like any other."""

    async def run() -> None:
        async with connected() as (_, client), asyncio.timeout(10 * KEEP_ALIVE):
            await answered(client, HEADERS)
            await asyncio.get_running_loop().sock_sendall(client, b"{}")
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""

    asyncio.run(run())
