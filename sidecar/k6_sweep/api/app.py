"""The routes: what may be asked for, and what is answered."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import FastAPI, HTTPException, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException as AnyHttpError

from k6_sweep.api.gate import Gate, read_body
from k6_sweep.api.readiness import Readiness
from k6_sweep.api.sweeps import BusyError, StoppingError, Sweep, Sweeps
from k6_sweep.api.wire import BadBodyError, Order, ProblemAnswer, SweepAnswer, read_order
from k6_sweep.metrics import ServerMetrics
from k6_sweep.patterns import Pattern
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings

CLEANUP: Final = ("/internal/admin/redis/cleanup", "/internal/redis/cleanup")
T = TypeVar("T")
_Responses = dict[int | str, dict[str, Any]]


@dataclass(frozen=True)
class Service:
    """What the routes work with."""

    settings: Settings
    gate: Gate
    sweeps: Sweeps
    readiness: Readiness
    metrics: ServerMetrics


def make_app(service: Service) -> FastAPI:
    """Return the application."""
    app: FastAPI = FastAPIOffline(
        title="k6-sweep",
        version="1",
        description="Sweeps a load test's keys from the whole Redis Cluster.",
        redoc_url=None,
        redirect_slashes=False,
    )
    routes = _Routes(service)
    only_callers = [Security(service.gate)]
    refusal: _Responses = {403: _said("No valid token, or a pattern outside the configured ones.")}
    order = {"required": True, "content": {"application/json": {"schema": Order.model_json_schema()}}}
    for path, name in zip(CLEANUP, ("cleanup as admin", "cleanup"), strict=True):
        app.add_api_route(
            path,
            routes.clean,
            methods=["POST"],
            name=name,
            summary="Sweep, and answer when it is done; or at once, with `Prefer: respond-async`.",
            responses=SWEPT | refusal,
            openapi_extra={"requestBody": order},
            dependencies=only_callers,
        )
    unknown: _Responses = {404: _said("No such sweep is known to this replica; the latest hundred are.")}
    shown: _Responses = {200: {"model": SweepAnswer, "description": "How far it is, or how it ended."}}
    for method, route, summary in (
        ("GET", routes.show, "How far a sweep is, or how it ended."),
        ("DELETE", routes.cancel, "Stop a sweep at its next batch; one that has ended stays as it is."),
    ):
        app.add_api_route(
            "/sweeps/{sweep_id}",
            route,
            methods=[method],
            name=f"{method} a sweep",
            summary=summary,
            responses=shown | refusal | unknown,
            openapi_extra={"parameters": [_SWEEP_ID]},  # declared as an argument, it would bring a 422 that isn't given
            dependencies=only_callers,
        )
    app.add_api_route("/healthz", routes.healthy, methods=["GET"], name="healthz", summary="The process answers.")
    away: _Responses = {503: _said("Redis is out of reach, or the server is ending.")}
    app.add_api_route(
        "/readyz", routes.ready, methods=["GET"], name="readyz", summary="Redis can be reached.", responses=away
    )
    text: _Responses = {200: {"content": {"text/plain": {}}}}
    app.add_api_route(
        "/metrics", routes.metrics, methods=["GET"], name="metrics", response_class=Response, responses=text
    )
    app.add_exception_handler(AnyHttpError, _refused)
    app.add_exception_handler(Exception, _broken)
    return app


def _said(description: str) -> dict[str, Any]:
    return {"model": ProblemAnswer, "description": description}


_SWEEP_ID: Final = {"name": "sweep_id", "in": "path", "required": True, "schema": {"type": "string"}}
SWEPT: Final[_Responses] = {
    200: {"model": SweepAnswer, "description": "Complete; or in a dry run, counted."},
    202: {"model": SweepAnswer, "description": "It has begun; Location says where to read of it."},
    400: _said("The body is not what it must be."),
    409: _said("A sweep is running, here or on another replica; `id` names it."),
    413: _said("The body is longer than 64 KiB."),
    422: {"model": SweepAnswer, "description": "A guard refused; nothing was deleted."},
    500: {"model": SweepAnswer | ProblemAnswer, "description": "A fault of k6-sweep's."},
    503: {
        "model": SweepAnswer | ProblemAnswer,
        "description": "Redis is away, or permits it not; nothing was deleted. Or the server is ending.",
    },
    504: {"model": SweepAnswer, "description": "It did not come to its end in time; `report` says what was done."},
}


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHttpError)  # noqa: S101  # what it is registered for
    body = error.detail if isinstance(error.detail, dict) else ProblemAnswer(error=error.detail).model_dump()
    return JSONResponse(body, error.status_code, error.headers)


async def _broken(_: Request, _error: Exception) -> Response:
    return JSONResponse(ProblemAnswer(error="internal error; the log has it").model_dump(), 500)


class _Routes:
    def __init__(self, service: Service) -> None:
        self._settings = service.settings
        self._sweeps = service.sweeps
        self._readiness = service.readiness
        self._metrics = service.metrics

    async def clean(self, request: Request) -> Response:
        try:
            order = read_order(await read_body(request))
            wanted = order.wanted() or self._settings.pattern
        except BadBodyError as error:
            raise HTTPException(400, str(error)) from None
        audit = request.state.audit
        audit |= {"patterns": [pattern.text for pattern in wanted], "dry_run": order.counts_only}
        self._check_within(wanted)
        asked_by = {"address": request.client.host if request.client else None, "token": audit["token"]}
        try:
            sweep = self._sweeps.begin(wanted, order.counts_only, asked_by)
            audit["sweep"] = sweep.id
            await _done(sweep.admitted)
        except BusyError as error:
            raise HTTPException(409, ProblemAnswer(error=str(error), id=error.running).model_dump()) from None
        except StoppingError:
            raise HTTPException(503, "the server is ending; ask again") from None
        failed_at_once = sweep.ended.done() and _code_of(sweep.report()) >= HTTPStatus.INTERNAL_SERVER_ERROR
        if _prefers_async(request) and not failed_at_once:
            found = {"Location": f"/sweeps/{sweep.id}", "Preference-Applied": "respond-async"}
            return _answer(sweep, 202, found)
        report = await _done(sweep.ended)
        audit |= {"result": report.status, "deleted": report.counts.deleted, "matched": report.counts.matched}
        if await request.is_disconnected():
            audit["client_gone"] = True
        return _answer(sweep, _code_of(report))

    async def show(self, request: Request) -> Response:
        return _answer(self._find(request))

    async def cancel(self, request: Request) -> Response:
        sweep = self._find(request)
        sweep.cancel()
        return _answer(sweep)

    async def healthy(self) -> dict[str, str]:
        return {"status": "ok"}

    async def ready(self) -> dict[str, str]:
        if self._sweeps.stopping:
            raise HTTPException(503, "the server is ending")
        if problem := await self._readiness.problem():
            raise HTTPException(503, problem)
        return {"status": "ready"}

    async def metrics(self) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    def _find(self, request: Request) -> Sweep:
        sweep = self._sweeps.find(request.path_params["sweep_id"])
        if sweep is None:
            raise HTTPException(404, "no such sweep is known to this replica")
        request.state.audit["sweep"] = sweep.id
        return sweep

    def _check_within(self, wanted: tuple[Pattern, ...]) -> None:
        """Refuse what the configured patterns don't cover: a token that leaks must not empty Redis."""
        outside = [each.text for each in wanted if not any(map(each.is_within, self._settings.pattern))]
        if outside:
            configured = ", ".join(pattern.text for pattern in self._settings.pattern)
            raise HTTPException(403, f"pattern {outside[0]!r} is not within the configured ones: {configured}")


def _answer(sweep: Sweep, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(SweepAnswer.of(sweep).model_dump(), code, headers)


def _code_of(report: Report) -> int:
    return report.status.http_code or HTTPStatus.INTERNAL_SERVER_ERROR


def _prefers_async(request: Request) -> bool:
    """Whether the caller would rather not wait.

    Source: https://www.rfc-editor.org/rfc/rfc7240
    """
    words = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return "respond-async" in (word.partition(";")[0].strip() for word in words)


async def _done(future: Future[T]) -> T:
    """Wait for what a sweep's thread says; that nobody waits any more doesn't matter to it."""
    return await asyncio.shield(asyncio.wrap_future(future))
