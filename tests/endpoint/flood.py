"""Stands for clients without the token that hold as many connections as they can, and replace each that is closed."""

import asyncio
import contextlib
import itertools
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from k6_sweep.demo.servers import end_with_parent
from tests.endpoint.served import ADMIN

_AT_ONCE = 64
"""Connections that the flood opens at the same time."""
_LINE = f"POST {ADMIN} HTTP/1.1\r\nHost: x\r\nX-Admin-Token: wrong\r\n"


class Kind(Enum):
    """What each connection of a flood sends, and then waits."""

    HALF_BODIES = f"{_LINE}Content-Length: 64000\r\n\r\n".encode() + b" " * 60_000
    """60 of 64 KB: the endpoint held all of them in memory."""
    IDLE = b""
    """Nothing: the endpoint ran out of descriptors."""
    HALF_HEADERS = f"{_LINE}X: {'x' * 30_000}".encode()
    """Headers that never end."""
    CHUNKS = f"{_LINE}Transfer-Encoding: chunked\r\n\r\n".encode() + b"f000\r\n" + b" " * 0xF000 + b"\r\n"
    """A body without a length that never ends."""
    UNREAD = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20
    """Long answers that nobody reads."""
    PIPELINED = f"{_LINE}Content-Length: 0\r\n\r\n".encode() * 500
    """Hundreds of requests in one packet, whose answers nobody reads."""


@dataclass(frozen=True)
class Flood:
    """The address that it hits, what it sends, and over how many connections."""

    port: int
    kind: Kind
    connections: int
    sources: Sequence[str] = ("127.0.0.1",)
    """Its own addresses."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Hold all connections, from a process of its own."""
        words = [str(self.port), self.kind.name, str(self.connections), *self.sources]
        command = [sys.executable, "-m", "tests.endpoint.flood", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=end_with_parent)  # noqa: PLW1509  # it only calls prctl
        assert process.stdout
        try:
            assert process.stdout.readline() == b"all are open\n"
            yield
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    async def hold_all(self) -> None:
        """Open all connections, and each again when it is closed."""
        opening = asyncio.Semaphore(_AT_ONCE)
        opened = itertools.count(1)

        async def hold(source: str) -> None:
            while True:
                async with opening:
                    connection = socket.socket()
                    connection.setblocking(False)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # it reads nothing
                    connection.bind((source, 0))
                    with contextlib.suppress(OSError, TimeoutError):
                        async with asyncio.timeout(5):
                            loop = asyncio.get_running_loop()
                            await loop.sock_connect(connection, ("127.0.0.1", self.port))
                            await loop.sock_sendall(connection, self.kind.value)
                if next(opened) == self.connections:
                    print("all are open", flush=True)  # noqa: T201  # the parent waits for it
                with contextlib.suppress(OSError):
                    await self._until_closed(connection)
                connection.close()

        async with asyncio.TaskGroup() as group:
            for source in itertools.islice(itertools.cycle(self.sources), self.connections):
                group.create_task(hold(source))

    async def _until_closed(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if self.kind not in {Kind.UNREAD, Kind.PIPELINED}:
            while await loop.sock_recv(connection, 4096):
                pass
        else:
            while True:  # a reset shows in SO_ERROR, without reading
                await asyncio.sleep(0.2)
                if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return


if __name__ == "__main__":
    asyncio.run(Flood(int(sys.argv[1]), Kind[sys.argv[2]], int(sys.argv[3]), sys.argv[4:]).hold_all())
