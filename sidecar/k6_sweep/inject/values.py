"""The values of inject's own settings: a Secret's key, a version of Kubernetes."""

import re
from dataclasses import dataclass
from typing import Final, Self

_KEY: Final = re.compile(r"(?P<name>[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?)(?:/(?P<key>[-._a-zA-Z0-9]+))?")
"""A Secret's name is a DNS subdomain of at most 253 characters."""


@dataclass(frozen=True)
class KeyIn:
    """The name of a Secret or ConfigMap, and a key in it."""

    name: str
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse NAME or NAME/KEY.

        Raises:
            ValueError: The text is neither.
        """
        found = _KEY.fullmatch(text)
        if not found:
            raise ValueError(f"must be NAME or NAME/KEY, not {text!r}")
        return cls(found["name"], found["key"])


def kube_version(text: str) -> tuple[int, int]:
    """Parse a version of Kubernetes such as 1.30 or v1.30.2."""
    found = re.match(r"v?(\d+)\.(\d+)", text)
    if not found:
        raise ValueError(f"must be a version such as 1.30, not {text!r}")
    return int(found[1]), int(found[2])
