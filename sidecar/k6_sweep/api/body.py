"""Reads a request's body more strictly than FastAPI does, and says in our words what is wrong with it."""

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException

from k6_sweep.api.wire import Order


class StrictRoute(APIRoute):
    """A route whose body is one JSON object, whatever its Content-Type says, with each field once.

    Source: https://fastapi.tiangolo.com/how-to/custom-request-and-route/
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what is called with each request."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            if self.body_field:
                MutableHeaders(scope=request.scope)["Content-Type"] = "application/json"
                _check_object(await request.body())  # the request keeps it for FastAPI
            return await handle(request)

        return handle_strictly


def _check_object(text: bytes) -> None:
    try:
        found = json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise HTTPException(400, "the body is nested too deep") from None
    except ValueError as error:  # JSON's own, and that of bytes that are no UTF-8
        raise HTTPException(400, f"the body is not JSON: {error}; send {{}} for the configured patterns") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "the body must be a JSON object")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise HTTPException(400, "a field stands twice in the body")
    return found


def in_our_words(error: Mapping[str, Any]) -> str:
    """Return what is wrong with a field, or with the fields together."""
    place = ".".join(map(str, error["loc"][1:]))  # the first is "body"
    if error["type"] == "extra_forbidden":
        return f"unknown field {place!r}; there are {', '.join(Order.model_fields)}"
    said: str = error["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place else said
