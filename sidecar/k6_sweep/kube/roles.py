"""The permissions that k6-sweep's requests to the API server need, as rules of a Role."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Resource:
    """A kind of object in the API."""

    group: str
    """The API group; an empty string is the core group."""
    version: str
    plural: str

    def path(self, namespace: str) -> str:
        """Return the URL path of the objects in a namespace."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}"


PODS: Final = Resource("", "v1", "pods")
JOBS: Final = Resource("batch", "v1", "jobs")
TEST_RUNS: Final = Resource("k6.io", "v1alpha1", "testruns")
EVENTS: Final = Resource("", "v1", "events")

VERBS: Final = {PODS: ("list", "watch"), JOBS: ("list", "watch"), TEST_RUNS: ("list", "watch"), EVENTS: ("create",)}
"""The only verbs that k6-sweep uses on each resource.

There is no `get`: RBAC applies a rule's resourceNames also to a list and a watch with the selector metadata.name=NAME.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources
"""


def rule(resource: Resource) -> str:
    """Return the rule that a Role needs for a resource, as YAML on one line."""
    return (
        f'{{apiGroups: ["{resource.group}"], resources: ["{resource.plural}"], verbs: [{", ".join(VERBS[resource])}]}}'
    )
