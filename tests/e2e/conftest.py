"""A Redis Cluster on the node, and a namespace for each test."""

import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from k6_sweep.demo.servers import LocalCluster, find_redis_server, local_cluster
from tests.e2e.cluster_user import NODE, NODE_ADDRESS, ClusterUser

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def redis() -> Iterator[LocalCluster]:
    """Three primaries that the pods reach by the node's address."""
    if socket.gethostname() != NODE:
        pytest.skip("needs a Kubernetes node: run `make e2e`, as root, with Go")
    options = {"bind": f"127.0.0.1 {NODE_ADDRESS}", "cluster-announce-ip": NODE_ADDRESS, "protected-mode": "no"}
    with local_cluster(find_redis_server(), primaries=3, options=options) as cluster:
        yield cluster


@pytest.fixture
def user(redis: LocalCluster, tmp_path: Path) -> Iterator[ClusterUser]:
    """A user with a namespace, in which nothing runs yet. The keys of others are there at the end, too."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    user = ClusterUser(f"load-{worker}-{next(_NUMBERS)}", redis, tmp_path)
    yield user
    assert user.others_are_there()
    user.kubectl("delete", "namespace", user.namespace, "--wait=false", everywhere=True)
