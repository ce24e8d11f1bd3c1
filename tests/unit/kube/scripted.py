"""Stands for an API server that gives the answers of a script, over TLS with an authority as older clusters have."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from k6_sweep.kube.api import ApiServer
from k6_sweep.kube.login import ByAccount
from k6_sweep.kube.own_pod import Account
from tests.certificates import Authority

Answer = tuple[int, dict[str, str], str]
POD = {"metadata": {"name": "a", "uid": "1"}}
LIST: Answer = (200, {}, json.dumps({"metadata": {"resourceVersion": "7"}, "items": [POD]}))
EXPIRED: Answer = (401, {}, json.dumps({"message": "Unauthorized"}))


@dataclass
class Scripted:
    """A server that gives the scripted answers in order, and then none."""

    authority: Authority
    account: Account
    """The account of a pod, with the token `secret`."""
    tls: ssl.SSLContext
    answers: list[Answer] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)
    """The login of each request."""

    @property
    def url(self) -> str:
        return f"https://{self.account.host}:{self.account.port}"

    @property
    def token_file(self) -> Path:
        return self.account.folder / "token"

    def api(self) -> ApiServer:
        """Return the API server as a pod asks it."""
        return ApiServer(ByAccount(self.account), "test")


@contextmanager
def scripted_server(folder: Path) -> Iterator[Scripted]:
    authority = Authority(folder, strict=False)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority.issue("server", "127.0.0.1"), authority.key_file)
    (folder / "ca.crt").write_bytes(authority.file.read_bytes())
    (folder / "token").write_text("secret")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the server calls this name
            script.asked.append(self.path)
            script.logins.append(self.headers["Authorization"])
            status, headers, body = script.answers.pop(0) if script.answers else (200, {}, "")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())  # then close the connection: the body has no known length

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[ssl.SSLSocket, object]:
            connection, peer = super().get_request()
            return tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    script = Scripted(authority, Account("127.0.0.1", str(server.server_port), folder), tls)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
