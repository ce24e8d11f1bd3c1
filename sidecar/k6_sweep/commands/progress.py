"""Shows the progress of a sweep: one bar for each shard on a terminal, otherwise a log line every 5 seconds."""

import contextlib
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from k6_sweep.log import Log, LogEvent
from k6_sweep.sweep.result import OnProgress, Progress

_EVERY: Final = 5.0


@contextlib.contextmanager
def shown(log: Log) -> Iterator[OnProgress]:
    """Yield a function that shows the progress that it receives."""
    if not log.on_terminal or find_spec("rich") is None:
        yield ProgressLines(log)
        return
    with _bars() as bars:
        yield bars


class ProgressLines:
    """Logs the progress that it receives, in one line every 5 seconds."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last = time.monotonic()
        self._matched = 0

    def __call__(self, progress: Progress) -> None:
        """Log the progress, if 5 seconds have passed since the last line."""
        now = time.monotonic()
        if now < self._last + _EVERY:
            return
        before = self._matched if self._matched <= progress.matched else 0  # it restarts at 0 after a guard's count
        rate = (progress.matched - before) / (now - self._last)
        self._last, self._matched = now, progress.matched
        self._log.info(
            LogEvent.SWEEP_PROGRESS,
            percent=None if progress.slots_asked is None else _percent(progress.slots_done, progress.slots_asked),
            keys_per_second=round(rate),
            pass_number=progress.pass_number,
            deleted=progress.deleted,
            matched=progress.matched,
        )


def _percent(done: int, asked: int) -> float:
    return round(100 * done / max(1, asked), 1)


@contextlib.contextmanager
def _bars() -> Iterator[OnProgress]:
    """Draw the bars on standard error; log lines appear above them."""
    from rich import progress as rich  # from the extra `terminal`
    from rich.console import Console

    text = rich.TextColumn
    columns = (text("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn(), text("slots"))
    with rich.Progress(*columns, rich.TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        total = bars.add_task("", total=None)
        shards: dict[str, rich.TaskID] = {}

        def show(progress: Progress) -> None:
            said = f"pass {progress.pass_number}: {progress.matched} keys found, {progress.deleted} deleted"
            bars.update(total, description=said, total=progress.slots_asked, completed=progress.slots_done)
            for shard, (done, asked) in progress.shards.items() if progress.slots_asked else ():
                if shard not in shards:
                    shards[shard] = bars.add_task(f"  {shard}", total=asked)
                bars.update(shards[shard], completed=done, total=asked)

        yield show
