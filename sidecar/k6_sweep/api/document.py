"""The answers in the OpenAPI document, with an example of each."""

from collections.abc import Mapping
from typing import Any, Final

from k6_sweep.api.problems import PROBLEM_JSON, FailedSweepAnswer, ProblemAnswer, details, running
from k6_sweep.api.wire import SweepAnswer
from k6_sweep.cluster.lock import Holder

Responses = dict[int | str, dict[str, Any]]
_CLEANUP: Final = "/internal/redis/cleanup"
_ID: Final = "5f0c2a9be41d"
_SWEEP: Final = f"/sweeps/{_ID}"
_WHO: Final = "load/k6-sweep-api-7d9c5b-x2x4q"
_HOLDER: Final = Holder(_ID, _WHO, 1795685400.0)
_NO_QUERY: Final = "query parameters are not allowed; put patterns and dry_run into the body"
_REPORT: Final[dict[str, Any]] = {
    "deleted": 0,
    "matched": 699803,
    "remaining": 0,
    "exact": True,
    "dry_run": False,
    "patterns": {"queue:*": 699803},
    "slots": "16384/16384",
    "shards": 3,
    "seconds": 1.31,
    "errors": [],
    "warnings": [],
}


def _sweep(status: str, deleted: int = 0, error: str | None = None, **report: Any) -> dict[str, Any]:
    """Return an example of an answer about a sweep."""
    report = _REPORT | {"status": status, "deleted": deleted, "errors": [error] if error else []} | report
    dry = report["dry_run"]
    patterns = ["queue:*"]
    answer = SweepAnswer(
        **running(_HOLDER), deleted_count=deleted, patterns=patterns, dry_run=dry, report=report, error=error
    )
    return answer.model_dump()


def _fine(code: int, description: str, **examples: Mapping[str, Any]) -> Responses:
    return {code: {"model": SweepAnswer, **_with(description, examples)}}


def _problem(code: int, description: str, path: str = _CLEANUP, **examples: str | Mapping[str, Any]) -> Responses:
    """Return the entry of a status; an example is its `detail`, or has the fields of a failed sweep."""
    bodies: dict[str, Mapping[str, Any]] = {}
    models: set[type] = set()
    for name, each in examples.items():
        if isinstance(each, str):
            answer = ProblemAnswer(
                **details(code, each, path),
                error=each,
                **(running(_HOLDER) if name == "sweep_running" else {}),
                will_sweep=True if name == "test_running" else None,
            )
            bodies[name] = answer.model_dump()
            models.add(ProblemAnswer)
        else:
            bodies[name] = {**details(code, each["error"], _SWEEP), **each}
            models.add(FailedSweepAnswer)
    model = FailedSweepAnswer | ProblemAnswer if len(models) > 1 else models.pop()
    return {code: {"model": model, **_with(description, bodies)}}


def _with(description: str, examples: Mapping[str, Any], kind: str = "application/json") -> dict[str, Any]:
    shown = {name: {"value": each} for name, each in examples.items()}
    return {"description": description, "content": {kind: {"examples": shown}}}


_LONG: Final = _problem(
    431,
    "The request line and the headers are longer than 32 KiB.",
    too_long="the headers are longer than 32768 bytes",
)
REFUSED: Final = {
    **_problem(
        403,
        "The token is not valid, or a pattern is not within a configured pattern.",
        wrong_token="the X-Admin-Token header is missing, or its token is not valid",  # noqa: S106  # a message
        pattern_outside="pattern 'user:*' is not within a configured pattern (--pattern): queue:*",
    ),
    **_problem(
        429,
        "The token is not valid, and this address has sent many wrong ones; Retry-After is in seconds.",
        many_wrong_tokens="too many requests with a wrong token came from this address; check the token",
    ),
}
SWEPT: Final = {
    **_fine(
        200,
        "The sweep is complete, or the dry run has counted the keys.",
        swept=_sweep("complete", 699803),
        counted=_sweep("dry-run", dry_run=True),
    ),
    **_fine(
        202,
        "The sweep has started; Location is the path of its state.",
        started=_sweep("sweeping", matched=0, patterns={}, slots="0/16384", exact=False),
    ),
    **_problem(
        400,
        "The body is not valid, or the request has query parameters.",
        unknown_field="unknown field 'dryrun'; the fields are patterns, dry_run, dryRun",
        query=_NO_QUERY,
    ),
    **_problem(
        409,
        "A sweep is already running, on this replica or another; `id`, `who` and `since` describe it. Or a test is "
        "running that uses these keys; with `will_sweep`, its watcher will delete them.",
        sweep_running=f"{_HOLDER} is running; retry when it has ended",
        test_running="the test of pod/load-x7k2p is running and uses these keys; its watcher will delete these keys "
        "when it has ended",
    ),
    **_problem(413, "The body is longer than 64 KiB.", too_long="the body is longer than 65536 bytes"),
    **_LONG,
    **_problem(
        422,
        "A guard refused; nothing was deleted.",
        refused=_sweep("refused", error="699803 keys match, more than --max-keys 1000"),
    ),
    **_problem(
        500,
        "An internal error of k6-sweep.",
        before_the_sweep="internal error; the log has the details",
        in_the_sweep=_sweep("error", error="internal error"),
    ),
    **_problem(
        503,
        "Redis is unreachable or denied a command; nothing was deleted. Or the server is shutting down.",
        redis_away=_sweep("failed", error="cannot reach redis-0:6379: connection refused"),
        shutdown="the server is shutting down; retry",
    ),
    **_problem(
        504,
        "The sweep did not finish in time; `report` shows what was done.",
        too_slow=_sweep("incomplete", 420016, "stopped by --timeout (60 s)", slots="9831/16384", exact=False),
    ),
}
SHOWN: Final = {
    **_LONG,
    **_fine(
        200,
        "The progress of the sweep, or its result.",
        sweeping=_sweep("sweeping", 420016, slots="9831/16384", exact=False),
        ended=_sweep("complete", 699803),
    ),
    **_problem(
        400,
        "The request has query parameters.",
        _SWEEP,
        query=_NO_QUERY,
    ),
    **_problem(
        404,
        "Neither this replica nor the list in Redis has this id; `error` is where else to look.",
        _SWEEP,
        unknown="unknown sweep id: this replica keeps its latest 100 sweeps, and Redis the latest 20 of all replicas "
        "for an hour; for an older one, read the log of the replica that swept",
    ),
    **_problem(
        503,
        "Another replica may know this id, but Redis, which has its sweeps, does not answer or denies it.",
        _SWEEP,
        redis_away="this replica does not know the sweep, and cannot read those of other replicas: cannot reach "
        "redis-0:6379: connection refused",
    ),
}
CANCELLED: Final = {
    **SHOWN,
    **_problem(
        409,
        "Another replica runs this sweep; only that one can stop it.",
        _SWEEP,
        elsewhere=f"{_WHO}, another replica, runs this sweep; send the DELETE to that replica",
    ),
}
LISTED: Final = {
    **_LONG,
    **_problem(400, "The request has query parameters.", "/sweeps", query=_NO_QUERY),
    200: _with(
        "The latest 20 sweeps of all replicas, newest first.",
        {
            "listed": {
                "sweeps": [
                    running(_HOLDER) | {"state": "complete", "deleted_count": 699803, "dry_run": False, "link": _SWEEP}
                ],
                "problem": None,
            }
        },
    ),
}
OPEN: Final = _LONG
"""Of the operations that need no token."""
HEALTHY: Final[Responses] = {200: _with("The process answers.", {"ok": {"status": "ok"}})}
READY: Final[Responses] = {
    200: _with("Redis can be reached.", {"ready": {"status": "ready"}}),
    **_problem(
        503,
        "Redis is unreachable, or the server is shutting down.",
        "/readyz",
        redis_away="cannot reach redis-0:6379: connection refused",
        shutdown="the server is shutting down",
    ),
}
SCRAPED: Final[Responses] = {
    200: _with(
        "Metrics in the text format of Prometheus.",
        {"metrics": 'k6_sweep_sweeps_total{status="complete"} 1.0\nk6_sweep_deleted_keys_total 699803.0\n'},
        "text/plain",
    )
}


def finish(document: dict[str, Any]) -> None:
    """Correct what FastAPI writes: the type of error answers, and 422, which the endpoint never sends for a path."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            # FastAPI adds it for each parameter, but any text is a valid sweep id, and an unknown id is a 404.
            if path.startswith("/sweeps"):
                operation["responses"].pop("422", None)
            for code, response in operation["responses"].items():
                if code >= "400":
                    content = response["content"]
                    # A route whose own answer is no JSON, such as /metrics, has its errors as JSON nevertheless.
                    both = content.get("application/json", {}) | content.pop("text/plain", {})
                    response["content"] = {PROBLEM_JSON: both, "application/json": both}
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
