"""Notes in the snapshot that a complete sweep has used it."""

from k6_sweep.log import Log, LogEvent
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status


def note_use(settings: Settings, log: Log, report: Report) -> None:
    """Mark the snapshot after a complete sweep; a failure to do so is logged and is not fatal.

    Without the mark, a script whose next `snapshot` fails, but which goes on, would sweep with this one again.
    """
    if settings.preserve_existing is None or report.status is not Status.COMPLETE:
        return
    from k6_sweep.sweep.snapshot import mark_used  # costs 6 MiB during the wait

    try:
        mark_used(settings.preserve_existing)
    except OSError as error:  # such as a volume that is mounted read-only
        log.warning(LogEvent.SNAPSHOT_NOT_MARKED, problem=str(error))
