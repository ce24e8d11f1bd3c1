"""A machine without Prometheus or Helm says so."""

import pytest

from tests.chart.helm import why_no_helm
from tests.monitoring.servers import why_no_prometheus


@pytest.fixture(autouse=True, scope="module")  # before the servers, which a module starts once
def _programs() -> None:
    if reason := why_no_prometheus() or why_no_helm():
        pytest.skip(reason)
