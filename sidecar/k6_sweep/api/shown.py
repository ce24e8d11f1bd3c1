"""The routes that show sweeps: those of this replica from its memory, those of the others from Redis."""

import asyncio
from typing import Final

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from k6_sweep.api import document
from k6_sweep.api.body import StrictRoute
from k6_sweep.api.service import RETRY, Service, Serving
from k6_sweep.api.wire import SweepAnswer, SweepLine, SweepList
from k6_sweep.cluster.history import Record, newest_first
from k6_sweep.errors import RedisError
from k6_sweep.status import Status

_UNKNOWN: Final = (
    "unknown sweep id: this replica keeps its latest 100 sweeps, and Redis the latest 20 of all replicas for an hour; "
    "for an older one, read the log of the replica that swept"
)
shown: Final = APIRouter(route_class=StrictRoute)


@shown.get("/sweeps", name="GET the latest sweeps", responses=document.LISTED)
async def latest(service: Serving) -> SweepList:
    """The latest 20 sweeps of all replicas, newest first."""
    known, problem = dict[str, Record](), None
    try:
        known |= {each.id: each for each in await asyncio.to_thread(service.journal.read)}
    except RedisError as error:
        problem = f"only the sweeps of this replica are known: {error}"
    known |= {each.id: each for each in service.sweeps.own()}  # they are newer and whole
    return SweepList(sweeps=list(map(SweepLine.of, newest_first(known.values()))), problem=problem)


@shown.get("/sweeps/{sweep_id}", name="GET a sweep", responses=document.SHOWN)
async def show(sweep_id: str, request: Request, service: Serving) -> SweepAnswer:
    """How far a sweep is, or how it ended."""
    sweep = service.sweeps.find(sweep_id)
    known = sweep.record if sweep else await _of_others(sweep_id, service)
    request.state.audit["sweep"] = known.id
    return SweepAnswer.of(known)


@shown.delete("/sweeps/{sweep_id}", name="DELETE a sweep", responses=document.CANCELLED)
async def cancel(sweep_id: str, request: Request, service: Serving) -> SweepAnswer:
    """Stop a sweep at its next batch; one that has ended stays as it is."""
    if sweep := service.sweeps.find(sweep_id):
        sweep.cancel()
        known = sweep.record
    else:
        known = await _of_others(sweep_id, service)
    request.state.audit["sweep"] = known.id
    if not sweep and known.status is Status.SWEEPING:
        raise HTTPException(409, f"{known.who}, another replica, runs this sweep; send the DELETE to that replica")
    return SweepAnswer.of(known)


async def _of_others(sweep_id: str, service: Service) -> Record:
    try:
        found = await asyncio.to_thread(service.journal.find, sweep_id)
    except RedisError as error:
        problem = f"this replica does not know the sweep, and cannot read those of other replicas: {error}"
        raise HTTPException(503, problem, RETRY) from None
    if found is None:
        raise HTTPException(404, _UNKNOWN)
    return found
