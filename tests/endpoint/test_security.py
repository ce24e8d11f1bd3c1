"""No attack deletes a key, and the endpoint answers the next good request."""

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from k6_sweep.api.connection import REQUEST_SECONDS
from k6_sweep.api.tokens import matching
from k6_sweep.demo.servers import Node
from k6_sweep.settings.tokens import Token, digest_of
from tests.endpoint.served import ADMIN, INTERNAL, TOKEN, Answer, Served, memory, served
from tests.support import keys_of, until


@pytest.fixture(scope="module")
def attacked(redis_node: Node) -> Iterator[Served]:
    """One endpoint for all attacks, so that each attack meets what the earlier ones left behind."""
    redis_node.ask("FLUSHALL")
    with served(f"redis://127.0.0.1:{redis_node.port}") as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_deleted(attacked: Served, redis: Node) -> Iterator[None]:
    before = keys_of([redis])
    yield
    assert keys_of([redis]) == before
    good = attacked.post({"dry_run": True})
    assert (good.code, good.body["report"]["matched"]) == (200, 100)
    assert attacked.process.poll() is None


@contextlib.contextmanager
def connected(endpoint: Served) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=3 * REQUEST_SECONDS) as connection:
        yield connection


def all_of(connection: socket.socket) -> bytes:
    """Read until the other side closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            found += data
    return found


def raw(endpoint: Served, text: bytes) -> bytes:
    """Send these bytes and no more; return all of the answer."""
    with connected(endpoint) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return all_of(connection)


def codes_of(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("path", [ADMIN, INTERNAL])
@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        " ",
        TOKEN[:-1],
        TOKEN + "x",
        TOKEN.upper(),
        f"{TOKEN},{TOKEN}",
        "x" * 20_000,
        "\xff\xfe",
        f"Bearer {TOKEN}",
    ],
    ids=lambda token: str(token)[:30],
)
def test_without_the_token(attacked: Served, path: str, token: str | None) -> None:
    """Without the right token the answer is 403, or 429 after many wrong ones, and the body is not read."""
    assert attacked.post({"bad": "body"}, path, token=token).code in {403, 429}


@pytest.mark.parametrize("length", [50_000, 10_000_000])
def test_a_huge_token(attacked: Served, length: int) -> None:
    """A huge token is refused or cut off, and does not grow the process."""
    with contextlib.suppress(ConnectionError):
        assert attacked.post(token="x" * length).code in {403, 429, 431}
    assert memory(attacked.process.pid) < 200_000


def test_two_tokens(attacked: Served) -> None:
    """Two token headers count as none, even if one of them is right."""
    for tokens in itertools.permutations([TOKEN, "wrong"]):
        lines = "".join(f"X-Admin-Token: {each}\r\n" for each in tokens)
        head = f"POST {ADMIN} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        assert codes_of(raw(attacked, head.encode())) in ([403], [429])


def test_many_wrong_tokens(new_endpoint: Served) -> None:
    """After 30 wrong tokens an address gets 429 for most, and still 200 for the right one, 403 for none."""
    with ThreadPoolExecutor(16) as pool:

        def wrong(_: int) -> Answer:
            return new_endpoint.post(token="wrong")

        answers = list(pool.map(wrong, range(25)))
        assert {each.code for each in answers} == {403}
        until(lambda: 429 in {each.code for each in pool.map(wrong, range(400))})
        braked = [each for each in pool.map(wrong, range(400)) if each.code == 429]
        assert {each.headers["retry-after"] for each in braked} == {"1"}
        assert {each.body["status"] for each in braked} == {429}
        mixed = [pool.submit(new_endpoint.post, {"dry_run": True}, token=None) for _ in range(50)]
        assert {each.result().code for each in mixed} == {403}
        assert [new_endpoint.post({"dry_run": True}).code for _ in range(5)] == [200] * 5
    assert new_endpoint.metric(f'k6_sweep_http_requests_total{{code="429",method="POST",path="{ADMIN}"}}') >= len(
        braked
    )


@given(st.binary(max_size=40), st.lists(st.binary(max_size=40), unique=True))
def test_the_compare_sees_digests_only(given_token: bytes, texts: list[bytes]) -> None:
    """A token is found only if it is equal to one of several; the compared digests always have the same length."""
    tokens = [Token(str(number), digest_of(text), is_short=False) for number, text in enumerate(texts)]
    assert {len(token.digest) for token in tokens} <= {32}
    for each in (given_token, *texts):
        found = matching(each, tokens)
        assert (found and texts[int(found.name)]) == (each if each in texts else None)


@pytest.mark.parametrize(
    "path",
    [
        f"/{ADMIN}",
        f"{ADMIN}/",
        f"/x/..{ADMIN}",
        f"/./{ADMIN}",
        ADMIN.upper(),
        ADMIN.replace("/redis", "%2fredis"),
        ADMIN.replace("c", "%63"),
        f"{ADMIN}%00",
        f"{ADMIN};x",
        f"{ADMIN}?token={TOKEN}",
        "/sweeps/../internal/redis/cleanup",
        "/static-offline-docs/..%2f..%2f..%2f..%2fetc/passwd",
        "/static-offline-docs/../../../../etc/passwd",
        "http://elsewhere" + ADMIN,
    ],
)
def test_path_tricks(attacked: Served, path: str) -> None:
    """No spelling of a path sweeps without the token or shows a file."""
    for method in ("POST", "GET", "PUT"):
        answer = attacked.ask(method, path, {}, token=None)
        assert answer.code in {400, 403, 404, 405}
        assert "root:" not in answer.text


@pytest.mark.parametrize(
    "header", ["X-HTTP-Method-Override: POST", f"X-Original-URL: {ADMIN}", f"X-Rewrite-URL: {ADMIN}"]
)
def test_overrides_override_nothing(attacked: Served, header: str) -> None:
    """Headers that override the method or the path have no effect."""
    name, value = header.split(": ")
    assert attacked.ask("GET", ADMIN, headers={name: value}).code == 405
    assert attacked.ask("POST", "/healthz", "{}", {name: value}).code == 405


_HIDDEN = f"POST {ADMIN} HTTP/1.1\r\nHost: x\r\nX-Admin-Token: {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}"


@pytest.mark.parametrize(
    "framing",
    [
        f"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{_HIDDEN}",
        f"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{_HIDDEN}",
        f"Content-Length: 0\r\nContent-Length: {len(_HIDDEN)}\r\n\r\n{_HIDDEN}",
        f"Content-Length: 0, {len(_HIDDEN)}\r\n\r\n{_HIDDEN}",
        f"Content-Length: +0\r\n\r\n{_HIDDEN}",
        f"Content-Length : 0\r\n\r\n{_HIDDEN}",
        f"Content-Length: -1\r\n\r\n{_HIDDEN}",
        f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{_HIDDEN}",
        f"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{_HIDDEN}",
        f"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{_HIDDEN}",
        f"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{_HIDDEN}",
        f"Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}XX0\r\n\r\n{_HIDDEN}",
        f"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{_HIDDEN}",
        f"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{_HIDDEN}",
    ],
)
def test_no_request_hides_in_another(attacked: Served, framing: str) -> None:
    """A body with two lengths or an unclear one is refused, and no request in it is answered."""
    head = f"POST {ADMIN} HTTP/1.1\r\nHost: x\r\nX-Admin-Token: wrong\r\n{framing}"
    codes = codes_of(raw(attacked, head.encode("latin-1")))
    assert codes[0] in {400, 403, 429}
    assert set(codes) <= {400, 403, 429}
    allowed = head.replace("X-Admin-Token: wrong", f"X-Admin-Token: {TOKEN}").replace("{}", "!!")
    assert codes_of(raw(attacked, allowed.encode("latin-1")))[:1] == [400]


@pytest.mark.parametrize(
    "text", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 40_000]
)
def test_what_is_no_http(attacked: Served, text: bytes) -> None:
    """The endpoint refuses TLS, HTTP/2 and noise, as it refuses other requests: with Problem Details."""
    answer = raw(attacked, text)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\ncontent-type: application/problem+json" in head.lower()
    assert codes_of(answer) == [json.loads(body)["status"]]
    assert json.loads(body)["error"] == json.loads(body)["detail"]
    assert json.loads(body)["status"] in {400, 404, 431}


def test_slow_clients_are_cut_off(attacked: Served) -> None:
    """The endpoint cuts off clients that send a byte a second or nothing at all."""
    head = f"POST {ADMIN} HTTP/1.1\r\nHost: x\r\nX-Admin-Token: {TOKEN}\r\nContent-Length: 900\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        silent, slow_head, slow_body = (stack.enter_context(connected(attacked)) for _ in range(3))
        slow_body.sendall(head)
        open_ones = {slow_head: head, slow_body: b" " * 900}
        for number in range(900):
            for connection, text in list(open_ones.items()):
                try:
                    connection.sendall(text[number : number + 1])
                except ConnectionError:
                    del open_ones[connection]
            if not open_ones:
                break
            time.sleep(1)
        assert not open_ones
        assert number < 60
        assert all_of(silent) == b""


def test_two_hundred_connections(attacked: Served) -> None:
    """Two hundred connections with half a request do not block other clients."""
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(connected(attacked)) for _ in range(200)]
        for connection in many:
            connection.sendall(b"POST ")
        assert attacked.ask("GET", "/healthz", token=None).code == 200
        assert attacked.post({"dry_run": True}).code == 200
        for connection in many:
            connection.sendall(
                f"{ADMIN} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
            )
        assert [codes_of(all_of(connection)) for connection in many] == [[403]] * 200
    until(lambda: [each.laddr[1:] for each in psutil.net_connections("tcp4")].count((attacked.port,)) < 20)


NASTY = 'test:"}\n{"level":"error","event":"forged\r\n\x1b[31m]\u2028\x00'


def test_the_log_cannot_be_forged(attacked: Served) -> None:
    """No content of a request can add or split a log line."""
    before = len(attacked.lines)
    assert attacked.post({"patterns": [NASTY], "dry_run": True}).code == 200

    def logged(field: str, value: object) -> bool:
        return value in [line.get(field) for line in attacked.lines[before:] if line["event"] == "request"]

    def logged_404() -> bool:  # the log has one 404 a second, and perhaps an earlier one
        assert attacked.ask("GET", "/%0a%7b%22event%22:%22forged%22%7d").code == 404
        return logged("path", '/\n{"event":"forged"}')

    until(logged_404)
    until(lambda: logged("patterns", [NASTY]))
    assert not [line for line in attacked.lines if line["event"] == "forged"]


def test_the_address_is_the_peers(attacked: Served) -> None:
    """No header changes the client's address in the audit."""
    attacked.post({"dry_run": True}, headers={"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"})
    assert {line["address"] for line in attacked.events("request")} == {"127.0.0.1"}


load_all_checks()
CHECKED: Any = [  # schemathesis has several types here, but its annotation takes one
    CHECKS.get_one(name)
    for name in (
        *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
        *("negative_data_rejection", "unsupported_method", "allow_header_conformance", "ignored_auth"),
    )
]

REFUSALS = schemathesis.Config.from_dict(
    # Valid refusals of malformed data: 413 too, because schemathesis makes bodies that are malformed and too long.
    {"checks": {"negative_data_rejection": {"expected-statuses": [400, 403, 404, 405, 413]}}}
)


def test_the_document_keeps_its_word(url: str) -> None:
    """Every request made from the OpenAPI document, malformed or not, gets an answer that it defines."""
    asked: set[int] = set()
    with served(url, "--dry-run") as endpoint:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{endpoint.port}/openapi.json", config=REFUSALS)
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            well_formed, malformed = (
                operation.as_strategy(generation_mode=mode)
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
            )

            @given(case=well_formed | malformed)
            @settings(max_examples=60, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
            def ask(case: schemathesis.Case[Any]) -> None:
                response = case.call(headers={"X-Admin-Token": TOKEN})
                asked.add(response.status_code)
                if response.status_code == 200:  # its check sends a wrong token: 10 a second get 403, more get 429
                    time.sleep(0.1)
                case.validate_response(response, checks=CHECKED)

            ask()
    assert {200, 400, 403, 404} <= asked
