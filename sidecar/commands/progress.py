"""Shows how far a sweep is: a bar for each shard on a terminal, else a line now and then."""

import contextlib
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Final

from sidecar.log import Log
from sidecar.sweep.result import Progress

_EVERY: Final = 5.0

Show = Callable[[Progress], None]


@contextlib.contextmanager
def shown(log: Log) -> Iterator[Show]:
    """Give what shows the progress that it is called with."""
    if not log.on_terminal or find_spec("rich") is None:
        yield ProgressLines(log)
        return
    with _bars() as bars:
        yield bars


class ProgressLines:
    """Logs a line now and then, of the progress that it is called with."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last = time.monotonic()
        self._matched = 0

    def __call__(self, progress: Progress) -> None:
        """Take in how far it is."""
        now = time.monotonic()
        if now < self._last + _EVERY:
            return
        rate = (progress.matched - self._matched) / (now - self._last)
        self._last, self._matched = now, progress.matched
        self._log.info(
            "under way",
            percent=round(100 * progress.slots_done / max(1, progress.slots_asked), 1),
            keys_per_second=round(rate),
            pass_number=progress.pass_number,
            deleted=progress.deleted,
            matched=progress.matched,
        )


@contextlib.contextmanager
def _bars() -> Iterator[Show]:
    """Draw on standard error; what is logged meanwhile stands above the bars."""
    from rich.console import Console  # noqa: PLC0415  # of the extra `terminal`
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415  # the same

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("slots"))
    with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        total = bars.add_task("", total=None)
        shards: dict[str, TaskID] = {}

        def show(progress: Progress) -> None:
            said = f"pass {progress.pass_number}: {progress.matched} keys found, {progress.deleted} deleted"
            bars.update(total, description=said, total=progress.slots_asked, completed=progress.slots_done)
            for shard, (done, asked) in progress.shards.items():
                if shard not in shards:
                    shards[shard] = bars.add_task(f"  {shard}", total=asked)
                bars.update(shards[shard], completed=done, total=asked)

        yield show
