"""The permissions that each thing we ask of the API server needs, as rules of a Role."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Resource:
    """A kind of object in the API."""

    group: str
    """The API group; empty is the core group."""
    version: str
    plural: str

    def path(self, namespace: str) -> str:
        """Return where the objects of a namespace are."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}"


PODS: Final = Resource("", "v1", "pods")
JOBS: Final = Resource("batch", "v1", "jobs")
TEST_RUNS: Final = Resource("k6.io", "v1alpha1", "testruns")
EVENTS: Final = Resource("", "v1", "events")

VERBS: Final = {PODS: ("list", "watch"), JOBS: ("list", "watch"), TEST_RUNS: ("list", "watch"), EVENTS: ("create",)}
"""All that we ever do with each."""


def rule(resource: Resource) -> str:
    """Return the rule that a Role needs for a resource, as YAML on one line."""
    return (
        f'{{apiGroups: ["{resource.group}"], resources: ["{resource.plural}"], verbs: [{", ".join(VERBS[resource])}]}}'
    )
