"""Reads a snapshot from its file, and believes nothing in it before it has checked it."""

import itertools
import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from k6_sweep.cluster.slots import SLOT_COUNT, parse_ranges
from k6_sweep.errors import RefusedError
from k6_sweep.files.regular import open_regular
from k6_sweep.settings.all import Settings
from k6_sweep.sweep.snapshot import DIGEST_SIZE, FIRST_LINE, Snapshot


def usable_snapshot(settings: Settings, pod: str | None) -> Snapshot | None:
    """Return the snapshot of --preserve-existing, if this pod may sweep with it now; None without that setting.

    Raises:
        RefusedError: It cannot be read, is too old or used, or does not cover a pattern.
    """
    file = settings.preserve_existing
    if file is None:
        return None
    found = read_snapshot(file)
    found.check_use(file, settings.snapshot_max_age, pod)
    found.check_patterns(settings.pattern, file)
    return found


def read_snapshot(file: Path) -> Snapshot:
    """Read a snapshot from its file.

    Raises:
        RefusedError: The file cannot be read, or differs from what was written.
    """
    try:
        content = _read(file)
    except OSError as error:
        raise RefusedError(
            f"the snapshot cannot be read ({error}); take one before the test with: k6-sweep snapshot --out {file}"
        ) from error
    if content is None:
        raise RefusedError(f"{file} is not a snapshot of this version of k6-sweep; take it with this version")
    start = content.find(b"\n", len(FIRST_LINE)) + 1
    middle = start + 4 * SLOT_COUNT
    view = memoryview(content)
    counts = view[start:middle].cast("I") if start and middle <= len(view) else view[:0]
    end = middle + 8 * sum(counts)
    if not counts or blake2b(view[:end], digest_size=DIGEST_SIZE).digest() != view[end : end + DIGEST_SIZE]:
        raise RefusedError(f"the snapshot {file} is damaged: its checksum is wrong; nothing was deleted")
    try:
        fields = _fields(content[len(FIRST_LINE) : start])
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            f"the snapshot {file} has a header that this version of k6-sweep does not know ({error}); take a new one"
        ) from error
    used = content[end + DIGEST_SIZE :]
    hashes, ends = view[middle:end].cast("Q"), itertools.accumulate(counts, initial=0)
    return Snapshot(
        **fields,
        hashes=[hashes[first:last] for first, last in itertools.pairwise(ends)],
        used=used.decode("utf-8", "replace").partition("\n")[0] or ("unknown" if used else ""),
    )


def _read(file: Path) -> bytes | None:
    """Return the content of a snapshot; None if it is another file, of which only the beginning is read."""
    with os.fdopen(open_regular(file), "rb") as opened:
        if opened.read(len(FIRST_LINE)) != FIRST_LINE:
            return None
        opened.seek(0)
        return opened.read()


def _fields(header: bytes) -> dict[str, Any]:
    """Return the fields of a snapshot from its header.

    Raises:
        ValueError: It is not a header, or one of its fields is not what `Snapshot.write` writes.
        RecursionError: It is nested too deeply for JSON's parser.
    """
    fields = json.loads(header)
    if not isinstance(fields, dict) or set(fields) != set(_CHECKS):
        raise ValueError("it has other fields")
    for name, is_sound in _CHECKS.items():
        if not is_sound(fields[name]):
            raise ValueError(f"its field {name} has another form")
    taken_at = datetime.fromisoformat(fields["taken_at"])
    if taken_at.utcoffset() != timedelta(0):
        raise ValueError("its time is not in UTC")
    return fields | {
        "patterns": tuple(fields["patterns"]),
        "redis": frozenset(fields["redis"]),
        "unproven": tuple(parse_ranges(fields["unproven"])),
        "taken_at": taken_at,
    }


def _is_text(value: Any) -> bool:
    """Whether this is a text that was once bytes: JSON can also hold half a character."""
    return isinstance(value, str) and value.encode("utf-8", "surrogateescape") is not None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


_CHECKS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "patterns": _are_texts,
    "redis": _are_texts,
    "unproven": _is_text,
    "host": _is_text,
    "pod": lambda value: value is None or _is_text(value),
    "taken_at": _is_text,
}
"""The fields of a header, each with the check of its type."""
