"""The settings of a snapshot."""

from dataclasses import dataclass
from pathlib import Path

from k6_sweep.settings.all import Settings
from k6_sweep.settings.options import TakenBy, option
from k6_sweep.settings.values import whole_number

_SNAPSHOT = "The snapshot"


@dataclass(frozen=True, kw_only=True)
class SnapshotSettings(Settings):
    """All settings, and those that only `snapshot` takes."""

    out: Path = option(
        _SNAPSHOT,
        TakenBy.SNAPSHOT,
        "The file to write. In a pod an existing one of this pod's is kept; elsewhere it is refused.",
        parse=Path,
        metavar="FILE",
        required=True,
    )
    snapshot_limit: int = option(
        _SNAPSHOT,
        TakenBy.SNAPSHOT,
        "Refuse to note down more keys than this; each takes 8 bytes, in memory and in the file.",
        parse=whole_number(1),
        metavar="N",
        default=10_000_000,
    )
