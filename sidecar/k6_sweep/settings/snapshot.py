"""The settings of a snapshot."""

from dataclasses import dataclass
from pathlib import Path

from k6_sweep.settings.all import Settings
from k6_sweep.settings.options import Role, TakenBy, option
from k6_sweep.settings.values import file_to_write, whole_number

_SNAPSHOT = "Snapshot"


@dataclass(frozen=True, kw_only=True)
class SnapshotSettings(Settings):
    """All settings, and those that only `snapshot` takes."""

    out: Path = option(
        _SNAPSHOT,
        TakenBy.SNAPSHOT,
        "Output file. If it exists, that is an error, except when this same pod wrote it (a restarted init container): "
        "then it is kept.",
        role=Role.NEITHER,
        why="The sweep must read the same file: it is on a volume that both containers mount.",
        parse=file_to_write(lambda _: True),  # the command itself refuses what exists
        metavar="FILE",
        required=True,
    )
    snapshot_limit: int = option(
        _SNAPSHOT,
        TakenBy.SNAPSHOT,
        "Maximum keys in the snapshot; if more keys match, k6-sweep refuses. Each key takes 8 bytes, in memory and in "
        "the file.",
        role=Role.NEITHER,
        why="These keys take 80 MB, which the memory limit of the containers that inject and the chart add (256 MiB) "
        "allows.",
        parse=whole_number(1),
        metavar="N",
        default=10_000_000,
    )
