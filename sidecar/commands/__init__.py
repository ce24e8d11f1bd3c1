"""The commands: each wires the steps of the one road and returns its report."""

from sidecar.commands.check import check
from sidecar.commands.context import Context, failure
from sidecar.commands.run import run
from sidecar.commands.serve import serve
from sidecar.commands.snapshot import snapshot
from sidecar.commands.watch import watch

__all__ = ["Context", "check", "failure", "run", "serve", "snapshot", "watch"]
