"""The FastAPI application: its routes, and the answers to errors."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from k6_sweep.api.audit import Audited
from k6_sweep.api.body import StrictRoute, in_our_words
from k6_sweep.api.gate import TOKEN, Gate
from k6_sweep.api.readiness import Readiness
from k6_sweep.api.sweeps import BusyError, InUseError, StoppingError, Sweep, Sweeps
from k6_sweep.api.wire import Order, ProblemAnswer, SweepAnswer, problem
from k6_sweep.log import Log
from k6_sweep.metrics import ServerMetrics
from k6_sweep.patterns import Pattern
from k6_sweep.settings.all import Settings

_PROBLEMS: Final = (HTTPException, RequestValidationError, BusyError, InUseError, StoppingError, Exception)
_RETRY: Final = {"Retry-After": "5"}
"""Seconds; the lock of a replica that was killed expires within them."""
_EITHER: Final = SweepAnswer | ProblemAnswer


def _said(description: str, model: Any = ProblemAnswer) -> dict[str, Any]:
    return {"model": model, "description": description}


_LONG: Final[dict[int | str, dict[str, Any]]] = {431: _said("The request line and the headers are longer than 32 KiB.")}
SWEPT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The sweep is complete, or the dry run has counted the keys."},
    202: _said("The sweep has started; Location is the path of its state.", SweepAnswer),
    400: _said("The body is not valid, or the request has query parameters."),
    409: _said(
        "A sweep is already running, on this replica or another; `id` is its id. Or a test is running that uses these "
        "keys; with `will_sweep`, its watcher will delete them."
    ),
    413: _said("The body is longer than 64 KiB."),
    **_LONG,
    422: _said("A guard refused; nothing was deleted.", SweepAnswer),
    500: _said("An internal error of k6-sweep.", _EITHER),
    503: _said(
        "Redis is unreachable or denied a command; nothing was deleted. Or the server is shutting down.", _EITHER
    ),
    504: _said("The sweep did not finish in time; `report` shows what was done.", SweepAnswer),
}
_SHOWN: Final[dict[int | str, dict[str, Any]]] = {
    **_LONG,
    200: {"description": "The progress of the sweep, or its result."},
    400: _said("The request has query parameters."),
    404: _said("This replica does not know this id; it keeps its latest 100 sweeps."),
}

_REFUSAL: Final = _said("The token is not valid, or a pattern is not within a configured pattern.")
guarded: Final = APIRouter(route_class=StrictRoute, dependencies=[TOKEN], responses={403: _REFUSAL})
"""The routes that need the admin token."""
unguarded: Final = APIRouter(responses={**_LONG})
"""The routes of the kubelet and Prometheus, which send no token; a NetworkPolicy can restrict them."""


@dataclass(frozen=True)
class Service:
    """The objects that the routes use."""

    settings: Settings
    sweeps: Sweeps
    readiness: Readiness
    metrics: ServerMetrics


# async, although it waits for nothing: FastAPI runs any other dependency in a thread pool.
async def _service(request: Request) -> Service:
    return cast("Service", request.app.state.service)


Serving = Annotated[Service, Depends(_service)]


async def _known(sweep_id: str, request: Request, service: Serving) -> Sweep:
    if (sweep := service.sweeps.find(sweep_id)) is None:
        raise HTTPException(404, "unknown sweep id on this replica, which keeps its latest 100 sweeps")
    request.state.audit["sweep"] = sweep.id
    return sweep


Known = Annotated[Sweep, Depends(_known)]


# Two paths: scripts for teardown() usually call the first, admins the second, and neither has to change.
@guarded.post("/internal/redis/cleanup", name="cleanup", responses=SWEPT)
@guarded.post("/internal/admin/redis/cleanup", name="cleanup as admin", responses=SWEPT)
async def clean(order: Order, request: Request, response: Response, service: Serving) -> SweepAnswer:
    """Sweep, and answer when it is done; or at once, with `Prefer: respond-async`."""
    wanted = order.wanted or service.settings.pattern
    audit = request.state.audit
    audit |= {"patterns": [pattern.text for pattern in wanted], "dry_run": order.counts_only}
    _check_within(wanted, service.settings.pattern)
    asked_by = {"address": request.client.host if request.client else None, "token": audit["token"]}
    sweep = service.sweeps.begin(wanted, order.counts_only, asked_by)
    audit["sweep"] = sweep.id
    # Also with respond-async: a sweep of another replica is a 409 at once, not a failure that the caller finds later.
    await asyncio.shield(asyncio.wrap_future(sweep.admitted))  # a client that disconnects stops nothing
    failed_at_once = sweep.ended.done() and _code(sweep) >= HTTPStatus.INTERNAL_SERVER_ERROR
    # A 202 would hide that Redis is unreachable.
    if _prefers_async(request) and not failed_at_once:
        response.status_code = HTTPStatus.ACCEPTED
        response.headers.update({"Location": f"/sweeps/{sweep.id}", "Preference-Applied": "respond-async"})
        return SweepAnswer.of(sweep)
    report = await asyncio.shield(asyncio.wrap_future(sweep.ended))
    audit |= {"result": report.status, "deleted": report.counts.deleted, "matched": report.counts.matched}
    if await request.is_disconnected():
        audit["client_gone"] = True
    response.status_code = _code(sweep)
    return SweepAnswer.of(sweep)


@guarded.get("/sweeps/{sweep_id}", name="GET a sweep", responses=_SHOWN)
async def show(sweep: Known) -> SweepAnswer:
    """How far a sweep is, or how it ended."""
    return SweepAnswer.of(sweep)


@guarded.delete("/sweeps/{sweep_id}", name="DELETE a sweep", responses=_SHOWN)
async def cancel(sweep: Known) -> SweepAnswer:
    """Stop a sweep at its next batch; one that has ended stays as it is."""
    sweep.cancel()
    return SweepAnswer.of(sweep)


@unguarded.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@unguarded.get("/readyz", responses={503: _said("Redis is unreachable, or the server is shutting down.")})
async def readyz(service: Serving) -> dict[str, str]:
    """Redis can be reached."""
    if service.sweeps.stopping:
        raise HTTPException(503, "the server is shutting down")
    if why := await service.readiness.problem():
        raise HTTPException(503, why)
    return {"status": "ready"}


@unguarded.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Serving) -> Response:
    """What this replica has done, for Prometheus."""
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _code(sweep: Sweep) -> int:
    return sweep.report().status.http_code or HTTPStatus.INTERNAL_SERVER_ERROR


def _check_within(wanted: tuple[Pattern, ...], configured: tuple[Pattern, ...]) -> None:
    """Refuse patterns that the configured ones do not cover: a leaked token must not empty Redis."""
    outside = [each.text for each in wanted if not any(map(each.is_within, configured))]
    if outside:
        known = ", ".join(pattern.text for pattern in configured)
        raise HTTPException(403, f"pattern {outside[0]!r} is not within a configured pattern (--pattern): {known}")


def _prefers_async(request: Request) -> bool:
    """Return whether the request has `Prefer: respond-async`: the caller does not want to wait.

    Source: https://www.rfc-editor.org/rfc/rfc7240
    """
    words = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return "respond-async" in (word.partition(";")[0].strip() for word in words)


async def _answer(_: Request, error: Exception) -> Response:
    match error:
        case HTTPException():
            return problem(error.status_code, error.detail, headers=error.headers)
        case RequestValidationError():
            return problem(400, "; ".join(map(in_our_words, error.errors())))
        case BusyError():
            return problem(409, str(error), error.running, headers=_RETRY)
        case InUseError():
            return problem(409, str(error), headers=_RETRY, will_sweep=error.will_sweep)
        case StoppingError():
            return problem(503, "the server is shutting down; retry")
    return problem(500, "internal error; the log has the details")


def make_app(service: Service, log: Log) -> FastAPI:
    """Return the application."""
    # FastAPI's own page of the document loads its scripts from the internet.
    app: FastAPI = FastAPIOffline(
        title="k6-sweep",
        version="1",
        description="Sweeps a load test's keys from the whole Redis Cluster.",
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=dict.fromkeys(_PROBLEMS, _answer),
    )
    app.state.service = service
    app.include_router(guarded)
    app.include_router(unguarded)
    app.add_middleware(Gate, guarded=guarded.routes, settings=service.settings, log=log)
    app.add_middleware(Audited, log=log, note=service.metrics.note_request)  # the outer one: it logs refusals too
    _take_out_422(app.openapi())
    return app


def make_probe_app(service: Service, log: Log) -> FastAPI:
    """Return the application of the probes' port: the routes that need no token, and no others."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, exception_handlers=dict.fromkeys(_PROBLEMS, _answer))
    app.state.service = service
    app.include_router(unguarded)
    app.add_middleware(Audited, log=log, note=service.metrics.note_request)
    return app


def _take_out_422(document: dict[str, Any]) -> None:
    """Remove the 422 that FastAPI adds for each parameter: any text is a valid sweep id, and an unknown id is a 404."""
    for operation in document["paths"]["/sweeps/{sweep_id}"].values():
        operation["responses"].pop("422", None)
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
