"""Sweeps that the settings alone refuse."""

import logging
from importlib import import_module
from pathlib import Path

import pytest

from k6_sweep.cli import COMMANDS
from k6_sweep.commands.context import ContextOf, failure
from k6_sweep.errors import RefusedError
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.lifecycle import Events
from k6_sweep.log import Log
from k6_sweep.report import Report
from k6_sweep.settings.parse import parse, settings_of
from k6_sweep.settings.read import Parser
from k6_sweep.status import Status
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


@pytest.mark.parametrize("command", [each for each in COMMANDS if each != "tests"])  # it reads no key of a test
def test_the_namespace_is_checked_first(command: str, tmp_path: Path) -> None:
    """If both guards would refuse, every command names the namespace, then the pattern: the order of docs/safety.md."""
    own = {"snapshot": ["--out", str(tmp_path / "keys")]}.get(command, [])
    token = {"SWEEP_ADMIN_TOKEN": "t" * 32} if command == "serve" else {}
    argv = ["--redis-url", "redis://redis.invalid", "--pattern", "t*", "--allowed-namespace", "load-*", *own]
    settings, problems = parse(settings_of(command), command, Parser(allow_abbrev=False), argv, token)
    assert not problems

    def errors_in(namespace: str) -> tuple[str, ...]:
        unread = Log(logging.getLogger("unread"))
        try:
            with Events() as events:
                context = ContextOf(settings, unread, lambda _: None, OwnPod(namespace=namespace), lambda: events)
                report: Report = getattr(import_module(f"k6_sweep.commands.{command}"), command)(context)
        except RefusedError as error:
            report = failure(error)
        assert report.status is Status.REFUSED
        return report.problems

    (problem,) = errors_in("production")
    assert "'production'" in problem
    (problem,) = errors_in("load-test")
    assert "'t*'" in problem
