"""Keeps the lock of a sweep while it runs; the lock of a replica that was killed ends soon."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from k6_sweep.cluster.lock import Holder
from k6_sweep.errors import RedisError

LOCKED_FOR: Final = 5.0
"""Seconds after which the lock expires, if it is not renewed."""
_RENEWAL: Final = 1.5
"""Seconds between two renewals."""
_NOTED: Final = 4
"""Renewals between two notes of the progress, which is what remains of a sweep whose replica is killed."""


class Lock(Protocol):
    """Prevents sweeps of other replicas while it is held."""

    def take(self, holder: Holder, seconds: float) -> Holder | None:
        """Take the lock, which expires after `seconds`; return None, or the other sweep that holds it."""

    def renew(self, holder: Holder, seconds: float) -> None:
        """Let the lock expire after `seconds` from now, unless another sweep holds it."""

    def release(self, holder: Holder) -> None:
        """Release the lock, if this sweep holds it."""


@contextmanager
def kept(lock: Lock, holder: Holder, note: Callable[[], None]) -> Iterator[None]:
    """Renew the holder's lock, on a thread of its own, while the context lasts; call `note` every few seconds."""
    over = threading.Event()

    def renew() -> None:
        for renewals in itertools.count(1):
            if over.wait(_RENEWAL):
                return
            with suppress(RedisError):  # the next renewal may succeed; without the lock, two sweeps run
                lock.renew(holder, LOCKED_FOR)
                if renewals % _NOTED == 0:
                    note()

    thread = threading.Thread(target=renew, name="lock")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
