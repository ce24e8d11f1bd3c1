"""A server that answers as no Redis does is "not supported"; no reply of any type is an internal error."""

import contextlib
import time
from pathlib import Path

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.register import Register
from k6_sweep.errors import DeniedError, RedisError, RefusedError
from k6_sweep.sweep.preflight import preflight
from k6_sweep.sweep.sweeper import take_snapshot
from tests.acceptance.command import k6_sweep
from tests.integration.odd_server import odd_server, packed
from tests.support import limited, quiet_log, settings_for, snapshot_settings_for, sweep_now

ODD = {
    "a status": b"+OK\r\n",
    "a number": b":5\r\n",
    "a negative number": b":-1\r\n",
    "a text": b"$5\r\nhello\r\n",
    "an empty text": b"$0\r\n\r\n",
    "bytes that are no text": b"$2\r\n\xff\xfe\r\n",
    "no text": b"$-1\r\n",
    "no list": b"*-1\r\n",
    "an empty list": b"*0\r\n",
    "a list of a number": b"*1\r\n:1\r\n",
    "a list of two": b"*2\r\n+a\r\n:1\r\n",
    "lists in a list": b"*2\r\n*-1\r\n*1\r\n$-1\r\n",
    "slots without node ids": packed([[0, 16383, ["127.0.0.1", 1]]]),
    "slots that do not exist": packed([[0, 99999, ["127.0.0.1", 1, "id"]]]),
    "a map": b"%1\r\n+a\r\n+b\r\n",
    "an error": b"-ERR unknown command\r\n",
    "a login that is needed": b"-NOAUTH Authentication required.\r\n",
    "a bare MOVED": b"-MOVED\r\n",
    "a MOVED without an address": b"-MOVED 5\r\n",
    "a bare ASK": b"-ASK\r\n",
    "an ASK to nowhere": b"-ASK 15495 :1\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "no protocol": b"\x15\x03\x01\x00\x02\x02\x16",
}
OF_A_CLUSTER = (
    *("", "AUTH", "HELLO", "CLUSTER SLOTS", "CLUSTER NODES", "CLUSTER COUNTKEYSINSLOT", "CLUSTER GETKEYSINSLOT"),
    *("UNLINK", "EXISTS", "DBSIZE", "ZRANGE", "ZADD", "ZREM"),
)
OF_A_SERVER = ("SELECT", "HELLO", "UNLINK", "EXISTS", "SCAN", "ROLE", "INFO", "SENTINEL")
PATTERN = "test:{a}:*"
"""It reaches only one slot, so that a sweep is short."""
SECONDS = 0.2


def sweep_it(url: str) -> None:
    sweep_now(settings_for(url.replace("//", "//user:secret@"), patterns=[PATTERN]), seconds=SECONDS)


def count_it(url: str) -> None:
    sweep_now(settings_for(url + "/1", "--dry-run", "--max-keys", "5", patterns=[PATTERN]), seconds=SECONDS)


def sweep_by_sentinel(url: str) -> None:
    url = url.replace("redis://", "redis+sentinel://") + "/main"
    sweep_now(settings_for(url, patterns=[PATTERN]), seconds=SECONDS)


def note_it(url: str) -> None:
    end = time.monotonic() + SECONDS
    settings = snapshot_settings_for(url, Path("unused"), patterns=[PATTERN])
    limit = limited(lambda: end - time.monotonic())
    take_snapshot(settings, Connector(settings, limit.remaining), limit, quiet_log(), lambda _: None)


def check_it(url: str) -> None:
    settings = settings_for(url, "--require-marker", "test:{a}:marker", patterns=[PATTERN])
    preflight(settings, Connector(settings), look=True)


def use_the_register(url: str) -> None:
    settings = settings_for(url, patterns=[PATTERN])
    register = Register(settings.redis_url, settings.pattern, Connector(settings))
    register.try_out()
    register.read()


WAYS = {
    "cluster": (sweep_it, count_it, note_it, check_it, use_the_register),
    "standalone": (sweep_it, note_it, check_it, sweep_by_sentinel),
}


@pytest.mark.parametrize(
    ("mode", "command"), [("cluster", name) for name in OF_A_CLUSTER] + [("standalone", name) for name in OF_A_SERVER]
)
def test_no_reply_is_an_internal_error(mode: str, command: str) -> None:
    """Whatever a server answers to a command, k6-sweep ends with a report, or with an error about Redis."""
    for odd in ODD.values():
        with odd_server({command: odd}, mode=mode) as server:
            for way in WAYS[mode]:
                with contextlib.suppress(RedisError, RefusedError):
                    way(server.url)


WRONG = {
    "HELLO": ("a number", "a text", "no text", "an empty list", "a list of two", "lists in a list"),
    "CLUSTER SLOTS": (
        "a number",
        "a text",
        "no list",
        "a list of a number",
        "slots without node ids",
        "slots that do not exist",
    ),
    "CLUSTER NODES": ("a number", "a text", "a list of two", "bytes that are no text"),
    "CLUSTER COUNTKEYSINSLOT": ("a text", "no text", "an empty list"),
    "CLUSTER GETKEYSINSLOT": ("a number", "a text", "no list", "a list of a number"),
    "UNLINK": ("a status", "no text", "an empty list"),
}


@pytest.mark.parametrize(("command", "kind"), [(command, kind) for command, kinds in WRONG.items() for kind in kinds])
def test_a_wrong_type_is_not_supported(command: str, kind: str) -> None:
    """The message names the server, the kind of the reply, and the command."""
    with odd_server({command: ODD[kind]}) as server:
        said = rf"not supported: 127\.0\.0\.1:{server.port} answered (nothing|a \w+( of \d)?) to {command}, which"
        with pytest.raises(DeniedError, match=said):
            sweep_now(settings_for(server.url, patterns=[PATTERN]))


@pytest.mark.parametrize("odd", ["HTTP", "no protocol"])
@pytest.mark.parametrize("command", ["", "AUTH"])
def test_another_protocol_is_not_supported(command: str, odd: str) -> None:
    """A server of another protocol is refused at once, before or after the login."""
    with odd_server({command: ODD[odd]}) as server, pytest.raises(DeniedError, match=r"^not supported: 127"):
        sweep_it(server.url)


def test_the_sane_server_is_swept() -> None:
    """Without odd replies the same server is swept, noted and ready, so the other tests are about the odd reply."""
    with odd_server({"EXISTS": b":1\r\n"}) as server:
        for way in (sweep_it, note_it, check_it):
            way(server.url)


@pytest.mark.parametrize("command", ["run", "check", "snapshot"])
def test_replies_that_drip_hold_no_command(tmp_path: Path, command: str) -> None:
    """A server that sends a byte a second, whose first reply takes minutes, holds a command no longer than its time."""
    out = ("--out", str(tmp_path / "snapshot")) if command == "snapshot" else ()
    with odd_server({}, pause=1.0) as server:
        ended = k6_sweep(command, "--redis-url", server.url, "--pattern", "test:*", "--timeout", "2", *out)
    assert (ended.code, ended.report["status"]) == (5, "failed")
    assert "Redis did not answer before the time was over" in ended.report["errors"]
