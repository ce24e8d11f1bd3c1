"""The requests that the endpoint accepts, and its answers."""

import http.client
import json
import signal
import ssl
import time
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
    """Count the test's remaining keys, and check that the user's key is there."""
    keys = keys_of([redis])
    assert b"user:1" in keys
    return sum(key.startswith(b"test:") for key in keys - {b"test:{k6-sweep}lock"})


@pytest.mark.parametrize("path", [ADMIN, INTERNAL])
def test_the_answer_is_the_guides(endpoint: Served, redis: Node, path: str) -> None:
    """The answer has the guide's three fields first, and k6-sweep's report in another field."""
    answer = endpoint.post({"patterns": ["test:*"], "dry_run": False}, path)
    assert answer.code == 200
    assert list(answer.body)[1:4] == ["deleted_count", "patterns", "dry_run"]
    assert (answer.body["deleted_count"], answer.body["patterns"], answer.body["dry_run"]) == (100, ["test:*"], False)
    report = answer.body["report"]
    assert (report["status"], report["remaining"], report["preserved"]) == ("complete", 0, 0)
    assert left(redis) == 0


def test_without_patterns_the_configured_ones(endpoint: Served, redis: Node) -> None:
    """A request without patterns sweeps the configured ones."""
    assert endpoint.post({}).body["patterns"] == ["test:*"]
    assert left(redis) == 0


@pytest.mark.parametrize("body", [{"dry_run": True}, {"dryRun": True}, {"dry_run": True, "dryRun": True}])
def test_a_dry_run_in_either_spelling(endpoint: Served, redis: Node, body: dict[str, Any]) -> None:
    """A dry run deletes nothing, with `dry_run` as well as `dryRun`."""
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
        '{"patterns": []}',
        '{"patterns": null}',
        '{"dry_run": null}',
        '{"dryRun": null}',
        '{"dry_run": true, "dryRun": null}',
        '{"patterns": ["test:\\\\"]}',
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
    """A body with any mistake gets 400 with a reason, and deletes nothing."""
    answer = endpoint.post(body)
    assert answer.code == 400
    assert answer.body["error"]
    assert "Order" not in answer.body["error"]
    assert left(redis) == 100


@pytest.mark.parametrize("query", ["dry_run=true", "dryRun", "patterns=test:1", "x=%00"])
def test_query_parameters_delete_nothing(endpoint: Served, redis: Node, query: str) -> None:
    """A request with a query parameter gets 400: FastAPI would ignore it, and ?dry_run=true would delete."""
    for path in (ADMIN, INTERNAL):
        answer = endpoint.post({}, f"{path}?{query}")
        assert (answer.code, answer.body["error"]) == (
            400,
            "query parameters are not allowed; put patterns and dry_run into the body",
        )
    assert left(redis) == 100


@pytest.mark.parametrize("pattern", ["*", "user:*", "tes*", "t?st:*", "test", "[t]est:*x", "user:1"])
def test_only_within_the_configured_patterns(endpoint: Served, redis: Node, pattern: str) -> None:
    """No request, with whatever token, reaches a key outside the configured patterns."""
    answer = endpoint.post({"patterns": ["test:1", pattern]})
    within = pattern == "[t]est:*x"  # within, but broad: a guard refuses it
    assert answer.code == (422 if within else 403)
    assert left(redis) == 100


def test_narrower_patterns_are_welcome(endpoint: Served, redis: Node) -> None:
    """A request may name narrower patterns than the configured ones."""
    assert endpoint.post({"patterns": ["test:1?", "test:2"]}).body["deleted_count"] == 11
    assert left(redis) == 89


def test_a_guard_refuses(url: str, redis: Node) -> None:
    """A guard's refusal is answered with 422 and the reason, and deletes nothing."""
    with served(url, "--max-keys", "10") as endpoint:
        answer = endpoint.post()
    assert (answer.code, answer.body["report"]["status"]) == (422, "refused")
    assert "--max-keys" in answer.body["error"]
    assert left(redis) == 100


def test_a_body_may_not_be_long(endpoint: Served, redis: Node) -> None:
    """A body above 64 KiB gets 413, with a Content-Length or in chunks; the next request works."""
    long = json.dumps({"patterns": ["test:" + "x" * 66_000]})
    assert endpoint.post(long).code == 413
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=30)
    connection.request("POST", ADMIN, iter([long.encode()]), {"X-Admin-Token": TOKEN}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert left(redis) == 100
    assert endpoint.post().code == 200


def test_one_at_a_time(slow_endpoint: Served, redis: Node) -> None:
    """While a sweep runs, another sweep or dry run gets 409 with its id."""
    begun = slow_endpoint.post(headers={"Prefer": "respond-async"})
    for body in ({}, {"dry_run": True}):
        answer = slow_endpoint.post(body)
        assert (answer.code, answer.body["id"]) == (409, begun.body["id"])
        assert answer.headers["retry-after"] == "5"
    place = begun.headers["location"]
    until(lambda: slow_endpoint.ask("GET", place).body["report"]["status"] == "complete")
    assert slow_endpoint.post({"dry_run": True}).code == 200
    assert left(redis) == 0


def test_one_at_a_time_across_replicas(url: str) -> None:
    """Another replica sees the sweep by its lock, and can sweep after its end."""
    with served(url, "--settle", "3") as first, served(url) as second:
        begun = first.post(headers={"Prefer": "wait=1, Respond-Async; x=y"})
        assert (begun.code, begun.headers["preference-applied"]) == (202, "respond-async")
        answer = second.post()
        assert (answer.code, answer.body["id"]) == (409, begun.body["id"])
        until(lambda: first.ask("GET", begun.headers["location"]).body["report"]["status"] == "complete")
        assert second.post().code == 200


def test_a_killed_replica_does_not_hold_the_lock_for_ever(url: str, redis: Node) -> None:
    """The lock of a killed replica expires after seconds, however long a sweep may take; a living one keeps it."""
    with served(url, "--settle", "60", "--timeout", "600") as first:
        begun = first.post(headers={"Prefer": "respond-async"})
        time.sleep(6)
        assert json.loads(redis.ask("GET", "test:{k6-sweep}lock"))["id"] == begun.body["id"]
        first.process.kill()
    assert redis.ask("PTTL", "test:{k6-sweep}lock") <= 5_000


def test_progress_can_be_read(url: str) -> None:
    """The sweep's Location shows its progress, and its report in the end."""
    with served(url, "--max-rate", "20") as endpoint:
        begun = endpoint.post(headers={"Prefer": "respond-async"})
        place = begun.headers["location"]
        assert place == f"/sweeps/{begun.body['id']}"
        until(lambda: endpoint.ask("GET", place).body["deleted_count"] > 0)
        now = endpoint.ask("GET", place).body["report"]
        assert now["status"] == "sweeping"
        assert now["slots"] is None  # a single server has no slots
        assert now["deleted"] <= now["patterns"]["test:*"] == now["matched"]
        until(lambda: endpoint.ask("GET", place).body["report"]["status"] == "complete")
        assert endpoint.ask("GET", place).body["deleted_count"] == 100


def test_a_sweep_can_be_cancelled(url: str, redis: Node) -> None:
    """DELETE stops a sweep at its next batch, the report has its counts, and the next sweep can begin."""
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
    """If the client disconnects, the sweep goes on and stays readable, and the audit logs it."""
    with served(url, "--settle", "1") as endpoint:
        with pytest.raises(TimeoutError):
            endpoint.post(seconds=0.3)
        until(lambda: left(redis) == 0)
        until(lambda: bool(endpoint.events("request")))
        (line,) = endpoint.events("request")
        assert (line["client_gone"], line["deleted"], line["result"]) == (True, 100, "complete")
        assert endpoint.ask("GET", f"/sweeps/{line['sweep']}").body["deleted_count"] == 100


def test_past_the_deadline(url: str, redis: Node) -> None:
    """A sweep that reaches its deadline is answered with 504 and the counts so far."""
    with served(url, "--max-rate", "20", "--timeout", "3") as endpoint:
        answer = endpoint.post()
    assert (answer.code, answer.body["report"]["status"]) == (504, "incomplete")
    assert 0 < answer.body["deleted_count"] == 100 - left(redis)
    assert "stopped by --timeout (3 s)" in answer.body["error"]


def test_ready_only_if_redis_answers(tmp_path: Path) -> None:
    """/readyz fails while Redis hangs, and while it requires a login that the endpoint does not have."""
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
        admin.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # a logged-in connection stays logged in
        admin.close()
        until(lambda: not ready())
        assert "login" in endpoint.ask("GET", "/readyz", token=None).body["error"]
    stop([own])


def test_a_full_redis_is_swept(endpoint: Served, redis: Node) -> None:
    """A Redis that accepts no more keys, not even the lock, is swept: it needs the sweep most."""
    redis.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        answer = endpoint.post()
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", 0)
    assert (answer.code, answer.body["report"]["status"]) == (200, "complete")
    assert answer.body["deleted_count"] > 0
    assert left(redis) == 0


def test_redis_is_away(tmp_path: Path) -> None:
    """Without Redis a sweep gets 503 at once and /readyz fails, but /healthz succeeds."""
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
    """For a user who may not set the lock the error names the missing permissions."""
    redis.ask("ACL", "SETUSER", "sweeper", "reset", "on", ">word", "~test:*", "-@all", "+unlink", "+scan")
    with served(url, "--redis-username", "sweeper", env={"SWEEP_REDIS_PASSWORD": "word"}) as endpoint:
        answer = endpoint.post()
        assert answer.code == 503
        assert "the sweep lock needs SET and GET" in answer.body["error"]
        redis.ask("ACL", "SETUSER", "sweeper", "+set", "+get")
        assert endpoint.post().body["deleted_count"] == 100


def test_several_tokens(url: str, token_file: Path) -> None:
    """While a file has both tokens, both are accepted, and the audit names the one of each request and its sweep."""
    token_file.write_text("ci first-token\nsecond-token\n")
    with served(url, "--admin-token-file", str(token_file)) as endpoint:
        assert endpoint.post(token="first-token").code == 200
        assert endpoint.post({"dry_run": True}, token="second-token").code == 200
        token_file.write_text("second-token")
        assert endpoint.post(token="first-token").code == 403
        assert endpoint.post({"dry_run": True}, token="second-token").code == 200
        until(lambda: len(endpoint.events("request")) == 4)
        requests = [line.get("token_name") for line in endpoint.events("request")]
        sweeps = [line["token_name"] for line in endpoint.events("sweep started")]
        warned = [line["problem"].split(" has ")[0] for line in endpoint.events("unsafe setting")]
    assert requests == ["ci", "line 2", None, "line 1"]
    assert sweeps == ["ci", "line 2", "line 1"]
    assert warned == ["the admin token ci", "the admin token line 2", "the admin token line 1"]


def test_a_token_file_may_be_rotated(url: str, token_file: Path) -> None:
    """The endpoint reads the token file at each request, and refuses the old token after a change."""
    with served(url, "--admin-token-file", str(token_file)) as endpoint:
        assert endpoint.post(token="first-token").code == 200
        assert [line["problem"] for line in endpoint.events("unsafe setting") if "can be guessed" in line["problem"]]
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
        (("--admin-token-file", __file__), {}, "--admin-token-file: line 2 is empty"),
        (("--admin-token-file", "/dev/null"), {"SWEEP_ADMIN_TOKEN": "x"}, "keep one"),
        (("--tls-cert-file", "/dev/null"), {"SWEEP_ADMIN_TOKEN": "x"}, "one is missing"),
        (
            ("--tls-cert-file", "/dev/null", "--tls-key-file", "/dev/null"),
            {"SWEEP_ADMIN_TOKEN": "x"},
            "do not hold a certificate and its key",
        ),
        (("--pattern", "test:\udcff*"), {"SWEEP_ADMIN_TOKEN": "x"}, "is not UTF-8"),
        (("--listen", "8000"), {"SWEEP_ADMIN_TOKEN": "x"}, "--listen must be HOST:PORT"),
        (("--probe-listen", ""), {"SWEEP_ADMIN_TOKEN": "x"}, "--probe-listen is empty"),
        (("--listen", "192.0.2.1:1"), {"SWEEP_ADMIN_TOKEN": "x"}, "cannot listen on 192.0.2.1:1 (--listen)"),
        (
            ("--admin-token", "x"),
            {},
            "other processes can read it; set SWEEP_ADMIN_TOKEN",
        ),
    ],
)
def test_it_refuses_to_start(options: tuple[str, ...], env: dict[str, str], said: str) -> None:
    """`serve` exits 2 with a reason if it cannot work, or if it has no token."""
    ended = k6_sweep("serve", "--redis-url", "redis://127.0.0.1:1", "--pattern", "test:*", *options, env=env)
    assert (ended.code, ended.report["status"]) == (2, "error")
    assert said in str(ended.report["errors"])
    assert "Traceback" not in ended.log


def test_it_refuses_to_start_with_broad_patterns() -> None:
    """`serve` exits 4 for a broad pattern, as every sweep does."""
    env = {"SWEEP_ADMIN_TOKEN": "x"}
    ended = k6_sweep("serve", "--redis-url", "redis://127.0.0.1:1", "--pattern", "t*", env=env)
    assert (ended.code, ended.report["status"]) == (4, "refused")


def test_https(url: str, tmp_path: Path) -> None:
    """With a certificate the endpoint speaks TLS, and refuses plain HTTP."""
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


def test_probes_have_a_port_of_their_own(url: str, tmp_path: Path) -> None:
    """The probes' port answers the three paths that need no token, without TLS, and no others."""
    authority = Authority(tmp_path)
    certificate = authority.issue("endpoint", "localhost")
    tls = ("--tls-cert-file", str(certificate), "--tls-key-file", str(authority.key_file))
    with served(url, "--probe-listen", "127.0.0.1:0", *tls) as endpoint:
        (listening,) = endpoint.events("listening")
        paths = ("healthz", "readyz", "metrics", "docs", "openapi.json", "sweeps/1", ADMIN[1:])
        codes = []
        for path in paths:
            connection = http.client.HTTPConnection("127.0.0.1", listening["probe_port"], timeout=30)
            connection.request("GET", f"/{path}", headers={"X-Admin-Token": TOKEN})
            codes.append(connection.getresponse().status)
            connection.close()
    assert codes == [200, 200, 200, 404, 404, 404, 404]


@pytest.mark.parametrize(("number", "finishes"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_its_end_is_graceful(url: str, redis: Node, number: signal.Signals, finishes: bool) -> None:
    """SIGTERM lets the sweep finish in the grace period, SIGINT stops it at its next batch; both write a report."""
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
    """A caller who waits at SIGTERM gets an answer, even if the grace period ends the sweep."""
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
    """A second signal stops the sweep: it writes the report and releases the lock, even without a caller."""
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
    assert redis.ask("EXISTS", "test:{k6-sweep}lock") == 0


def test_the_docs_page_needs_no_internet(endpoint: Served) -> None:
    """The docs page loads all its files from the endpoint itself."""
    page = endpoint.ask("GET", "/docs", token=None).text
    loaded = [part.split('"')[0] for part in page.replace("src=", "href=").split('href="')[1:]]
    assert len(loaded) == 3
    assert {endpoint.ask("GET", path, token=None).code for path in loaded} == {200}
    assert "//" not in "".join(loaded)
    document = endpoint.ask("GET", "/openapi.json", token=None).body
    assert {ADMIN, INTERNAL, "/sweeps", "/sweeps/{sweep_id}", "/healthz", "/readyz", "/metrics"} == document[
        "paths"
    ].keys()


def test_each_request_is_logged(new_endpoint: Served) -> None:
    """The log has one line for each request, with client, token's digest and counts, but no token."""
    new_endpoint.post({"patterns": ["test:1"]})
    new_endpoint.post(token="wrong-one")
    until(lambda: len(new_endpoint.events("request")) == 2)
    first, second = new_endpoint.events("request")
    assert (first["address"], first["code"], first["deleted"], first["patterns"]) == ("127.0.0.1", 200, 1, ["test:1"])
    assert (second["code"], second["token"] != first["token"]) == (403, True)
    assert not any(word in json.dumps(new_endpoint.lines) for word in (TOKEN, "wrong-one"))


def test_what_happened_can_be_scraped(new_endpoint: Served) -> None:
    """/metrics has the counts of sweeps, keys and requests."""
    new_endpoint.post({"dry_run": True})
    new_endpoint.post()
    assert new_endpoint.metric('k6_sweep_sweeps_total{status="complete"}') == 1
    assert new_endpoint.metric("k6_sweep_deleted_keys_total") == 100
    assert new_endpoint.metric('k6_sweep_last_matched_keys{pattern="test:*"}') == 100
    assert new_endpoint.metric(f'k6_sweep_http_requests_total{{code="200",method="POST",path="{ADMIN}"}}') == 2
