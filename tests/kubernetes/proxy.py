"""Stands for the network between a watcher and the API server, which a test can cut and repair."""

import contextlib
import socket
import struct
import threading
from typing import Self


class Proxy:
    """Forwards connections to a port of this machine until a test stops it; use it as a context manager."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silenced: set[socket.socket] = set()
        self.silences_all = False
        """Whether it drops all data, on new connections too."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for pair in self._pairs:
            for end in pair:
                end.close()

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        return len(self._pairs)

    def black_hole(self) -> None:
        """Drop all data of the present connections, but leave them open."""
        self._silenced |= {end for pair in self._pairs for end in pair}

    def reset(self) -> None:
        """Reset the present connections."""
        for client, _ in self._pairs:
            with contextlib.suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RD)
                client.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._pairs.append((client, server))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not (self.silences_all or source in self._silenced):
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
