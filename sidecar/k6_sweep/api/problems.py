"""The answers to errors: Problem Details, beside the fields that callers of a hand-written handler read.

Source: https://www.rfc-editor.org/rfc/rfc9457
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import quote

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.types import Scope

from k6_sweep.api.wire import SweepAnswer
from k6_sweep.cluster.history import Record
from k6_sweep.cluster.lock import Holder, in_utc

PROBLEM_JSON: Final = "application/problem+json"


class _Details(BaseModel):
    # No types of our own: each would need a page at an address that lasts, and the status and the other fields say
    # enough. The title is then the name of the status.
    type: Literal["about:blank"] = Field(description="The status describes the kind of the problem.")
    title: str = Field(description="The name of the status.")
    status: int = Field(description="The status of the answer.")
    detail: str = Field(description="What happened, and what to do.")
    instance: str = Field(description="The path of the sweep, or of the request.")


class ProblemAnswer(_Details):
    """Why nothing was done."""

    error: str = Field(description="The same text as `detail`.")
    id: str | None = Field(default=None, description="The id of the running sweep, if that is the reason.")
    who: str | None = Field(default=None, description="The pod, or the host, of the replica that runs this sweep.")
    since: str | None = Field(default=None, description="When this sweep began.")
    will_sweep: bool | None = Field(
        default=None,
        description="If a running test is the reason: whether its watcher will delete the keys of the request.",
    )


class FailedSweepAnswer(SweepAnswer, _Details):
    """A sweep that has ended without success; `detail` is the same text as `error`."""


def problem(
    scope: Scope, code: int, error: str, headers: Mapping[str, str] | None = None, **reason: Any
) -> JSONResponse:
    """Return the answer that explains why k6-sweep did nothing; `reason` has the other fields of ProblemAnswer."""
    path = "/" + quote(scope["path"].lstrip("/"))  # //host would be the address of another server
    return _answer(scope, ProblemAnswer(**details(code, error, path), error=error, **reason), headers)


def running(sweep: Holder) -> dict[str, Any]:
    """Return the fields of ProblemAnswer for a sweep that is the reason."""
    return {"id": sweep.id, "who": sweep.who, "since": None if sweep.since is None else in_utc(sweep.since)}


def failure(scope: Scope, sweep: Record, code: int) -> JSONResponse:
    """Return the answer about a sweep that has ended without success."""
    answer = SweepAnswer.of(sweep)
    found = FailedSweepAnswer(**details(code, answer.error or "", f"/sweeps/{sweep.id}"), **dict(answer))
    return _answer(scope, found, None)


def details(code: int, detail: str, instance: str) -> dict[str, Any]:
    """Return the fields of RFC 9457."""
    title = HTTPStatus(code).phrase
    return {"type": "about:blank", "title": title, "status": code, "detail": detail, "instance": instance}


def _answer(scope: Scope, answer: ProblemAnswer | FailedSweepAnswer, headers: Mapping[str, str] | None) -> JSONResponse:
    kind = PROBLEM_JSON if _takes_problems(scope) else "application/json"
    return JSONResponse(answer.model_dump(), answer.status, headers, media_type=kind)


def _takes_problems(scope: Scope) -> bool:
    """Return whether the client takes the type of Problem Details; not if it asks only for application/json."""
    lists = ",".join(Headers(scope=scope).getlist("accept")).lower().split(",")
    accepted = {each.partition(";")[0].strip() for each in lists}
    return "application/json" not in accepted or bool(accepted & {PROBLEM_JSON, "application/*", "*/*"})
