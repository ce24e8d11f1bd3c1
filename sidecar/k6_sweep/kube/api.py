"""Sends requests to the API server, in raw JSON, with a limit on every wait for an answer.

ApiError              no answer, or an unusable one; a retry may succeed
├── ForbiddenError    401 or 403: the message contains the rule that the Role lacks
└── MistakenError     400 or 404: the requested resource does not exist
"""

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import urllib3
from kubernetes.client.api_client import ApiClient
from kubernetes.client.exceptions import ApiException

from k6_sweep.kube.login import UNUSABLE, Login, LoginError, heard, log_in
from k6_sweep.kube.roles import Resource, rule

WATCH_SECONDS: Final = 12
"""How long one watch runs: after that k6-sweep lists the objects again, no matter what the watch reported.

A watch can go silent, so this limits how late k6-sweep sees k6's end; a list of one pod every 12 seconds is no load for
an API server. See docs/decisions/0013-the-kubernetes-package.md.
"""
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 8.0
_WATCH_MARGIN: Final = 2.0
"""Seconds by which the read timeout is longer, so that a healthy server ends the watch first, without an error."""
_NOT_LOGGED_IN: Final = 401
_FORBIDDEN: Final = 403
_PAGE: Final = 100
"""Objects in one answer, which limits it to a few MiB even for large pods."""

Json = Mapping[str, Any]


class ApiError(Exception):
    """The API server cannot be reached, or its answer is unusable."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the server asks the client to wait."""


class ForbiddenError(ApiError):
    """The login is not accepted, or does not have the permission."""


class MistakenError(ApiError):
    """The server does not understand the request: there is no such resource, or the selector is malformed."""


class ApiServer:
    """The API server, for one login and one namespace; threads may share it."""

    def __init__(self, login: Login, namespace: str, limit: float = _READ_SECONDS) -> None:
        """Prepare; `limit` is the number of seconds that an answer may take. The first request logs in."""
        self._login = login
        self.namespace = namespace
        self._limit = limit
        self._client: ApiClient | None = None
        self._logging_in = threading.Lock()

    def log_in(self) -> ApiClient:
        """Log in, unless there is a login already.

        Raises:
            LoginError: The login failed.
        """
        with self._logging_in:  # an exec plugin may ask a person
            if self._client is None:
                self._client = log_in(self._login)
            return self._client

    def list(self, resource: Resource, selector: Mapping[str, str]) -> tuple[list[Any], str]:
        """Return the objects that match the selector (`fieldSelector` or `labelSelector`), and the list's version.

        Raises:
            ApiError: The objects cannot be listed now.
        """
        items: list[Any] = []
        query = {**selector, "limit": str(_PAGE)}
        while True:
            with self._request("GET", "list", resource, query) as response:
                body = _read(response)
            if "items" not in body:  # such as {}: it does not mean that there are no objects
                raise ApiError(f"the Kubernetes API sent something else than a list of {resource.plural}")
            metadata = body.get("metadata") or {}
            items += body["items"] or []
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    def watch(self, resource: Resource, selector: Mapping[str, str], version: str) -> Iterator[tuple[str, Any]]:
        """Yield each change since a version, as the type of the change and the object, for WATCH_SECONDS.

        Raises:
            ApiError: The watch broke, or the version is too old.

        Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
        """
        query = {**selector, "watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        with self._request("GET", "watch", resource, query, read=WATCH_SECONDS + _WATCH_MARGIN) as response:
            try:
                for line in response:
                    event = json.loads(line)
                    # 410 Gone comes in this form too, after status 200: only a new list helps then.
                    if event["type"] == "ERROR":
                        raise ApiError(f"the watch of {resource.plural} ended: {_message(event.get('object'))}")
                    yield event["type"], event["object"]
            except (urllib3.exceptions.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
                raise ApiError(f"the watch of {resource.plural} was interrupted: {_reason(error)}") from error

    def create(self, resource: Resource, body: Json) -> None:
        """Create an object.

        Raises:
            ApiError: The object was not created, or the answer was lost.
        """
        with self._request("POST", "create", resource, {}, body=body):
            pass

    def _request(
        self,
        method: str,
        verb: str,
        resource: Resource,
        query: Mapping[str, str],
        *,
        read: float | None = None,
        body: Json | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; return an answer with status 2xx, its body not yet read."""
        timeout = (min(_CONNECT_SECONDS, self._limit), read or self._limit)
        response = self._send(method, resource, query, timeout, body)
        if response.status == _NOT_LOGGED_IN:  # the token or the certificate has expired
            response.close()
            self._forget_login()
            response = self._send(method, resource, query, timeout, body)
        if 200 <= response.status < 300:  # noqa: PLR2004  # HTTP's own words
            return response
        with response:
            raise self._refusal(response, verb, resource)

    def _send(
        self,
        method: str,
        resource: Resource,
        query: Mapping[str, str],
        timeout: tuple[float, float],
        body: Json | None,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; return the answer, its body not yet read."""
        server = "the Kubernetes API"
        try:
            client = self.log_in()
            server += f" at {client.configuration.host}"
            with heard():  # a plugin that fails now is asked again, and what it had given may still be valid
                request = client.param_serialize(
                    method,
                    resource.path(self.namespace),
                    query_params=list(query.items()),
                    header_params={"Accept": "application/json", "Content-Type": "application/json"},
                    body=body,
                    auth_settings=["BearerToken"],
                )
            response: urllib3.BaseHTTPResponse = client.call_api(*request, _request_timeout=timeout).response
        except LoginError as error:
            raise ApiError(str(error)) from error
        except (urllib3.exceptions.HTTPError, ApiException, *UNUSABLE) as error:
            self._forget_login()  # a connection that has failed is not used again; the authority may be another one
            raise ApiError(f"cannot reach {server}: {_reason(error)}") from error
        return response

    def _forget_login(self) -> None:
        self._client = None

    def _refusal(self, response: urllib3.BaseHTTPResponse, verb: str, resource: Resource) -> ApiError:
        """Return the error that explains an answer with another status."""
        try:
            text = _message(_read(response))
        except ApiError as error:
            text = str(error)
        what, who = f"{verb} {resource.plural} in namespace {self.namespace}", self._login.who
        if response.status == _NOT_LOGGED_IN:
            return ForbiddenError(f"the Kubernetes API does not accept the login of {who} (401: {text})")
        if response.status == _FORBIDDEN:
            return ForbiddenError(
                f"{who} is not allowed to {what} (403: {text}); add this rule to its Role: {rule(resource)}"
            )
        if response.status in {400, 404}:
            return MistakenError(f"cannot {what}: {text}; check that it is installed in this cluster, and its spelling")
        # Retry-After may also be a date (RFC 9110, section 10.2.3): then k6-sweep's own pauses apply.
        after = response.headers.get("Retry-After", "")
        return ApiError(
            f"cannot {what}: the Kubernetes API answered {response.status} ({text})",
            float(after) if after.isdecimal() else 0.0,
        )


def _read(response: urllib3.BaseHTTPResponse) -> Json:
    try:
        body = json.loads(response.read())
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise ApiError(f"the Kubernetes API sent an answer that is not valid JSON: {_reason(error)}") from error
    if not isinstance(body, dict):
        raise ApiError("the Kubernetes API sent an answer that is not a JSON object")
    return body


def _message(status: object) -> str:
    return str(status.get("message")) if isinstance(status, dict) and status.get("message") else "no reason given"


def _reason(error: Exception) -> str:
    """Return the cause of an error, without the wrapping of urllib3 and of the package."""
    if isinstance(error, ApiException) and isinstance(error.__context__, Exception):
        error = error.__context__
    reason = getattr(error, "reason", None) or error
    return f"{type(reason).__name__}: {reason}" if str(reason) else type(reason).__name__
