"""Checks a request's body more strictly than FastAPI does, and describes its errors in k6-sweep's own words."""

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException

from k6_sweep.api.wire import Order


class StrictRoute(APIRoute):
    """A route without query parameters, whose body must be one JSON object with each field once, of any Content-Type.

    Source: https://fastapi.tiangolo.com/how-to/custom-request-and-route/
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which checks the body before FastAPI reads it."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            if request.url.query:  # FastAPI ignores unknown ones, and ?dry_run=true would delete
                raise HTTPException(400, "query parameters are not allowed; put patterns and dry_run into the body")
            if self.body_field:
                # FastAPI parses only JSON's own types, but `curl -d` sends that of a form, and scripts often send none.
                MutableHeaders(scope=request.scope)["Content-Type"] = "application/json"
                _check_object(await request.body())  # Starlette caches the body, so FastAPI can read it again
            return await handle(request)

        return handle_strictly


def _check_object(text: bytes) -> None:
    try:
        found = json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise HTTPException(400, "the body is nested too deep") from None
    except ValueError as error:  # invalid JSON, or bytes that are not UTF-8
        raise HTTPException(
            400, f"the body is not valid JSON: {error}; send {{}} for the configured patterns"
        ) from None
    if not isinstance(found, dict):
        raise HTTPException(400, "the body must be a JSON object")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    # RFC 8259, section 4: parsers differ in which of two equal names they take.
    if len(found) < len(pairs):
        raise HTTPException(400, "duplicate field in the body")
    return found


def in_our_words(error: Mapping[str, Any]) -> str:
    """Return a sentence about one validation error, of one field or of several together."""
    place = ".".join(map(str, error["loc"][1:]))  # the first part is "body"
    if error["type"] == "extra_forbidden":
        return f"unknown field {place!r}; the fields are {', '.join(Order.model_fields)}"
    said: str = error["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place else said
