"""A follower keeps following objects after every bad answer of the API server."""

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from k6_sweep.kube.account import Account
from k6_sweep.kube.api import ApiServer
from k6_sweep.kube.follow import Broken, Changed, Follower, Listed, Mailbox, News, NoNews
from k6_sweep.kube.roles import PODS
from tests.certificates import Authority

Answer = tuple[int, dict[str, str], str]
POD = {"metadata": {"name": "a", "uid": "1"}}
LIST: Answer = (200, {}, json.dumps({"metadata": {"resourceVersion": "7"}, "items": [POD]}))


def line(kind: str, thing: object = POD) -> str:
    return json.dumps({"type": kind, "object": thing}) + "\n"


@dataclass
class Scripted:
    """A server that gives the scripted answers in order, and then none."""

    account: Account
    answers: list[Answer] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def news(self, cycles: int) -> list[News]:
        """Return a follower's news of this number of cycles of a list and a watch."""
        with Mailbox(lambda: None) as mailbox:
            follower = Follower(self.account, "test", PODS, {"labelSelector": "app=k6"}, mailbox)
            api = ApiServer(self.account, "test")
            for _ in range(cycles):
                follower._cycle(api, 0.5)
            return list(mailbox.take())


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    authority = Authority(tmp_path, strict=False)  # like those of older clusters
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("server", "127.0.0.1"), authority.key_file)
    (tmp_path / "ca.crt").write_bytes(authority.file.read_bytes())
    (tmp_path / "token").write_text("secret")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the server calls this name
            script.asked.append(self.path)
            script.tokens.append(self.headers["Authorization"])
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
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    script = Scripted(Account(f"https://127.0.0.1:{server.server_port}", tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()


def changes(found: list[News]) -> list[Changed]:
    return [each for each in found if isinstance(each, Changed)]


BAD_LISTS: dict[str, Answer] = {
    "429": (429, {"Retry-After": "1"}, "{}"),
    "500": (500, {}, json.dumps({"message": "etcdserver: leader changed"})),
    "503": (503, {}, "no JSON at all"),
    "redirect": (302, {"Location": "https://elsewhere.invalid/"}, ""),
    "not JSON": (200, {}, "<html>a proxy's page</html>"),
    "no object": (200, {}, "[]"),
    "cut off": (200, {"Content-Length": "1000"}, '{"items": ['),
}


@pytest.mark.parametrize("bad", BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_a_bad_list_is_asked_again(bad: Answer, scripted: Scripted) -> None:
    """After any bad answer the follower asks for the list again and reports the trouble."""
    scripted.answers = [bad, LIST]
    first, second = scripted.news(cycles=2)[:2]
    assert isinstance(first, NoNews)
    assert not first.lasting
    assert isinstance(second, Listed)
    assert second.objects == (POD,)


BAD_WATCHES: dict[str, Answer] = {
    "expired in the stream": (200, {}, line("ERROR", {"code": 410, "message": "too old resource version"})),
    "expired at once": (410, {}, "{}"),
    "garbage": (200, {}, "garbage\n"),
    "half a line": (200, {}, line("MODIFIED")[:20]),
    "a line of another shape": (200, {}, "[1]\n"),
    "the end at once": (200, {}, ""),
    "500": (500, {}, "{}"),
}


@pytest.mark.parametrize("bad", BAD_WATCHES.values(), ids=BAD_WATCHES.keys())
def test_a_bad_watch_is_followed_by_a_list(bad: Answer, scripted: Scripted) -> None:
    """After any end of a watch the follower asks for a new list, and watches from its version."""
    scripted.answers = [LIST, bad, LIST, (200, {}, line("MODIFIED"))]
    found = scripted.news(cycles=2)
    assert len(changes(found)) == 1
    assert len([each for each in found if isinstance(each, Listed)]) == 2
    assert ["watch=true" in path for path in scripted.asked[:4]] == [False, True, False, True]
    assert "resourceVersion=7&timeoutSeconds=12" in scripted.asked[3]


def test_words_of_a_newer_server_are_passed_over(scripted: Scripted) -> None:
    """Bookmarks and unknown kinds of events change nothing."""
    stream = line("BOOKMARK") + line("REPLACED") + line("ADDED") + line("DELETED")
    scripted.answers = [LIST, (200, {}, stream)]
    found = scripted.news(cycles=1)
    assert [change.deleted for change in changes(found)] == [False, True]


def test_a_long_list_comes_in_pages(scripted: Scripted) -> None:
    """A long list is read page by page; its version is that of the last page."""
    page = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [POD]}
    scripted.answers = [(200, {}, json.dumps(page)), LIST]
    items, version = ApiServer(scripted.account, "test").list(PODS, {"labelSelector": "app=k6"})
    assert (len(items), version) == (2, "7")
    assert "continue=more" in scripted.asked[1]


def test_a_denial_lasts_only_where_nothing_ever_worked(scripted: Scripted) -> None:
    """Three 403s at the start mean a missing permission; after a success the follower keeps trying."""
    denied: Answer = (403, {}, json.dumps({"message": "pods is forbidden"}))
    watched: Answer = (200, {}, line("MODIFIED"))
    scripted.answers = [denied] * 3 + [LIST, watched] + [denied] * 4 + [LIST]
    found = scripted.news(cycles=9)
    troubles = [each for each in found if isinstance(each, NoNews)]
    assert [trouble.lasting for trouble in troubles] == [False, False, True, False, False, False, False]
    assert "verbs: [list, watch]" in troubles[0].why


def test_the_token_is_read_for_each_request(scripted: Scripted) -> None:
    """The next request uses a rotated token; an unreadable token is trouble, but does not end the follower."""
    token = scripted.account.folder / "token"
    scripted.answers = [(500, {}, "{}"), LIST]
    token.rename(token.with_name("away"))
    (trouble,) = scripted.news(cycles=1)
    assert isinstance(trouble, NoNews)
    assert scripted.asked == []
    for text in ("first", "second"):
        token.write_text(text)
        scripted.news(cycles=1)
    assert scripted.tokens == ["Bearer first", "Bearer second", "Bearer second"]


def test_a_certificate_of_another_authority_is_not_trusted(scripted: Scripted, tmp_path: Path) -> None:
    """A server without a certificate of the mounted authority gets no request and no token."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (scripted.account.folder / "ca.crt").write_bytes(Authority(elsewhere).file.read_bytes())
    (trouble,) = scripted.news(cycles=1)
    assert isinstance(trouble, NoNews)
    assert "CERTIFICATE_VERIFY_FAILED" in trouble.why
    assert scripted.tokens == []


def test_a_thread_that_breaks_is_heard_of() -> None:
    """An unexpected exception of a thread is raised where its news is read."""
    with Mailbox(lambda: None) as mailbox:
        mailbox.put(Broken(ZeroDivisionError("x")))
        with pytest.raises(ZeroDivisionError):
            list(mailbox.take())


def test_a_full_mailbox_loses_nothing() -> None:
    """All news that comes between two reads of the mailbox is kept."""
    with Mailbox(lambda: None) as mailbox:
        for number in range(5000):
            mailbox.put(Changed(PODS, number, deleted=False))
        assert [each.object for each in mailbox.take() if isinstance(each, Changed)] == list(range(5000))
