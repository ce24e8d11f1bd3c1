"""Tests of the names that k6-sweep uses although other packages do not promise them; they fail if a release drops one.

Each failure names what is gone, the module that used it and the purpose.
"""

import ast
import asyncio
import functools
import inspect
import socket
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import h11
import hiredis
import pytest
import uvicorn
import yaml
from botocore.session import Session
from botocore.signers import RequestSigner
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from redis import exceptions
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from starlette.routing import Match
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState, logger
from yaml import CSafeLoader, SafeDumper

import k6_sweep
from k6_sweep.cluster.connector import _UnixSocket
from k6_sweep.cluster.link import pack

CONNECTIONS = (Connection, SSLConnection, UnixDomainSocketConnection)
LISTED = {"_exit", "_get_socket", "_parser", "_ArgumentGroup"}
"""The private names in use; the tests below cover those of redis-py, and Python keeps its own."""


def new(kind: Any) -> Any:
    return kind()


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def names_in(function: Any) -> tuple[str, ...]:
    """Return the names of attributes and globals that a function uses."""
    names: tuple[str, ...] = inspect.unwrap(function).__code__.co_names
    return names


# The names in use.


def foreign_names(source: str) -> Iterator[str]:
    """Yield the private attributes and imports of other packages that Python source uses."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("k6_sweep"):
            yield from ((node.module or "").split("."))
            yield from (each.name for each in node.names)


def own_names(source: str) -> Iterator[str]:
    """Yield the names that Python source defines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_every_private_name_of_others_is_listed_here() -> None:
    """Every private name of another package that the code uses is listed in this file."""
    sources = [path.read_text() for path in Path(next(iter(k6_sweep.__path__))).rglob("*.py")]
    used = {
        name
        for source in sources
        for name in foreign_names(source)
        if name.startswith("_") and not name.startswith("__")
    }
    unlisted = used - {name for source in sources for name in own_names(source)} - LISTED
    assert not unlisted, f"k6-sweep now uses the private names {sorted(unlisted)}; list and test them in this file"


# redis-py, by cluster/link.py, cluster/connector.py and cluster/replies.py.


@pytest.mark.parametrize("kind", CONNECTIONS)
def test_redis_py_gives_the_socket(kind: type[AbstractConnection]) -> None:
    """A redis-py connection has its own socket, which is None while it is closed."""
    assert hasattr(kind, "_get_socket"), (
        f"redis-py no longer has {kind.__name__}._get_socket, from which cluster/link.py takes the socket to read from"
    )
    assert new(kind)._get_socket() is None, (
        f"{kind.__name__}._get_socket() is no longer None without a connection, by which cluster/link.py sees that "
        "another thread has closed it"
    )


def test_redis_py_checks_the_certificate_where_we_name_the_server() -> None:
    """A TLS connection opens its socket without a login, and wraps it for the server's host."""
    wrap, connect = (getattr(SSLConnection, name, new) for name in ("_wrap_socket_with_ssl", "_connect"))
    assert {"host", "check_hostname"} <= set(names_in(wrap)), (
        "redis-py no longer checks the certificate in SSLConnection._wrap_socket_with_ssl against self.host, which "
        "cluster/connector.py replaces by --redis-tls-server-name"
    )
    assert "_wrap_socket_with_ssl" in names_in(connect), (
        "SSLConnection._connect of redis-py no longer does the TLS handshake, after which cluster/connector.py reads "
        "the names in the certificate"
    )


@pytest.mark.parametrize("kind", CONNECTIONS)
def test_redis_py_names_errors(kind: type[AbstractConnection]) -> None:
    """A connection's parser converts an error reply's text to an exception and removes the code from it."""
    parser = getattr(new(kind), "_parser", None)
    assert hasattr(parser, "parse_error"), (
        f"redis-py no longer has {kind.__name__}()._parser.parse_error, by which cluster/link.py names errors"
    )
    assert parser is not None  # mypy cannot know this
    error = parser.parse_error("NOPERM no permissions")
    assert isinstance(error, exceptions.NoPermissionError), "redis-py no longer reads NOPERM as NoPermissionError"
    assert (getattr(error, "status_code", None), str(error)) == ("NOPERM", "no permissions"), (
        "redis-py no longer puts an error's code into status_code and the rest into its text: "
        "text_of in cluster/replies.py puts the server's words together from these two"
    )
    unknown = parser.parse_error("MISCONF unable to persist")
    assert (type(unknown), str(unknown)) == (exceptions.ResponseError, "MISCONF unable to persist"), (
        "redis-py no longer leaves a code that it doesn't know in the text, where judge in cluster/replies.py finds it"
    )


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (exceptions.BusyLoadingError, "LOADING"),
        (exceptions.AuthenticationError, "NOAUTH"),
        (exceptions.AuthorizationError, "a login without permission"),
    ],
)
def test_redis_py_breaks_a_connection_that_is_of_no_use(error: type[Exception], what: str) -> None:
    """Replies after which a connection is unusable are ConnectionErrors."""
    assert issubclass(error, exceptions.ConnectionError), (
        f"redis-py's {error.__name__} is no longer a ConnectionError, so PipelinedConnection.exchange in "
        f"cluster/link.py would take {what} for a reply about one key"
    )


def test_redis_py_gives_the_address_of_a_slot() -> None:
    """ASK and MOVED have a host and a port; MOVED is a subclass of ASK, so the code tests for it first."""
    for kind in (exceptions.AskError, exceptions.MovedError):
        error = kind("7 ::1:6380")
        assert (getattr(error, "host", None), getattr(error, "port", None)) == ("::1", 6380), (
            f"redis-py's {kind.__name__} no longer has host and port, by which cluster/replies.py finds the other node"
        )
    assert issubclass(exceptions.MovedError, exceptions.AskError), (
        "redis-py's MovedError is no longer an AskError: cluster/lock.py follows both as AskError"
    )


def test_redis_py_sends_what_is_packed() -> None:
    """redis-py sends packed commands unchanged, without a health check before them."""
    assert parameters(AbstractConnection.send_packed_command)[:3] == ["self", "command", "check_health"], (
        "redis-py's send_packed_command no longer takes (command, check_health), as cluster/link.py calls it"
    )


def test_redis_py_sends_nothing_by_itself() -> None:
    """A protocol 2 connection without login and driver_info sends no command of its own, which an ACL may forbid."""
    ours, theirs = socket.socketpair()

    class Silent(Connection):
        def _connect(self) -> socket.socket:
            return ours

    with theirs:
        connection: Any = new(functools.partial(Silent, protocol=2, driver_info=None, socket_timeout=5))
        connection.connect()
        connection.send_packed_command([pack((b"PING",))], check_health=False)
        connection.disconnect()
        sent = theirs.recv(4096)
    assert sent == b"*1\r\n$4\r\nPING\r\n", (
        f"redis-py now sends {sent!r} on a new connection where PING alone was asked for; cluster/connector.py turns "
        "off its own commands by protocol=2 and driver_info=None"
    )


def test_redis_py_names_a_unix_socket_by_its_host() -> None:
    """A Unix socket's connection gets its path as host: redis-py reads the host in its errors and does not set it."""
    connection = new(functools.partial(_UnixSocket, path="/nowhere/redis.sock", protocol=2, driver_info=None))
    with pytest.raises((exceptions.ConnectionError, AttributeError)) as caught:
        connection.connect()
    failure = caught.value
    assert isinstance(failure, exceptions.ConnectionError), (
        f"redis-py no longer takes the host of a Unix socket's connection as cluster/connector.py gives it: {failure}"
    )
    assert "/nowhere/redis.sock" in str(failure), "redis-py no longer says which Unix socket it cannot reach"


# hiredis, by cluster/link.py.


def test_hiredis_packs_words_of_three_kinds() -> None:
    """hiredis packs commands from bytes, text and numbers, although its stub names a pair."""
    assert pack((b"SET", "key", 7)) == b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1\r\n7\r\n", (
        "hiredis.pack_command no longer packs bytes, str and int, of which cluster/link.py makes commands"
    )


def test_hiredis_reads_with_the_given_options() -> None:
    """The reader returns bytes, returns k6-sweep's own object if data is missing, and passes errors on as text."""
    more, errors = object(), list[str]()

    def note(text: str) -> Exception:
        errors.append(text)
        return exceptions.ResponseError(text)

    reader = hiredis.Reader(protocolError=exceptions.InvalidResponse, replyError=note, notEnoughData=more)
    reader.feed(b"$1\r\nx\r\n-ERR no\r\n")
    said = [reader.gets(False), type(reader.gets(False)), reader.gets(False)]
    assert (said, errors) == ([b"x", exceptions.ResponseError, more], ["ERR no"]), (
        "hiredis.Reader no longer does what PipelinedConnection._read in cluster/link.py asks of it: "
        "gets(False) for bytes, replyError with the error's text, notEnoughData where a reply is not whole"
    )


# uvicorn and h11, by api/server.py.


@pytest.mark.parametrize("name", ["connection_made", "data_received", "on_response_complete", "connection_lost"])
def test_uvicorn_calls_what_is_overridden(name: str) -> None:
    """H11Protocol has the methods that k6-sweep overrides to detect a slow request."""
    assert callable(getattr(H11Protocol, name, None)), (
        f"uvicorn's H11Protocol no longer has {name}, by which Connection in api/connection.py times a request"
    )


def test_uvicorn_calls_the_overridden_end_of_a_cycle() -> None:
    """uvicorn looks up the method that ends a request's cycle on the protocol, so that it calls an override."""
    assert "on_response_complete" in names_in(H11Protocol.handle_events), (
        "uvicorn's H11Protocol no longer hands on_response_complete to a request's cycle: api/connection.py "
        "would not notice that an answer is complete"
    )


def test_uvicorn_shows_what_it_reads() -> None:
    """A protocol has its h11 connection, loop, transport and request cycle, which is None before the first request."""
    loop = asyncio.new_event_loop()
    try:
        config = uvicorn.Config(print, http=H11Protocol, lifespan="off", log_config=None)
        protocol = H11Protocol(config, ServerState(), {}, loop)
    finally:
        loop.close()
    for name in (
        "conn",
        "loop",
        "transport",
        "cycle",
        "scope",
        "headers",
        "timeout_keep_alive",
        "timeout_keep_alive_task",
    ):
        assert hasattr(protocol, name), (
            f"uvicorn's H11Protocol no longer has {name}, which Connection in api/connection.py reads"
        )
    assert isinstance(protocol.conn, h11.Connection), "uvicorn's H11Protocol.conn is no longer an h11.Connection"
    assert protocol.cycle is None, (
        "uvicorn's H11Protocol.cycle is no longer None before the first request, by which api/connection.py "
        "knows that a connection is new"
    )
    assert (protocol.conn.their_state, protocol.conn.trailing_data[0]) == (h11.IDLE, b""), (
        "h11's Connection no longer says by their_state and trailing_data how much of a request is there, which "
        "Connection in api/connection.py asks"
    )


def test_uvicorn_asks_whether_to_end() -> None:
    """The server's loop calls on_tick ten times a second, and ends when it returns true."""
    assert inspect.iscoroutinefunction(getattr(uvicorn.Server, "on_tick", None)), (
        "uvicorn's Server no longer has the coroutine on_tick, by which Server in api/server.py ends"
    )
    assert parameters(uvicorn.Server.on_tick) == ["self", "counter"], (
        "uvicorn's Server.on_tick takes something else now"
    )
    assert "on_tick" in names_in(uvicorn.Server.main_loop), "uvicorn's Server.main_loop no longer asks on_tick"
    server = uvicorn.Server(uvicorn.Config(print, log_config=None))
    server.should_exit = True
    assert asyncio.run(server.on_tick(1)) is True, "uvicorn's Server.on_tick no longer minds should_exit"


def test_uvicorn_can_be_kept_from_signals() -> None:
    """uvicorn handles signals in one method only, which k6-sweep overrides because `serve` handles them."""
    assert hasattr(uvicorn.Server, "capture_signals"), (
        "uvicorn's Server no longer has capture_signals: Server in api/server.py would lose SIGTERM to it"
    )
    assert "capture_signals" in names_in(uvicorn.Server.serve), (
        "uvicorn's Server.serve no longer takes signals by capture_signals: Server in api/server.py would lose SIGTERM"
    )
    assert "sockets" in parameters(uvicorn.Server.serve), "uvicorn's Server.serve no longer takes sockets that listen"


def test_uvicorn_complains_where_we_listen() -> None:
    """uvicorn logs its problems with one logger, which k6-sweep connects to its own log."""
    assert logger.name == "uvicorn.error", (
        f"uvicorn now logs as {logger.name!r}; make_server in api/server.py sends only 'uvicorn.error' to our log"
    )


# FastAPI, Starlette and pydantic, by the rest of api/.


async def nothing_more() -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": b""}


async def to_nobody(_: MutableMapping[str, Any]) -> None:
    pass


def test_fastapi_gives_the_route_that_it_took() -> None:
    """A request's scope has the route that answered it; k6-sweep counts requests by its path."""
    app, path = FastAPI(), "/sweeps/{sweep_id}"
    app.add_api_route(path, lambda sweep_id: sweep_id)
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/sweeps/7", "query_string": b"", "headers": []}
    asyncio.run(app(scope, nothing_more, to_nobody))
    assert getattr(scope.get("route"), "path", None) == path, (
        "FastAPI no longer puts the route that it took into scope['route']: Audited in api/audit.py would count every "
        "request as 'other'"
    )


def test_starlette_gives_the_route_that_it_would_take() -> None:
    """A router's routes can be matched against a scope before the request is read."""
    router = APIRouter()
    router.add_api_route("/cleanup", lambda: None, methods=["POST"])
    scope = {"type": "http", "method": "POST", "path": "/cleanup", "headers": []}
    assert [route.matches(scope)[0] for route in router.routes] == [Match.FULL], (
        "a route's matches(scope) no longer says Match.FULL of its own path: Gate in api/gate.py would let requests in "
        "without a token"
    )


def test_fastapi_shows_whether_a_route_has_a_body() -> None:
    """A route has the field of its body, and None if it takes no body."""

    def take(order: dict[str, int]) -> None:
        assert order

    routes = APIRoute("/", take, methods=["POST"]), APIRoute("/", lambda: None, methods=["POST"])
    assert [bool(getattr(route, "body_field", None)) for route in routes] == [True, False], (
        "FastAPI's APIRoute no longer has body_field where there is a body: StrictRoute in api/body.py would let a "
        "field through that stands twice"
    )


def test_pydantic_words_errors() -> None:
    """k6-sweep's own words about a bad body follow pydantic's prefix in the error."""

    class Body(BaseModel):
        model_config = ConfigDict(extra="forbid")

        @model_validator(mode="before")
        @classmethod
        def refuse(cls, given: dict[str, Any]) -> dict[str, Any]:
            if "bad" in given:
                raise ValueError("our words")
            return given

    said = []
    for given in ({"bad": 1}, {"unknown": 1}):
        with pytest.raises(ValidationError) as caught:
            Body.model_validate(given)
        said += [(error["type"], error["msg"]) for error in caught.value.errors()]
    assert said[0] == ("value_error", "Value error, our words"), (
        "pydantic no longer writes 'Value error, ' before the words of a ValueError: in_our_words in api/body.py takes "
        "that off"
    )
    assert said[1][0] == "extra_forbidden", (
        "pydantic no longer calls an unknown field extra_forbidden, by which in_our_words in api/body.py names fields"
    )


# Other packages.


def test_pyyaml_indents_lists_by_a_method() -> None:
    """PyYAML asks a method whether to indent a list, and libyaml's marks have the index of a character."""
    assert parameters(SafeDumper.increase_indent) == ["self", "flow", "indentless"], (
        "PyYAML's Emitter.increase_indent takes something else now than inject/render.py gives"
    )
    key: Any = list(yaml.parse("\U0001f600: {a: 1}", Loader=CSafeLoader))[3]
    assert (key.start_mark.index, key.end_mark.index, key.style) == (0, 1, ""), (
        "PyYAML's marks no longer have the index of a character, by which inject/nodes.py knows the place of a value"
    )


def test_botocore_signs_what_is_no_request_of_its_own() -> None:
    """botocore's signer for its own clients also signs tokens for ElastiCache and MemoryDB."""
    assert hasattr(Session(), "get_component"), (
        "botocore's Session no longer has get_component, from which cluster/iam.py takes the signer's event emitter"
    )
    wanted = ["service_id", "region_name", "signing_name", "signature_version", "credentials", "event_emitter"]
    assert parameters(RequestSigner)[:6] == wanted, (
        "botocore's RequestSigner takes something else now than cluster/iam.py gives"
    )
    assert {"request_dict", "operation_name", "expires_in", "region_name"} <= set(
        parameters(RequestSigner.generate_presigned_url)
    ), "botocore's RequestSigner.generate_presigned_url takes something else now than cluster/iam.py gives"
