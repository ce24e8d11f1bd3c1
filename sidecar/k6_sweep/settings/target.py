"""The target of the wait: a pod, a Job, a TestRun, or pods by their labels."""

import re
from dataclasses import dataclass
from typing import Final, Self

from k6_sweep.kube.roles import JOBS, TEST_RUNS, Resource

_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Target:
    """The target of the wait: `pod/NAME`, `job/NAME`, `testrun/NAME`, `job-selector:LABELS` or `selector:LABELS`."""

    kind: str
    name: str
    """The name, or the labels of a selector; a Job and its pods have the same."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a target.

        Raises:
            ValueError: The text is no target.
        """
        by_labels = text.strip().startswith(("selector:", "job-selector:"))
        kind, _, name = text.strip().partition(":" if by_labels else "/")
        named = kind in {"pod", "job", "testrun"} and _NAME.fullmatch(name)
        if not named and not (by_labels and name):
            raise ValueError(
                f"must be pod/NAME, job/NAME, testrun/NAME, job-selector:LABELS or selector:LABELS, not {text!r}"
            )
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind}{':' if self.has_labels else '/'}{self.name}"

    @property
    def has_labels(self) -> bool:
        """Whether it names labels, which objects of an earlier test may have too."""
        return self.kind in {"selector", "job-selector"}

    @property
    def is_one_pod(self) -> bool:
        """Whether the target is one pod by its name, without a controller that creates more."""
        return self.kind == "pod"

    @property
    def controller(self) -> tuple[Resource, dict[str, str]] | None:
        """The resource and the selector of the controller that creates the pods; None if it is unknown."""
        if self.kind == "job-selector":
            return JOBS, {"labelSelector": self.name}
        resource = {"job": JOBS, "testrun": TEST_RUNS}.get(self.kind)
        return (resource, {"fieldSelector": f"metadata.name={self.name}"}) if resource else None

    @property
    def pods(self) -> dict[str, str]:
        """The selector of k6's pods. A TestRun's initializer and starter pods also have its name, but not `runner`."""
        return {
            "pod": {"fieldSelector": f"metadata.name={self.name}"},
            "job": {"labelSelector": f"job-name={self.name}"},
            "testrun": {"labelSelector": f"k6_cr={self.name},runner=true"},
            "job-selector": {"labelSelector": self.name},
            "selector": {"labelSelector": self.name},
        }[self.kind]
