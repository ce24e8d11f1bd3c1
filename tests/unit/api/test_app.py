"""The endpoint's answers: the gate decides by the headers, and reads no more of a body than necessary."""

import asyncio
import io
import json
import threading
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from k6_sweep.api.app import make_app
from k6_sweep.api.gate import MOST_BYTES
from k6_sweep.api.journal import Journal
from k6_sweep.api.readiness import Readiness
from k6_sweep.api.service import Service
from k6_sweep.api.sweeps import Sweeps
from k6_sweep.cluster.history import Record
from k6_sweep.cluster.link import Link
from k6_sweep.cluster.lock import Holder
from k6_sweep.errors import UnreachableError
from k6_sweep.log import open_log
from k6_sweep.metrics import ServerMetrics
from k6_sweep.report import Report
from k6_sweep.settings.values import Address
from k6_sweep.status import Status
from tests.support import settings_for

ADMIN = "/internal/admin/redis/cleanup"
TOKEN = {"X-Admin-Token": "sesame"}
CHUNK = b" " * 4096
UNKNOWN = "unknown field 'a'; the fields are patterns, dry_run, dryRun"
DEFAULT = "send {} for the configured patterns"
Message = MutableMapping[str, Any]


class FakeLock:
    """A lock that another replica may hold; Redis answers when it may."""

    def __init__(self) -> None:
        self.holder: Holder | None = None
        self.answers = threading.Event()
        self.answers.set()

    def take(self, holder: Holder, seconds: float) -> Holder | None:
        assert holder
        assert seconds
        assert self.answers.wait(60)
        return self.holder

    def renew(self, holder: Holder, seconds: float) -> None:
        assert holder
        assert seconds

    def release(self, holder: Holder) -> None:
        assert holder


class NoHistory:
    """A Redis that does not answer."""

    def note(self, record: Record) -> None:
        raise UnreachableError(f"cannot note {record.id}")

    def read(self) -> list[Record]:
        raise UnreachableError("cannot reach redis:6379")


def no_redis(address: Address) -> Link:
    raise UnreachableError(f"cannot reach {address}")


@pytest.fixture
def logged() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lock() -> FakeLock:
    return FakeLock()


@pytest.fixture
def app(tmp_path: Path, logged: io.StringIO, lock: FakeLock) -> FastAPI:
    (tmp_path / "token").write_text("sesame")
    settings = settings_for("redis://h", "--admin-token-file", str(tmp_path / "token"), command="serve")
    log = open_log("json", "debug", stream=logged)
    journal = Journal(NoHistory(), "load/pod-1", log)
    sweeps = Sweeps(settings, lambda *_: Report(Status.COMPLETE), lock, log, journal)
    return make_app(Service(settings, sweeps, journal, Readiness(settings, no_redis), ServerMetrics()), log)


@dataclass
class Asked:
    """One request, as a server passes it to the application."""

    messages: Iterator[Message]
    read: int = 0
    answer: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        self.read += 1
        return next(self.messages)

    async def send(self, message: Message) -> None:
        self.answer.append(message)

    @property
    def code(self) -> int:
        return int(self.answer[0]["status"])

    @property
    def closes(self) -> bool:
        return (b"connection", b"close") in self.answer[0]["headers"]

    @property
    def error(self) -> str:
        return str(json.loads(self.answer[1]["body"])["error"])


def scope_of(headers: dict[str, str], method: str = "POST", path: str = ADMIN) -> Message:
    lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": lines,
    }


def ask(
    app: FastAPI, messages: Iterator[Message], headers: dict[str, str] = TOKEN, method: str = "POST", path: str = ADMIN
) -> Asked:
    asked = Asked(messages)
    asyncio.run(app(scope_of(headers, method, path), asked.receive, asked.send))
    return asked


def body(*parts: bytes, ends: bool = True) -> Iterator[Message]:
    for number, part in enumerate(parts, 1):
        yield {"type": "http.request", "body": part, "more_body": not ends or number < len(parts)}
    yield {"type": "http.disconnect"}


def endless() -> Iterator[Message]:
    while True:
        yield {"type": "http.request", "body": CHUNK, "more_body": True}


def test_an_answer_names_a_sweep_that_exists(app: FastAPI, lock: FakeLock) -> None:
    """Of two requests at once, none learns of the other's sweep, which another replica's turns away."""
    lock.holder = Holder("abcdef", "load/pod-2", 1_000_000_000.0)
    lock.answers.clear()
    both = [Asked(body(b"{}")), Asked(body(b"{}"))]

    async def run() -> None:
        answers = [asyncio.create_task(app(scope_of(TOKEN), each.receive, each.send)) for each in both]
        while not all(each.read for each in both):  # noqa: ASYNC110  # nothing of the application wakes a test
            await asyncio.sleep(0.01)
        lock.answers.set()
        await asyncio.gather(*answers)

    asyncio.run(run())
    assert [(each.code, json.loads(each.answer[1]["body"])["id"]) for each in both] == [(409, "abcdef")] * 2


def test_readiness_has_no_queue_without_an_end(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis does not answer, 100 requests wait for it; more get their answer at once."""
    answers = threading.Event()
    monkeypatch.setattr(Readiness, "_ask", lambda _: answers.wait(60) and None)
    many = [Asked(body(b"")) for _ in range(110)]

    async def run() -> None:
        waiting = [asyncio.create_task(app(scope_of({}, "GET", "/readyz"), each.receive, each.send)) for each in many]
        await asyncio.wait(waiting, timeout=1)
        assert sum(bool(each.answer) for each in many) == 10
        answers.set()
        await asyncio.gather(*waiting)

    asyncio.run(run())
    assert sorted(each.code for each in many) == [200] * 100 + [503] * 10


def test_the_document_marks_the_operations_that_need_the_token(app: FastAPI) -> None:
    """Exactly the operations that the OpenAPI document marks refuse a request without the token."""
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            asked = ask(app, body(b""), {}, method.upper(), path)
            assert (asked.code == 403) is ("security" in operation)


def test_a_path_is_what_the_routes_take_it_for(app: FastAPI) -> None:
    """A path with a line feed at its end leads to the same route, and the gate checks it."""
    assert ask(app, body(b"{}"), {}, path=f"{ADMIN}\n").code == 403
    assert ask(app, body(b"{}"), path=f"{ADMIN}\n").code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content-Length": "5", "Transfer-Encoding": "chunked"}, 403),
        ({"Content-Length": "5", "Transfer-Encoding": "chunked", **TOKEN}, 400),
        ({"Content-Length": str(MOST_BYTES + 1)}, 403),
        ({"Content-Length": str(MOST_BYTES + 1), **TOKEN}, 413),
    ],
)
def test_headers_are_enough(app: FastAPI, headers: dict[str, str], code: int) -> None:
    """A request with unacceptable headers gets its answer before its body is read, and the connection is closed."""
    asked = ask(app, endless(), headers)
    assert (asked.code, asked.closes, asked.read) == (code, True, 0)


def test_a_body_without_an_end(app: FastAPI) -> None:
    """An endless body is read up to the size limit and no further."""
    asked = ask(app, endless())
    assert (asked.code, asked.closes, asked.read) == (413, True, MOST_BYTES // len(CHUNK) + 1)


def test_without_the_token_no_body_is_read(app: FastAPI) -> None:
    """Without the token the answer does not wait for the body; the server drops it, and the connection stays usable."""
    asked = ask(app, endless(), {})
    assert (asked.code, asked.closes, asked.read) == (403, False, 0)


def test_a_body_that_breaks_off(app: FastAPI) -> None:
    """A body that ends too early is never treated as complete."""
    asked = ask(app, body(b"{}", ends=False))
    assert (asked.code, asked.closes) == (400, True)


@pytest.mark.parametrize(("token", "code"), [({}, 403), (TOKEN, 431)])
def test_long_headers(app: FastAPI, token: dict[str, str], code: int) -> None:
    """Headers above their limit get 431 before the body is read; the token comes first."""
    asked = ask(app, endless(), token | {f"X-{number}": "x" * 1000 for number in range(40)})
    assert (asked.code, asked.read) == (code, 0)
    assert ask(app, body(b""), {"X": "x" * 40_000}, "GET", "/healthz").code == 431


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize(("text", "code"), [(b"{}", 200), (b'{"dry_run": true, "dry_run": false}', 400), (b"", 400)])
def test_a_body_is_json_with_any_content_type(app: FastAPI, kind: str, text: bytes, code: int) -> None:
    """The body is read as JSON with any Content-Type, or none."""
    assert ask(app, body(text), TOKEN | ({"Content-Type": kind} if kind else {})).code == code


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            b"",
            "the body is not valid JSON: Expecting value: line 1 column 1 (char 0); " + DEFAULT,
        ),
        (b"null", "the body must be a JSON object"),
        (b'{"dry_run": true, "dryRun": false}', "dry_run and dryRun disagree; send one of them"),
        (
            b'{"patterns": ["test:[a"]}',
            "patterns: 'test:[a' has a [ without a ] (write \\[ to match the character [)",
        ),
        (b'{"dry_run": 1, "a": 1}', "dry_run: Input should be a valid boolean; " + UNKNOWN),
    ],
)
def test_a_bad_body_is_named_in_our_words(app: FastAPI, text: bytes, error: str) -> None:
    """The answer to a bad body is a sentence about the problem, not FastAPI's list."""
    assert ask(app, body(text)).error == error


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json, text/plain, */*", "application/problem+json"),
        ("application/json;q=0.9, application/problem+json", "application/problem+json"),
        ("application/*", "application/problem+json"),
        ("text/html", "application/problem+json"),
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8, text/plain;q=0.5", "application/json"),
    ],
)
def test_the_type_of_an_error_answer(app: FastAPI, accept: str | None, kind: str) -> None:
    """An error has the type of Problem Details, or plain JSON for a client that asks for nothing else."""
    for token in (TOKEN, {}):
        asked = ask(app, body(b"{"), token | ({"Accept": accept} if accept else {}))
        assert (b"content-type", kind.encode()) in asked.answer[0]["headers"]


def test_an_error_has_all_fields(app: FastAPI) -> None:
    """An error has the five fields of RFC 9457 and, unchanged, the fields of before."""
    asked = ask(app, body(b""), {}, "GET", "//other.example/x y")
    assert json.loads(asked.answer[1]["body"]) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Not Found",
        "instance": "/other.example/x%20y",
        "error": "Not Found",
        "id": None,
        "who": None,
        "since": None,
        "will_sweep": None,
    }


def test_a_failed_sweep_has_all_fields(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that failed has the fields of RFC 9457 beside those of every sweep."""
    report = Report(Status.REFUSED, errors=("too many keys",))
    monkeypatch.setattr(app.state.service.sweeps, "_work", lambda *_: report)
    asked = ask(app, body(b'{"dry_run": true}'))
    found = json.loads(asked.answer[1]["body"])
    assert asked.code == found["status"] == 422
    assert found["detail"] == found["error"] == "too many keys"
    assert (found["deleted_count"], found["patterns"], found["dry_run"]) == (0, ["test:*"], True)
    assert (found["report"]["status"], found["instance"]) == ("refused", f"/sweeps/{found['id']}")


def test_the_document_has_an_example_for_each_answer(app: FastAPI) -> None:
    """Each answer in the document has a description and examples, and each example is as its schema requires."""
    document = app.openapi()
    groups = {group["name"] for group in document["tags"]}
    for operations in document["paths"].values():
        for operation in operations.values():
            assert set(operation["tags"]) <= groups
            for code, response in operation["responses"].items():
                assert response["description"] != HTTPStatus(int(code)).phrase
                for kind, content in response["content"].items():
                    assert content["examples"], (operation["summary"], code)
                    schema = content.get("schema", {}) | {"components": document["components"]}
                    for example in content["examples"].values():
                        Draft202012Validator(schema).validate(example["value"])
                        if code >= "400":
                            assert kind in {"application/problem+json", "application/json"}
                            assert example["value"]["status"] == int(code)


def test_an_internal_fault(app: FastAPI, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal fault gets an answer without details, and the audit still logs the request."""
    monkeypatch.setattr(Sweeps, "begin", lambda *_: 1 / 0)
    asked = Asked(body(b"{}"))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(app(scope_of(TOKEN), asked.receive, asked.send))
    assert (asked.code, asked.error) == (500, "internal error; the log has the details")
    warning, line = map(json.loads, logged.getvalue().splitlines())
    assert "the admin token line 1 has less than 16 characters" in warning["problem"]
    assert (line["event"], line["code"], line["patterns"]) == ("request", 500, ["test:*"])
