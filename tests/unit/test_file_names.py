"""The names of the test files."""

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_file_names_are_unique_among_all_folders() -> None:
    """pytest imports each test file by its name alone, so that two files of one name cannot be collected together."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
