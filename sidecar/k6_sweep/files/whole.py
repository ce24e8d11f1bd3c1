"""Writes a file in one step, so that a reader finds all of it or nothing."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from k6_sweep.files.regular import is_null_device

_READABLE: Final = 0o644


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file from its parts; it takes the place of an existing one, or of the one that a link leads to.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and is_null_device(path.stat()):
        return  # root could replace it by a file
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
        try:
            draft.writelines(parts)
            draft.flush()
            os.fchmod(draft.fileno(), _READABLE)
            os.fsync(draft.fileno())
            Path(draft.name).rename(path)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise
