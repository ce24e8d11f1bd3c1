"""Keeps the lock of a sweep while it runs; the lock of a replica that was killed ends soon."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from k6_sweep.errors import RedisError

LOCKED_FOR: Final = 5.0
"""Seconds after which the lock expires, if it is not renewed."""
_RENEWAL: Final = 1.5
"""Seconds between two renewals."""


class Lock(Protocol):
    """Prevents sweeps of other replicas while it is held."""

    def take(self, owner: str, seconds: float) -> str | None:
        """Take the lock, which expires after `seconds`; return None, or the id of the owner that holds it."""

    def renew(self, owner: str, seconds: float) -> None:
        """Let the lock expire after `seconds` from now, if this owner holds it."""

    def release(self, owner: str) -> None:
        """Release the lock, if this owner holds it."""


@contextmanager
def kept(lock: Lock, owner: str) -> Iterator[None]:
    """Renew the owner's lock, on a thread of its own, while the context lasts."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(_RENEWAL):
            with suppress(RedisError):  # the next renewal may succeed; without the lock, two sweeps run
                lock.renew(owner, LOCKED_FOR)

    thread = threading.Thread(target=renew, name="lock")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
