"""Shows the progress of a sweep: one bar for each shard on a terminal, otherwise a log line every few seconds."""

import contextlib
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from k6_sweep.log import Log, LogEvent
from k6_sweep.sweep.result import OnProgress, Progress

_EVERY: Final = 5.0
_EVERY_FOR_A_PERSON: Final = 2.0
"""Seconds between two lines where a person watches a terminal that cannot show bars."""


@contextlib.contextmanager
def shown(log: Log) -> Iterator[OnProgress]:
    """Yield a function that shows the progress that it receives."""
    if not log.can_redraw or find_spec("rich") is None:
        yield ProgressLines(log, _EVERY_FOR_A_PERSON if log.on_terminal else _EVERY)
        return
    with _bars() as bars:
        yield bars


class ProgressLines:
    """Logs the progress that it receives, in one line every few seconds."""

    def __init__(self, log: Log, seconds: float = _EVERY) -> None:
        self._log = log
        self._every = seconds
        self._last = time.monotonic()
        self._matched = 0

    def __call__(self, progress: Progress) -> None:
        """Log the progress, if enough seconds have passed since the last line."""
        now = time.monotonic()
        if now < self._last + self._every:
            return
        before = self._matched if self._matched <= progress.matched else 0  # it restarts at 0 after a guard's count
        rate = (progress.matched - before) / (now - self._last)
        self._last, self._matched = now, progress.matched
        self._log.info(
            LogEvent.SWEEP_PROGRESS,
            percent=None if progress.slots_asked is None else _percent(progress.slots_done, progress.slots_asked),
            seconds_left=None if progress.seconds_left is None else round(progress.seconds_left),
            keys_per_second=round(rate),
            pass_number=progress.pass_number,
            deleted=progress.deleted,
            matched=progress.matched,
        )


def _percent(done: int, asked: int) -> float:
    return round(100 * done / max(1, asked), 1)


@contextlib.contextmanager
def _bars() -> Iterator[OnProgress]:
    """Draw the counts and the bars on standard error; log lines appear above them."""
    from rich import progress as rich  # from the extra `terminal`
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    # The counts are not in a column beside the bars: rich would cut them in a narrow window.
    counts = Text("connecting")
    console = Console(stderr=True)
    text = rich.TextColumn
    columns = (text("{task.description}"), rich.BarColumn(None), rich.MofNCompleteColumn(), text("slots"))
    bars = rich.Progress(*columns, rich.TimeRemainingColumn(compact=True, elapsed_when_finished=True), console=console)
    with Live(Group(counts, bars), console=console, transient=True):
        total = bars.add_task("all shards", total=None)
        shards: dict[str, rich.TaskID] = {}

        def show(progress: Progress) -> None:
            found, deleted = f"{progress.matched:,} keys found", f"{progress.deleted:,} deleted"
            counts.plain = f"pass {progress.pass_number}: {found}, {deleted}"
            bars.update(total, total=progress.slots_asked, completed=progress.slots_done)
            for shard, (done, asked) in progress.shards.items() if progress.slots_asked else ():
                if shard not in shards:
                    shards[shard] = bars.add_task(f"  {shard}", total=asked)
                bars.update(shards[shard], completed=done, total=asked)

        yield show
