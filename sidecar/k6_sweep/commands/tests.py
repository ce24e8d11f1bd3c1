"""`k6-sweep tests`: lists the tests that are running on this Redis, and the sweeps that are owed."""

from k6_sweep.commands.context import Context
from k6_sweep.commands.lookout import register_of
from k6_sweep.report import Report
from k6_sweep.status import Status


def tests(context: Context) -> Report:
    """List the register of tests."""
    return Report(Status.READY, tests=tuple(register_of(context.settings).read()))
