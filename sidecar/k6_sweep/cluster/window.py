"""Decides how much work one server gets in one write, and in all writes that it has not answered yet.

A server's other clients wait while it executes one of our writes, so a write holds only as much work as
`--latency-budget` allows. Writes in flight fill the way to the server; more of them than that only wait there.

A round trip contains the way through the network, which may be long, and differ from one moment to the next. So the
time that a server needs for a key is not read from single round trips. It is at most the typical round trip without
the way; and also at most the time in which a key is done, however long the way is, if several writes are in flight.
How many is found by trial: more of them are good as long as more gets done.

Source: L. Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer communications"
(1979): the best load has the highest ratio of throughput to delay.
"""

import statistics
from collections import deque
from collections.abc import Sequence
from typing import Final

_FIRST_WRITE: Final = 250
"""Keys in the first write, before any round trip shows how fast the server is."""
_LEAST_WRITE: Final = 16
"""Keys in a write to even the slowest server, so that its sweep goes on."""
_MOST_IN_FLIGHT: Final = 16_384
"""Keys in unanswered writes: about 0.4 MB, which keep a server busy for some 20 ms."""
_LONGEST_PAGE: Final = 4_000
"""Keys of one page of SCAN."""
_FIRST_PAGE: Final = 16
"""Keys of the first page, which shows how long they are."""
LIST_LIMIT: Final = 5_000
"""Keys in one listing of a slot: with this number, GETKEYSINSLOT blocks the server for 0.5 to 2 ms."""
_MOST_BYTES: Final = 4 << 20
"""Of keys in one list or one delete: in Redis, the name of a key may have 512 MB."""
_SHORT: Final = 512
"""Keys up to this length count as short: a list of them is small."""
_BYTES_OF_A_KEY: Final = 4096
"""As many bytes of key names cost about as much as another key."""
_WRITES: Final = 32
"""Writes whose round trips count."""
_RATES: Final = 8
"""Trials whose rates count."""
_FIRST_STEP: Final = 2.0
_STEP: Final = 1.5
"""The factor between the keys in flight of two trials: in the beginning, and after the first one that was no better."""
_BETTER: Final = 1.1
_REST: Final = 8
"""Trials without a change after one that was no better."""
_WRITES_OF_A_TRIAL: Final = 4
_SECONDS_OF_A_TRIAL: Final = 0.05
"""At least: what else runs on a machine makes shorter ones differ at random."""


class Window:
    """The work that one server may have at a time; the unit is the work for one key."""

    def __init__(self, most: int, budget: float) -> None:
        """Start small; `most` limits the keys of a write, `budget` is the seconds that a server may work on it."""
        self._most = most
        self._budget = budget
        self._trips: deque[float] = deque(maxlen=_WRITES)
        """Seconds of the latest round trips."""
        self._costs: deque[float] = deque(maxlen=_WRITES)
        """Seconds for a key, by the round trips of the latest writes without the way."""
        self._rates: deque[float] = deque(maxlen=_RATES)
        """Keys a second in the latest trials."""
        self.keys = min(most, _FIRST_WRITE)
        """How many keys one write may hold."""
        self.in_flight = self.keys
        """How many keys the writes without an answer may hold; one write is allowed in any case."""
        self._key_bytes = 0
        """The length of the longest of the latest keys, at least _SHORT; 0 before any is known."""
        self.at_once = LIST_LIMIT
        """How many keys may be asked for, or named in one command, if nothing else is known of their length."""
        self._step = _FIRST_STEP
        self.pause()

    @property
    def page(self) -> int:
        """How many keys SCAN may be asked for, which answers with one page at a time.

        Half of a write if the way is short: in a table that was emptied, SCAN reads ten buckets for each key.
        """
        wanted = max(1, self.keys // 2, min(_LONGEST_PAGE, self.in_flight // 4))
        return min(wanted, self.at_once if self._key_bytes else _FIRST_PAGE)

    def list_limit(self, length: int) -> int:
        """How many keys of this length may be asked for, or named in one command."""
        return max(1, min(LIST_LIMIT, _MOST_BYTES // max(length, self._key_bytes, 1)))

    def cost(self, count: int, length: int = 0) -> int:
        """What it costs to list or to send keys of this length, in the unit of a key."""
        return count + count * max(length, self._key_bytes) // _BYTES_OF_A_KEY

    def note_keys(self, keys: Sequence[bytes]) -> None:
        """Learn how long keys are, from the ends of a list: the longest ones are remembered for some lists."""
        longest = max(len(keys[0]), len(keys[-1])) if keys else 0
        if longest > _SHORT or (keys and self._key_bytes != _SHORT):
            self._key_bytes = max(longest, self._key_bytes * 7 // 8, _SHORT)
            self.at_once = self.list_limit(0)

    def pause(self) -> None:
        """Begin new trials, because other work follows: its rate cannot be compared with the earlier one's."""
        self._trial: _Trial | None = None
        self._power = 0.0
        """Of the latest trial that was better than the one before."""
        self._before = self.in_flight
        """The keys in flight in that trial."""
        self._rest = 0

    def learn(self, work: int, sent: float, now: float, way: float) -> None:
        """Adjust the window after a write.

        Args:
            work: The number of keys, and of commands in the unit of a key.
            sent: When it was sent, on the monotonic clock.
            now: When the replies were there.
            way: The shortest round trip of this link, in seconds.
        """
        self._trips.append(now - sent)
        self._costs.append((now - sent - way) / max(work, _LEAST_WRITE))
        cost = min(_middle(self._costs), 1 / max(self._rates, default=1e-9))
        if cost * self.keys > self._budget:
            self.keys = max(min(self._most, _LEAST_WRITE), self.keys // 2, int(self._budget / cost))
        else:
            self.keys = min(self._most, self.keys + self.keys // 8 + 1)
        if self._trial is None:
            self._trial = _Trial(now)
        elif self._trial.ends_with(work, sent, now):
            self._rates.append(self._trial.rate)
            self._try(self._trial.rate / self._trial.delay)
            self._trial = _Trial(now)
        # On a short way, one write at a time keeps the server busy; on a long one, as many as it has time for.
        most = self._most * max(1, round(_middle(self._trips) / self._budget))
        self.in_flight = max(self.keys, min(self.in_flight, most, _MOST_IN_FLIGHT))

    def _try(self, power: float) -> None:
        """Change the keys in flight as long as the power grows, and return to the best number after that."""
        if self._rest:
            self._rest -= 1
            self._power = power
        elif power > self._power * _BETTER:
            self._power = power
        else:
            self.in_flight = self._before
            self._step = 1 / _STEP if self._step > 1 else _STEP
            self._rest = _REST
        if self._rest:
            return
        self._before = self.in_flight
        change = max(self.keys, round(self.in_flight * abs(self._step - 1)))
        self.in_flight += change if self._step > 1 else -change


def _middle(values: Sequence[float]) -> float:
    """Return the median, in a tenth of the time that the one of `statistics` takes: it is called for each write."""
    return sorted(values)[len(values) // 2]


class _Trial:
    """Measures what is done, and the delay, with the present number of keys in flight.

    It begins with the first write that is sent after the change, and ends with one that is sent after that has come.
    """

    def __init__(self, changed: float) -> None:
        self._changed = changed
        self._began = 0.0
        self._ended = 0.0
        self._work = 0
        self._delays: list[float] = []

    def ends_with(self, work: int, sent: float, now: float) -> bool:
        """Add a write; return whether this is enough."""
        if not self._began:
            self._began = now if sent >= self._changed else 0.0
            return False
        self._work += work
        self._delays.append(now - sent)
        self._ended = now
        enough = len(self._delays) >= _WRITES_OF_A_TRIAL and now >= self._began + _SECONDS_OF_A_TRIAL
        return enough and sent >= self._began

    @property
    def rate(self) -> float:
        """Keys a second."""
        return self._work / (self._ended - self._began)

    @property
    def delay(self) -> float:
        """The mean round trip in seconds."""
        return statistics.fmean(self._delays)
