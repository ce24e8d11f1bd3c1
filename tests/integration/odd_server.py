"""Stands for what is no Redis, or a proxy that answers as no Redis does: a server with odd replies to some commands."""

import contextlib
import socketserver
import threading
import time
from collections.abc import Iterator

import hiredis

NODE_ID = "07c37dfeb235213a872192d90877d0cd55635b91"
FACTS: tuple[object, ...] = (
    "server",
    "redis",
    "version",
    "7.0.15",
    "proto",
    2,
    "id",
    3,
    "mode",
    "cluster",
    "role",
    "master",
    "modules",
    [],
)


def packed(reply: object) -> bytes:
    """Return a reply in Redis's protocol."""
    match reply:
        case int():
            return b":%d\r\n" % reply
        case str():
            return b"$%d\r\n%b\r\n" % (len(reply), reply.encode())
        case _:
            assert isinstance(reply, list | tuple)
            return b"*%d\r\n" % len(reply) + b"".join(map(packed, reply))


class OddServer(socketserver.ThreadingTCPServer):
    """A cluster of one node without keys, except that it answers some commands with the bytes of `odd`."""

    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, odd: dict[str, bytes], *, mode: str = "cluster", pause: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Client)
        self.port = int(self.server_address[1])
        self.odd = odd
        """The odd replies, by the command's first word or first two words; the empty word stands for all commands."""
        self.mode = mode
        self.pause = pause
        """Seconds before each byte of a reply."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def answer(self, words: list[bytes]) -> bytes:
        text = [word.decode("latin-1").upper() for word in words]
        for name in (" ".join(text[:2]), text[0], ""):
            if name in self.odd:
                return self.odd[name]
        return packed(self._sane(text)) if text[0] not in {"AUTH", "SELECT", "ASKING"} else b"+OK\r\n"

    def _sane(self, text: list[str]) -> object:
        line = f"{NODE_ID} 127.0.0.1:{self.port}@{self.port} myself,master - 0 0 1 connected 0-16383\n"
        replies: dict[str, object] = {
            "HELLO": [self.mode if fact == "cluster" else fact for fact in FACTS],
            "CLUSTER SLOTS": [[0, 16383, ["127.0.0.1", self.port, NODE_ID]]],
            "CLUSTER NODES": line,
            "CLUSTER GETKEYSINSLOT": [],
            "ZRANGE": [],
            "SCAN 0": ["0", []],
            "ROLE": ["master", 0, []],
            "INFO SERVER": f"# Server\r\nrun_id:{NODE_ID}\r\n",
            "INFO REPLICATION": f"# Replication\r\nmaster_replid:{NODE_ID}\r\n",
            "SENTINEL GET-MASTER-ADDR-BY-NAME": ["127.0.0.1", str(self.port)],
        }
        return replies.get(" ".join(text[:2]), replies.get(text[0], 0))


class _Client(socketserver.BaseRequestHandler):
    server: OddServer

    def handle(self) -> None:
        reader = hiredis.Reader()
        with contextlib.suppress(OSError):  # the client ends the connection when it does not understand the answer
            while data := self.request.recv(65536):
                reader.feed(data)
                while (words := reader.gets()) is not False:
                    answer = self.server.answer(words)
                    pieces = [answer[at : at + 1] for at in range(len(answer))] if self.server.pause else [answer]
                    for piece in pieces:
                        time.sleep(self.server.pause)
                        self.request.sendall(piece)


@contextlib.contextmanager
def odd_server(odd: dict[str, bytes], *, mode: str = "cluster", pause: float = 0.0) -> Iterator[OddServer]:
    """Run the server for as long as the context lasts."""
    with OddServer(odd, mode=mode, pause=pause) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
