"""Sweeps that the settings alone refuse."""

import pytest

from k6_sweep.errors import RefusedError
from k6_sweep.sweep.guard import check_namespace


@pytest.mark.parametrize(
    ("namespace", "allowed", "fine"),
    [
        ("a", [], True),
        (None, [], True),
        ("load-1", ["x", "load-*"], True),
        ("prod", ["load-*"], False),
        (None, ["*"], False),
    ],
)
def test_namespaces(namespace: str | None, allowed: list[str], fine: bool) -> None:
    """A glob allows the namespaces that it matches; an unknown one is allowed only without --allowed-namespace."""
    if fine:
        check_namespace(allowed, namespace)
    else:
        with pytest.raises(RefusedError):
            check_namespace(allowed, namespace)
