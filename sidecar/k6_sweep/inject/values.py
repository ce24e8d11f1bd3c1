"""The values of inject's own settings: a Secret's key, a version of Kubernetes, resources, a user."""

import re
from dataclasses import dataclass
from typing import Any, Final, Self

USER: Final = 64001
"""A user that neither k6 nor another container has: with shared processes, a process of the same user can read the
password in /proc."""
_LARGEST_USER: Final = 2**31 - 1

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


_QUANTITY: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>m|[kKMGTPE]i?)?")
_UNITS: Final = {unit: 1000.0**power for power, unit in enumerate(("", "k", "M", "G", "T", "P", "E"))} | {
    f"{unit}i": 1024.0**power for power, unit in enumerate(("", "K", "M", "G", "T", "P", "E")) if unit
}
# Measured: 18 MiB and no CPU while it waits, 48 MiB in a sweep, 105 with a snapshot of 10,000,000 keys. Without a CPU
# limit: a sweep of 1,050,000 keys took 6.8 s, with a limit of 500m 8.9 s, and with 100m 17.5 s.
_REQUESTS: Final = {"cpu": "10m", "memory": "64Mi"}
_LIMITS: Final = {"memory": "256Mi"}


def quantities(text: str) -> tuple[tuple[str, str], ...]:
    """Parse resources in the notation of `kubectl set resources`: cpu=10m,memory=64Mi."""
    found = []
    for part in text.split(","):
        name, _, quantity = part.strip().partition("=")
        if name not in {"cpu", "memory", "ephemeral-storage"} or not _QUANTITY.fullmatch(quantity):
            raise ValueError(f"must be such as cpu=10m,memory=64Mi, not {text!r}")
        found.append((name, quantity))
    return tuple(found)


def amount(quantity: str) -> float:
    """Return a quantity of Kubernetes as a number: 10m is 0.01."""
    found = _QUANTITY.fullmatch(quantity)
    if not found:
        return 0.0
    return float(found["number"]) * (0.001 if found["unit"] == "m" else _UNITS.get(found["unit"] or "", 1.0))


def resources_of(
    requests: tuple[tuple[str, str], ...], limits: tuple[tuple[str, str], ...]
) -> dict[str, dict[str, Any]]:
    """Return the resources of a container: what was asked for, in addition to the defaults."""
    return {"requests": {**_REQUESTS, **dict(requests)}, "limits": {**_LIMITS, **dict(limits)}}


def user(text: str) -> int | str:
    """Parse a user: auto, none, or a user id that is not root's."""
    if text == "auto":
        return USER
    if text == "none":
        return text
    if not text.isdecimal() or not 0 < int(text) <= _LARGEST_USER:
        raise ValueError(f"must be auto, none, or a user id other than 0, not {text!r}")
    return int(text)
