"""The top of the OpenAPI document: how to get a token, what stays within a version, the groups of operations."""

from typing import Final

SWEEPING: Final = "Sweeps"
OBSERVING: Final = "Probes and metrics"
GROUPS: Final = [
    {"name": SWEEPING, "description": "Start a sweep, read its state, stop it. These operations need the token."},
    {"name": OBSERVING, "description": "For the kubelet and Prometheus. These operations need no token."},
]
ABOUT: Final = """Sweeps a load test's keys from the whole Redis Cluster.

**The token.** The operations with a lock need the token in the header `X-Admin-Token`. The operator of the endpoint
makes it with `openssl rand -hex 32`, and stores it in the Secret that the chart's `api.existingSecret` names. If you
may read that Secret, `kubectl get secret NAME -o jsonpath='{.data.token}' | base64 -d` prints the token. On this page,
*Authorize* takes it.

**Versions.** The API has the version of k6-sweep, which follows Semantic Versioning. Within a major version, the paths
and the fields stay; answers may get new fields, so ignore those that you do not know.

**Errors** are Problem Details (RFC 9457), with the type `application/problem+json`. A client whose `Accept` names only
`application/json` gets that type, and the same body.
"""
