"""Sends requests to the API server, in raw JSON, with a limit on every wait.

ApiError              no answer, or an unusable one; a retry may succeed
├── ForbiddenError    401 or 403: the message contains the rule that the Role lacks
└── MistakenError     400 or 404: the requested resource does not exist
"""

import json
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

import urllib3
from urllib3.util import create_urllib3_context

from k6_sweep.kube.account import Account
from k6_sweep.kube.roles import Resource, rule

WATCH_SECONDS: Final = 12
"""How long one watch runs: after that k6-sweep lists the objects again, no matter what the watch reported.

A watch can go silent, so this limits how late k6-sweep sees k6's end; a list of one pod every 12 seconds is no load for
an API server. See docs/decisions/0006-raw-json-from-the-kubernetes-api.md.
"""
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 8.0
_WATCH_MARGIN: Final = 2.0
"""Seconds by which the read timeout is longer, so that a healthy server ends the watch first, without an error."""
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
    """The service account does not have the permission."""


class MistakenError(ApiError):
    """The server does not understand the request: there is no such resource, or the selector is malformed."""


def _tls() -> ssl.SSLContext:
    """Return the TLS settings: certificates and names are checked, but an authority may lack key identifiers.

    Clusters that were made by older versions of EKS and GKE have such authorities, which Python 3.13 and newer refuse.

    Source: https://github.com/kubernetes-client/python/issues/2394
    """
    context = create_urllib3_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class ApiServer:
    """One connection to the API server, as one service account in one namespace."""

    def __init__(self, account: Account, namespace: str, limit: float = _READ_SECONDS) -> None:
        """Prepare; `limit` is the number of seconds that an answer may take."""
        self._account = account
        self._namespace = namespace
        self._limit = limit
        # urllib3's own three retries would make a request last four times its time limit.
        self._pool = urllib3.PoolManager(num_pools=1, ca_certs=str(account.ca_file), ssl_context=_tls(), retries=False)

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
            metadata = body.get("metadata") or {}
            items += body.get("items") or []
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
        try:
            headers = {"Accept": "application/json", "Authorization": f"Bearer {self._account.token()}"}
            response = self._pool.request(
                method,
                self._account.url + resource.path(self._namespace),
                fields=None if body else dict(query),
                json=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(_CONNECT_SECONDS, self._limit), read=read or self._limit),
                preload_content=False,  # else urllib3 returns a watch only after its end
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self._pool.clear()  # a connection that has failed is not used again
            raise ApiError(f"cannot reach the Kubernetes API at {self._account.url}: {_reason(error)}") from error
        if 200 <= response.status < 300:  # noqa: PLR2004  # HTTP's own words
            return response
        with response:
            raise self._refusal(response, verb, resource)

    def _refusal(self, response: urllib3.BaseHTTPResponse, verb: str, resource: Resource) -> ApiError:
        """Return the error that explains an answer with another status."""
        try:
            said = _message(_read(response))
        except ApiError as error:
            said = str(error)
        what = f"{verb} {resource.plural} in namespace {self._namespace}"
        if response.status in {401, 403}:
            return ForbiddenError(
                f"the service account is not allowed to {what} ({response.status}: {said}); add this rule to its Role: "
                f"{rule(resource)}"
            )
        if response.status in {400, 404}:
            return MistakenError(f"cannot {what}: {said}; check that it is installed in this cluster, and its spelling")
        # Retry-After may also be a date (RFC 9110, section 10.2.3): then k6-sweep's own pauses apply.
        after = response.headers.get("Retry-After", "")
        return ApiError(
            f"cannot {what}: the Kubernetes API answered {response.status} ({said})",
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
    """Return the cause of an error, without urllib3's wrapping."""
    reason = getattr(error, "reason", None) or error
    return f"{type(reason).__name__}: {reason}" if str(reason) else type(reason).__name__
