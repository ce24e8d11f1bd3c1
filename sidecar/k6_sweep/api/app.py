"""The FastAPI application: its routes, and the answers to errors."""

import asyncio
import contextlib
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from k6_sweep.api import about, document
from k6_sweep.api.audit import Audited
from k6_sweep.api.body import StrictRoute, in_our_words
from k6_sweep.api.gate import TOKEN, Gate
from k6_sweep.api.problems import failure, problem, running
from k6_sweep.api.service import RETRY, Service, Serving
from k6_sweep.api.shown import shown
from k6_sweep.api.sweeps import Sweep
from k6_sweep.api.tokens import Tokens
from k6_sweep.api.turned_away import BusyError, InUseError, StoppingError
from k6_sweep.api.wire import Order, SweepAnswer
from k6_sweep.log import Log
from k6_sweep.patterns import Pattern

_PROBLEMS: Final = (HTTPException, RequestValidationError, BusyError, InUseError, StoppingError, Exception)
guarded: Final = APIRouter(
    route_class=StrictRoute, dependencies=[TOKEN], responses=document.REFUSED, tags=[about.SWEEPING]
)
"""The routes that need the admin token."""
unguarded: Final = APIRouter(responses=document.OPEN, tags=[about.OBSERVING])
"""The routes of the kubelet and Prometheus, which send no token; a NetworkPolicy can restrict them."""


# Two paths: scripts for teardown() usually call the first, admins the second, and neither has to change.
@guarded.post("/internal/redis/cleanup", name="cleanup", response_model=SweepAnswer, responses=document.SWEPT)
@guarded.post(
    "/internal/admin/redis/cleanup", name="cleanup as admin", response_model=SweepAnswer, responses=document.SWEPT
)
async def clean(order: Order, request: Request, response: Response, service: Serving) -> Any:
    """Sweep, and answer when it is done; or at once, with `Prefer: respond-async`."""
    wanted = order.wanted or service.settings.pattern
    audit = request.state.audit
    audit |= {"patterns": [pattern.text for pattern in wanted], "dry_run": order.counts_only}
    _check_within(wanted, service.settings.pattern)
    asked_by = {
        "address": request.client.host if request.client else None,
        "token": audit["token"],
        "token_name": audit["token_name"],
    }
    while (pending := service.sweeps.pending) is not None:  # BusyError names the sweep that turns it away, if one does
        with contextlib.suppress(InUseError):
            await asyncio.shield(asyncio.wrap_future(pending.admitted))
    sweep = service.sweeps.begin(wanted, order.counts_only, asked_by)
    audit["sweep"] = sweep.id
    # Also with respond-async: a sweep of another replica is a 409 at once, not a failure that the caller finds later.
    await asyncio.shield(asyncio.wrap_future(sweep.admitted))  # a client that disconnects stops nothing
    failed_at_once = sweep.ended.done() and _code(sweep) >= HTTPStatus.INTERNAL_SERVER_ERROR
    # A 202 would hide that Redis is unreachable.
    if _prefers_async(request) and not failed_at_once:
        response.status_code = HTTPStatus.ACCEPTED
        response.headers.update({"Location": f"/sweeps/{sweep.id}", "Preference-Applied": "respond-async"})
        return SweepAnswer.of(sweep.record)
    report = await asyncio.shield(asyncio.wrap_future(sweep.ended))
    audit |= {"result": report.status, "deleted": report.counts.deleted, "matched": report.counts.matched}
    if await request.is_disconnected():
        audit["client_gone"] = True
    if (code := _code(sweep)) >= HTTPStatus.BAD_REQUEST:
        return failure(request.scope, sweep.record, code)
    return SweepAnswer.of(sweep.record)


guarded.include_router(shown)


@unguarded.get("/healthz", responses=document.HEALTHY)
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@unguarded.get("/readyz", responses=document.READY)
async def readyz(service: Serving) -> dict[str, str]:
    """Redis can be reached."""
    if service.sweeps.stopping:
        raise HTTPException(503, "the server is shutting down")
    if why := await service.readiness.problem():
        raise HTTPException(503, why)
    return {"status": "ready"}


@unguarded.get("/metrics", response_class=PlainTextResponse, responses=document.SCRAPED)
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


async def _answer(request: Request, error: Exception) -> Response:
    scope = request.scope
    match error:
        case HTTPException():
            return problem(scope, error.status_code, error.detail, headers=error.headers)
        case RequestValidationError():
            return problem(scope, 400, "; ".join(map(in_our_words, error.errors())))
        case BusyError():
            return problem(scope, 409, str(error), headers=RETRY, **running(error.running))
        case InUseError():
            return problem(scope, 409, str(error), headers=RETRY, will_sweep=error.will_sweep)
        case StoppingError():
            return problem(scope, 503, "the server is shutting down; retry")
    return problem(scope, 500, "internal error; the log has the details")


def make_app(service: Service, log: Log) -> FastAPI:
    """Return the application."""
    # FastAPI's own page of the document loads its scripts from the internet.
    app: FastAPI = FastAPIOffline(
        title="k6-sweep",
        version=version("k6-sweep"),
        description=about.ABOUT,
        openapi_tags=about.GROUPS,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=dict.fromkeys(_PROBLEMS, _answer),
    )
    app.state.service = service
    app.include_router(guarded)
    app.include_router(unguarded)
    app.add_middleware(Gate, guarded=guarded.routes, tokens=Tokens(service.settings, log))
    app.add_middleware(Audited, log=log, note=service.metrics.note_request)  # the outer one: it logs refusals too
    document.finish(app.openapi())
    return app


def make_probe_app(service: Service, log: Log) -> FastAPI:
    """Return the application of the probes' port: the routes that need no token, and no others."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, exception_handlers=dict.fromkeys(_PROBLEMS, _answer))
    app.state.service = service
    app.include_router(unguarded)
    app.add_middleware(Audited, log=log, note=service.metrics.note_request)
    return app
