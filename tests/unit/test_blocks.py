"""Each command block of README and docs is run by a test, or the reason why not is here."""

from pathlib import Path

import pytest

from tests.blocks import blocks

ROOT = Path(__file__).parents[2]
WHERE = {
    "README.md: make demo #": ".ci/run runs both commands",
    "README.md: python3 -m venv": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "README.md: helm install load-test": "tests/kubernetes/test_chart.py",
    "README.md: k6-sweep inject -f": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "README.md: k6-sweep watch --redis-url": "tests/acceptance/test_blocks_with_redis.py",
    "README.md: helm uninstall load-test": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "charts/k6-sweep/README.md: helm install load-test": "tests/kubernetes/test_chart.py",
    "docs/four-ways.md: kubectl create namespace": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/four-ways.md: kubectl create role": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/four-ways.md: helm install sweep": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/four-ways.md: curl -sS -X": "tests/endpoint/test_four_ways.py",
    "docs/kubernetes.md: kubectl apply --context": "tests/kubernetes/test_from_outside.py",
    "docs/kubernetes.md: helm install shop": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/operations.md: pip install '.[api]'": "tests/acceptance/test_blocks_with_redis.py",
    "docs/redis.md: redis-cli -h NODE": "tests/integration/test_stray_keys.py",
    "docs/redis.md: k6-sweep run --redis-url": "tests/acceptance/test_blocks_with_redis.py",
    "docs/report.md: kubectl get pod": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/operations.md: GATEWAY=http://pushgateway.monitoring:9091 curl -fsS": "tests/monitoring/test_monitoring.py",
    "docs/runbooks.md: NAMESPACE=load-test # the": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/runbooks.md: kubectl get pod": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/runbooks.md: kubectl get pod (2)": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/runbooks.md: k6-sweep run --redis-url": "tests/acceptance/test_blocks_with_redis.py",
    "docs/runbooks.md: kubectl get pods": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/runbooks.md: kubectl get jobs,cronjobs": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/runbooks.md: helm get values": "tests/kubernetes/test_blocks_in_a_cluster.py",
    "docs/safety.md: redis-cli -u redis://redis.staging:6379": "tests/acceptance/test_blocks_with_redis.py",
    "docs/safety.md: k6-sweep snapshot --out": "tests/acceptance/test_blocks_with_redis.py",
    "docs/several-tests.md: kubectl delete job": "tests/kubernetes/test_blocks_in_a_cluster.py",
}
"""The file that runs a block, or the reason why no test does."""


def test_each_block_has_its_place() -> None:
    """All blocks are in the list, and the list has no other."""
    assert set(blocks()) == set(WHERE)


@pytest.mark.parametrize("name", [name for name, where in WHERE.items() if where.startswith("tests/")])
def test_the_place_runs_it(name: str) -> None:
    """The file runs the block: it has its name, or reads the blocks of its page."""
    text = (ROOT / WHERE[name]).read_text()
    page = name.partition(":")[0]
    assert f'"{name}"' in text or f'"{page}"' in text or Path(page).name in text
