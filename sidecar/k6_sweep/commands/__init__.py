"""The commands: each wires the steps of the one road and returns its report."""

from k6_sweep.commands.check import check
from k6_sweep.commands.context import Context, ContextOf, failure
from k6_sweep.commands.run import run
from k6_sweep.commands.serve import serve
from k6_sweep.commands.snapshot import snapshot
from k6_sweep.commands.watch import watch

__all__ = ["Context", "ContextOf", "check", "failure", "run", "serve", "snapshot", "watch"]
