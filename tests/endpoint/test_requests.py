"""What the endpoint takes, and what it answers."""

import http.client
import json
import signal
import ssl
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from k6_sweep.demo.servers import Node, find_redis_server, start_server, stop
from tests.acceptance.command import k6_sweep
from tests.certificates import Authority
from tests.endpoint.served import ADMIN, INTERNAL, TOKEN, Served, served
from tests.support import keys_of, until


def left(redis: Node) -> int:
    """Count the test's keys; the user's must be there in any case."""
    keys = keys_of([redis])
    assert b"user:1" in keys
    return sum(key.startswith(b"test:") for key in keys - {b"test:k6-sweep-lock"})


@pytest.mark.parametrize("path", [ADMIN, INTERNAL])
def test_the_answer_is_the_guides(endpoint: Served, redis: Node, path: str) -> None:
    """The three fields that callers know come first; ours are beside them."""
    answer = endpoint.post({"patterns": ["test:*"], "dry_run": False}, path)
    assert answer.code == 200
    assert list(answer.body)[1:4] == ["deleted_count", "patterns", "dry_run"]
    assert (answer.body["deleted_count"], answer.body["patterns"], answer.body["dry_run"]) == (100, ["test:*"], False)
    report = answer.body["report"]
    assert (report["status"], report["remaining"], report["preserved"]) == ("complete", 0, 0)
    assert left(redis) == 0


@pytest.mark.parametrize("body", [{}, {"patterns": []}, {"patterns": None, "dry_run": None}])
def test_without_patterns_the_configured_ones(endpoint: Served, redis: Node, body: dict[str, Any]) -> None:
    """Who names no pattern means those of the settings."""
    assert endpoint.post(body).body["patterns"] == ["test:*"]
    assert left(redis) == 0


@pytest.mark.parametrize("body", [{"dry_run": True}, {"dryRun": True}, {"dry_run": True, "dryRun": True}])
def test_a_dry_run_in_either_spelling(endpoint: Served, redis: Node, body: dict[str, Any]) -> None:
    """Nothing is deleted, whichever way the caller spells it."""
    answer = endpoint.post(body)
    assert (answer.code, answer.body["deleted_count"], answer.body["report"]["matched"]) == (200, 0, 100)
    assert left(redis) == 100


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        '"test:*"',
        b"\xff\xfe\x00",
        '{"dry_run": true, "dryRun": false}',
        '{"dry_run": false, "dryRun": true}',
        '{"dry_run": true, "dry_run": false}',
        '{"patterns": ["test:*"], "patterns": ["test:*"]}',
        '{"dryrun": true}',
        '{"pattern": ["test:*"]}',
        '{"patterns": "test:*"}',
        '{"patterns": [1]}',
        '{"patterns": [""]}',
        json.dumps({"patterns": ["test:x"] * 101}),
        json.dumps({"patterns": ["test:" + "x" * 1000]}),
        '{"patterns": ["test:[a"]}',
        '{"patterns": ["test:\\ud800"]}',
        '{"dry_run": "false"}',
        '{"dry_run": 0}',
        "[" * 60_000,
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_bad_body_deletes_nothing(endpoint: Served, redis: Node, body: str | bytes) -> None:
    """Whatever is not just what the body may be is answered with 400 and a reason."""
    answer = endpoint.post(body)
    assert answer.code == 400
    assert answer.body["error"]
    assert "Order" not in answer.body["error"]
    assert left(redis) == 100


@pytest.mark.parametrize("pattern", ["*", "user:*", "tes*", "t?st:*", "test", "[t]est:*x", "user:1"])
def test_only_within_the_configured_patterns(endpoint: Served, redis: Node, pattern: str) -> None:
    """A token, leaked or not, reaches no key that the settings don't name."""
    answer = endpoint.post({"patterns": ["test:1", pattern]})
    within = pattern == "[t]est:*x"  # within, but it begins with too little: a guard's business
    assert answer.code == (422 if within else 403)
    assert left(redis) == 100


def test_narrower_patterns_are_welcome(endpoint: Served, redis: Node) -> None:
    """A request may ask for less than what is configured."""
    assert endpoint.post({"patterns": ["test:1?", "test:2"]}).body["deleted_count"] == 11
    assert left(redis) == 89


def test_a_guard_refuses(url: str, redis: Node) -> None:
    """422, with the guard's reason, and nothing deleted."""
    with served(url, "--max-keys", "10") as endpoint:
        answer = endpoint.post()
    assert (answer.code, answer.body["report"]["status"]) == (422, "refused")
    assert "--max-keys" in answer.body["error"]
    assert left(redis) == 100


def test_a_body_may_not_be_long(endpoint: Served, redis: Node) -> None:
    """413 above 64 KiB, told beforehand or in chunks; the next request is answered."""
    long = json.dumps({"patterns": ["test:" + "x" * 66_000]})
    assert endpoint.post(long).code == 413
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=30)
    connection.request("POST", ADMIN, iter([long.encode()]), {"X-Admin-Token": TOKEN}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert left(redis) == 100
    assert endpoint.post().code == 200


def test_one_at_a_time(slow_endpoint: Served, redis: Node) -> None:
    """A second sweep, and a dry run too, is told the id of the one that runs."""
    begun = slow_endpoint.post(headers={"Prefer": "respond-async"})
    for body in ({}, {"dry_run": True}):
        answer = slow_endpoint.post(body)
        assert (answer.code, answer.body["id"]) == (409, begun.body["id"])
    place = begun.headers["location"]
    until(lambda: slow_endpoint.ask("GET", place).body["report"]["status"] == "complete")
    assert slow_endpoint.post({"dry_run": True}).code == 200
    assert left(redis) == 0


def test_one_at_a_time_across_replicas(url: str) -> None:
    """Another replica knows of the sweep by the lock, and can begin when it is done."""
    with served(url, "--settle", "3") as first, served(url) as second:
        begun = first.post(headers={"Prefer": "wait=1, Respond-Async; x=y"})
        assert (begun.code, begun.headers["preference-applied"]) == (202, "respond-async")
        answer = second.post()
        assert (answer.code, answer.body["id"]) == (409, begun.body["id"])
        until(lambda: first.ask("GET", begun.headers["location"]).body["report"]["status"] == "complete")
        assert second.post().code == 200


def test_a_killed_replica_does_not_hold_the_lock_for_ever(url: str, redis: Node) -> None:
    """The lock ends by itself, a little after the time that the sweep had."""
    with served(url, "--settle", "3", "--timeout", "5") as first:
        first.post(headers={"Prefer": "respond-async"})
        first.process.kill()
    left_for = redis.ask("PTTL", "test:k6-sweep-lock")
    assert 5_000 < left_for <= 15_000


def test_progress_can_be_read(url: str) -> None:
    """How far a sweep is stands under its Location, and in the end its report."""
    with served(url, "--max-rate", "20") as endpoint:
        begun = endpoint.post(headers={"Prefer": "respond-async"})
        place = begun.headers["location"]
        assert place == f"/sweeps/{begun.body['id']}"
        until(lambda: endpoint.ask("GET", place).body["deleted_count"] > 0)
        now = endpoint.ask("GET", place).body["report"]
        assert now["status"] == "sweeping"
        assert now["slots"] is None  # a single server has none
        assert now["deleted"] <= now["patterns"]["test:*"] == now["matched"]
        until(lambda: endpoint.ask("GET", place).body["report"]["status"] == "complete")
        assert endpoint.ask("GET", place).body["deleted_count"] == 100


def test_a_sweep_can_be_cancelled(url: str, redis: Node) -> None:
    """DELETE stops it at its next batch; what was done is told, and the way is free again."""
    with served(url, "--max-rate", "20") as endpoint:
        place = endpoint.post(headers={"Prefer": "respond-async"}).headers["location"]
        until(lambda: endpoint.ask("GET", place).body["deleted_count"] > 0)
        assert endpoint.ask("DELETE", place).code == 200
        until(lambda: endpoint.ask("GET", place).body["report"]["status"] == "incomplete")
        ended = endpoint.ask("GET", place).body
        assert "a request cancelled" in ended["error"]
        assert ended["deleted_count"] == 100 - left(redis) > 0
        assert endpoint.post({"dry_run": True}).code == 200
        assert endpoint.ask("DELETE", place).body == ended


def test_a_client_that_hangs_up_stops_nothing(url: str, redis: Node) -> None:
    """The sweep runs on, can be read, and the audit says that nobody waited for it."""
    with served(url, "--settle", "1") as endpoint:
        with pytest.raises(TimeoutError):
            endpoint.post(seconds=0.3)
        until(lambda: left(redis) == 0)
        until(lambda: bool(endpoint.events("request")))
        (line,) = endpoint.events("request")
        assert (line["client_gone"], line["deleted"], line["result"]) == (True, 100, "complete")
        assert endpoint.ask("GET", f"/sweeps/{line['sweep']}").body["deleted_count"] == 100


def test_past_the_deadline(url: str, redis: Node) -> None:
    """504, with what was done until then."""
    with served(url, "--max-rate", "20", "--timeout", "3") as endpoint:
        answer = endpoint.post()
    assert (answer.code, answer.body["report"]["status"]) == (504, "incomplete")
    assert 0 < answer.body["deleted_count"] == 100 - left(redis)
    assert "stopped early" in answer.body["error"]


def test_ready_only_if_redis_answers(tmp_path: Path) -> None:
    """Not while it hangs, and not while it wants a login that we don't have."""
    own = start_server(find_redis_server(), tmp_path)
    with served(f"redis://127.0.0.1:{own.port}") as endpoint:

        def ready() -> bool:
            return endpoint.ask("GET", "/readyz", token=None).code == 200

        until(ready)
        own.process.send_signal(signal.SIGSTOP)
        until(lambda: not ready())
        own.process.send_signal(signal.SIGCONT)
        until(ready)
        admin = own.link()
        admin.ask("CONFIG", "SET", "requirepass", "word")
        admin.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # who is logged in stays so
        admin.close()
        until(lambda: not ready())
        assert "login" in endpoint.ask("GET", "/readyz", token=None).body["error"]
    stop([own])


def test_redis_is_away(tmp_path: Path) -> None:
    """503 at once, with nothing deleted, and /readyz says so; the process is healthy all the time."""
    own = start_server(find_redis_server(), tmp_path)
    with served(f"redis://127.0.0.1:{own.port}") as endpoint:
        assert endpoint.ask("GET", "/readyz", token=None).code == 200
        stop([own])
        answer = endpoint.post()
        assert (answer.code, answer.body["report"]["status"], answer.body["deleted_count"]) == (503, "failed", 0)
        assert "cannot reach" in answer.body["error"]
        assert endpoint.post(headers={"Prefer": "respond-async"}).code == 503
        until(lambda: endpoint.ask("GET", "/readyz", token=None).code == 503)
        assert endpoint.ask("GET", "/healthz", token=None).code == 200


def test_redis_denies(url: str, redis: Node) -> None:
    """A user who may not set the lock is told what is lacking."""
    redis.ask("ACL", "SETUSER", "sweeper", "reset", "on", ">word", "~test:*", "-@all", "+unlink", "+scan")
    with served(url, "--redis-username", "sweeper", env={"SWEEP_REDIS_PASSWORD": "word"}) as endpoint:
        answer = endpoint.post()
        assert answer.code == 503
        assert "the sweep lock needs SET and GET" in answer.body["error"]
        redis.ask("ACL", "SETUSER", "sweeper", "+set", "+get")
        assert endpoint.post().body["deleted_count"] == 100


def test_a_token_file_may_be_rotated(url: str, token_file: Path) -> None:
    """The file is read at each request; the old token is worth nothing then."""
    with served(url, "--admin-token-file", str(token_file)) as endpoint:
        assert endpoint.post(token="first-token").code == 200
        token_file.write_text("second-token")
        assert endpoint.post(token="first-token").code == 403
        assert endpoint.post(token="second-token").code == 200
        token_file.unlink()
        assert endpoint.post(token="second-token").code == 403
        token_file.write_text("")
        assert endpoint.post(token="").code == 403


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        ((), {}, "a token is required"),
        ((), {"SWEEP_ADMIN_TOKEN": "with blank"}, "characters that an HTTP header cannot hold"),
        (("--admin-token-file", "/dev/null"), {}, "--admin-token-file is empty"),
        (("--admin-token-file", "/dev/null"), {"SWEEP_ADMIN_TOKEN": "x"}, "keep one"),
        (("--tls-cert-file", "/dev/null"), {"SWEEP_ADMIN_TOKEN": "x"}, "one is missing"),
        (
            ("--tls-cert-file", "/dev/null", "--tls-key-file", "/dev/null"),
            {"SWEEP_ADMIN_TOKEN": "x"},
            "do not hold a certificate and its key",
        ),
        (("--pattern", "test:\udcff*"), {"SWEEP_ADMIN_TOKEN": "x"}, "is not UTF-8"),
        (("--listen", "8000"), {"SWEEP_ADMIN_TOKEN": "x"}, "--listen must be HOST:PORT"),
        (("--listen", "192.0.2.1:1"), {"SWEEP_ADMIN_TOKEN": "x"}, "cannot listen on 192.0.2.1:1 (--listen)"),
        (
            ("--admin-token", "x"),
            {},
            "other processes can read it; set SWEEP_ADMIN_TOKEN",
        ),
    ],
)
def test_it_refuses_to_start(options: tuple[str, ...], env: dict[str, str], said: str) -> None:
    """Exit 2 and a sentence, where it could not serve, or would serve anybody."""
    ended = k6_sweep("serve", "--redis-url", "redis://127.0.0.1:1", "--pattern", "test:*", *options, env=env)
    assert (ended.code, ended.report["status"]) == (2, "error")
    assert said in str(ended.report["errors"])
    assert "Traceback" not in ended.log


def test_it_refuses_to_start_with_broad_patterns() -> None:
    """Exit 4, as every sweep does."""
    env = {"SWEEP_ADMIN_TOKEN": "x"}
    ended = k6_sweep("serve", "--redis-url", "redis://127.0.0.1:1", "--pattern", "t*", env=env)
    assert (ended.code, ended.report["status"]) == (4, "refused")


def test_https(url: str, tmp_path: Path) -> None:
    """With a certificate it speaks TLS, and plain HTTP no more."""
    authority = Authority(tmp_path)
    certificate = authority.issue("endpoint", "localhost")
    tls = ("--tls-cert-file", str(certificate), "--tls-key-file", str(authority.key_file))
    with served(url, *tls) as endpoint:
        context = ssl.create_default_context(cafile=str(authority.file))
        address = f"https://localhost:{endpoint.port}/healthz"
        with urllib.request.urlopen(address, context=context) as response:
            assert response.status == 200
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            endpoint.ask("GET", "/healthz")


@pytest.mark.parametrize(("number", "finishes"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_its_end_is_graceful(url: str, redis: Node, number: signal.Signals, finishes: bool) -> None:
    """SIGTERM lets the running sweep end within the grace period; SIGINT stops it at its next batch. Both are told."""
    with served(url, "--max-rate", "25", "--grace-period", "20") as endpoint:
        place = endpoint.post(headers={"Prefer": "respond-async"}).headers["location"]
        until(lambda: endpoint.ask("GET", place).body["deleted_count"] > 0)
        endpoint.process.send_signal(number)
        assert endpoint.process.wait(120) == 0
    assert endpoint.report["status"] == "stopped"
    assert endpoint.report["deleted"] == 100 - left(redis)
    assert (left(redis) == 0) is finishes
    (swept,) = [line for line in endpoint.events("done") if line["status"] != "stopped"]
    assert (swept["status"], swept["level"]) == (("complete", "info") if finishes else ("incomplete", "error"))
    assert len(swept["token"]) == 8


@pytest.mark.parametrize("grace", ["2", "4", "5.5"])
def test_a_waiting_caller_is_answered_at_the_end(url: str, redis: Node, grace: str) -> None:
    """Who waits for a sweep when SIGTERM comes gets the answer, cut short by the grace period if need be."""
    with served(url, "--max-rate", "5", "--grace-period", grace) as endpoint, ThreadPoolExecutor() as pool:
        waiting = pool.submit(endpoint.post)
        until(lambda: left(redis) < 100)
        endpoint.process.terminate()
        answer = waiting.result()
        assert (answer.code, answer.body["report"]["status"]) == (504, "incomplete")
        assert "the server was shut down" in answer.body["error"]
        assert answer.body["deleted_count"] == 100 - left(redis)
        assert endpoint.process.wait(120) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_the_next_batch(url: str, redis: Node, number: signal.Signals) -> None:
    """Nobody waits on a connection, and yet: it stops, reports, and gives the lock back."""
    with served(url, "--max-rate", "5", "--grace-period", "60") as endpoint:
        place = endpoint.post(headers={"Prefer": "respond-async"}).headers["location"]
        until(lambda: endpoint.ask("GET", place).body["deleted_count"] > 0)
        endpoint.process.terminate()
        until(lambda: endpoint.ask("GET", "/readyz", token=None).code == 503)
        assert endpoint.ask("GET", place).body["report"]["status"] == "sweeping"
        assert (endpoint.post().code, endpoint.post().body["error"]) == (503, "the server is shutting down; retry")
        endpoint.process.send_signal(number)
        assert endpoint.process.wait(120) == 0
    assert (endpoint.report["status"], endpoint.report["deleted"]) == ("stopped", 100 - left(redis))
    assert redis.ask("EXISTS", "test:k6-sweep-lock") == 0


def test_the_docs_page_needs_no_internet(endpoint: Served) -> None:
    """Everything that the page loads comes from the endpoint itself."""
    page = endpoint.ask("GET", "/docs", token=None).text
    loaded = [part.split('"')[0] for part in page.replace("src=", "href=").split('href="')[1:]]
    assert len(loaded) == 3
    assert {endpoint.ask("GET", path, token=None).code for path in loaded} == {200}
    assert "//" not in "".join(loaded)
    document = endpoint.ask("GET", "/openapi.json", token=None).body
    assert {ADMIN, INTERNAL, "/sweeps/{sweep_id}", "/healthz", "/readyz", "/metrics"} == document["paths"].keys()


def test_each_request_is_told(new_endpoint: Served) -> None:
    """One line: who, by which token, for what, and the counts; a token itself is never in the log."""
    new_endpoint.post({"patterns": ["test:1"]})
    new_endpoint.post(token="wrong-one")
    until(lambda: len(new_endpoint.events("request")) == 2)
    first, second = new_endpoint.events("request")
    assert (first["address"], first["code"], first["deleted"], first["patterns"]) == ("127.0.0.1", 200, 1, ["test:1"])
    assert (second["code"], second["token"] != first["token"]) == (403, True)
    assert not any(word in json.dumps(new_endpoint.lines) for word in (TOKEN, "wrong-one"))


def test_what_happened_can_be_scraped(new_endpoint: Served) -> None:
    """The counts are there for Prometheus."""
    new_endpoint.post({"dry_run": True})
    new_endpoint.post()
    assert new_endpoint.metric('k6_sweep_sweeps_total{status="complete"}') == 1
    assert new_endpoint.metric("k6_sweep_deleted_keys_total") == 100
    assert new_endpoint.metric('k6_sweep_last_matched_keys{pattern="test:*"}') == 100
    assert new_endpoint.metric(f'k6_sweep_http_requests_total{{code="200",method="POST",path="{ADMIN}"}}') == 2
