"""Limits how often an address gets 403 for a wrong token; more wrong ones get 429.

It never holds up the right token: all clients may share one address, that of an ingress or a NAT. So it does not make a
short token safe; it asks a client to stop, and shows guesses in the metrics.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from k6_sweep.api.crowd import group_of

_FREE: Final = 30.0
"""Wrong tokens without a limit: clients may need some tries after a rotation."""
_RATE: Final = 10.0
"""Wrong tokens a second after that."""
_MOST: Final = 4096
"""Addresses in memory; those without a wrong token for the longest time are dropped first."""


class Brake:
    """A token bucket for each address."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Store the clock, which gives seconds."""
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By address: how many wrong tokens are left, and when that was."""

    def passes(self, address: str) -> bool:
        """Return whether one more wrong token of this address is within the limit."""
        group, now = group_of(address), self._now()
        left, since = self._left.pop(group, (_FREE, now))
        left = min(_FREE, left + _RATE * (now - since))
        passes = left >= 1
        self._left[group] = (left - passes, now)
        if len(self._left) > _MOST:
            self._left.popitem(last=False)
        return passes
