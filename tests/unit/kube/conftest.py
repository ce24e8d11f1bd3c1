"""A scripted API server for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.kube.scripted import Scripted, scripted_server


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    folder = tmp_path / "account"
    folder.mkdir()
    with scripted_server(folder) as server:
        yield server
