"""The meaning of a server's error for its slot."""

import pytest
from redis import exceptions

from k6_sweep.cluster.replies import ReplyKind, judge


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (exceptions.MovedError("1 h:1"), ReplyKind.LATER),
        (exceptions.AskError("1 h:1"), ReplyKind.MOVING),
        (exceptions.TryAgainError("Multiple keys"), ReplyKind.MOVING),
        (exceptions.MasterDownError("Link with MASTER is down", status_code="MASTERDOWN"), ReplyKind.LATER),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas"), ReplyKind.LATER),
        (exceptions.ResponseError("BUSY Redis is busy running a script"), ReplyKind.LATER),
        (exceptions.NoPermissionError("no", status_code="NOPERM"), ReplyKind.DENIED),
        (exceptions.ResponseError("ERR unknown command"), ReplyKind.DENIED),
    ],
)
def test_errors_are_judged(error: Exception, verdict: ReplyKind) -> None:
    """Each error is judged as temporary, as a move of the slot, or as final."""
    trouble = judge(error)
    assert trouble is not None
    assert trouble.kind is verdict
    assert judge(1) is None
