"""The objects that the routes use."""

from dataclasses import dataclass
from typing import Annotated, Final, cast

from fastapi import Depends, Request

from k6_sweep.api.journal import Journal
from k6_sweep.api.readiness import Readiness
from k6_sweep.api.sweeps import Sweeps
from k6_sweep.metrics import ServerMetrics
from k6_sweep.settings.all import Settings

RETRY: Final = {"Retry-After": "5"}
"""Seconds; the lock of a replica that was killed expires within them."""


@dataclass(frozen=True)
class Service:
    """The objects that the routes use."""

    settings: Settings
    sweeps: Sweeps
    journal: Journal
    readiness: Readiness
    metrics: ServerMetrics


# async, although it waits for nothing: FastAPI runs any other dependency in a thread pool.
async def _service(request: Request) -> Service:
    return cast("Service", request.app.state.service)


Serving = Annotated[Service, Depends(_service)]
