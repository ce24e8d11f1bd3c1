"""Without Prometheus or Helm the tests are skipped with the reason."""

import pytest

from tests.chart.helm import why_no_helm
from tests.monitoring.servers import why_no_prometheus


@pytest.fixture(autouse=True, scope="module")  # before the servers that each module starts
def _programs() -> None:
    if reason := why_no_prometheus() or why_no_helm():
        pytest.skip(reason)
