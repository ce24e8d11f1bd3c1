"""A fixture that renders the chart in one line; without Helm the tests are skipped with the reason."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.chart.helm import NEWEST, Rendered, render, why_no_helm, written

Values = dict[str, object]


@pytest.fixture(autouse=True)
def _helm() -> None:
    if reason := why_no_helm():
        pytest.skip(reason)


@pytest.fixture
def rendered(tmp_path: Path) -> Callable[..., Rendered]:
    """Render the chart with a k6 Job and the cleanup, plus these values."""

    def on_top(
        cleanup: Mapping[str, object] = {}, k6: Mapping[str, object] = {}, version: str = NEWEST, **values: object
    ) -> Rendered:
        basis: Values = {
            "fullnameOverride": "load-test",
            "k6": {"existingConfigMap": "load-test", **k6},
            "cleanup": {
                "enabled": True,
                "redis": {"url": "redis://redis:6379"},
                "patterns": ["test:*"],
                "guards": {"maxKeys": 5000},
                **cleanup,
            },
            **values,
        }
        return render(written(tmp_path, basis), version=version)

    return on_top
