"""A file is written in one step, to where its links lead."""

import os
from pathlib import Path

import pytest

from k6_sweep.files.whole import write_whole


def test_it_follows_links(tmp_path: Path) -> None:
    """A link stays a link, and the file that it leads to gets the content; there may be none yet."""
    for name, existing in (("old", True), ("new", False)):
        target, link = tmp_path / name, tmp_path / f"link-{name}"
        if existing:
            target.write_text("earlier")
        link.symlink_to(target)
        write_whole(link, [b"a", memoryview(b"b")])
        assert link.is_symlink()
        assert target.read_bytes() == b"ab"
        assert target.stat().st_mode & 0o777 == 0o644


def test_the_null_device_stays(tmp_path: Path) -> None:
    """The null device takes any content and stays a device, also under another name."""
    (tmp_path / "null").symlink_to(os.devnull)
    for path in (Path(os.devnull), tmp_path / "null"):
        write_whole(path, [b"a"])
        assert Path(os.devnull).is_char_device()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    """If a part cannot be made, the earlier file stays, and no draft is left."""

    def parts() -> list[bytes]:
        raise MemoryError

    (tmp_path / "file").write_text("earlier")
    with pytest.raises(MemoryError):
        write_whole(tmp_path / "file", (part for _ in "1" for part in parts()))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "earlier"
