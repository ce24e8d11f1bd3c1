"""Signals end a command in time, and its report names them; output without a reader changes nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from k6_sweep.cluster.link import pack
from k6_sweep.demo.servers import Node, free_port
from tests.reports import report_in
from tests.support import running_redis, until

KEYS = 1000
SLOWLY = ("--max-rate", "20")
"""With this, a sweep of all keys takes 50 seconds: longer than any test waits before it sends the signal."""

pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Node]:
    """A Redis with keys of the test, which a test may freeze."""
    with running_redis(tmp_path) as node:
        with closing(node.link()) as link:
            link.pipeline([pack((b"SET", b"test:%d" % number, b"x")) for number in range(KEYS)])
        yield node


@pytest.fixture
def message(tmp_path: Path) -> Path:
    return tmp_path / "message"


def command(name: str, redis: Node | int, *options: str | Path) -> list[str | Path]:
    port = redis.port if isinstance(redis, Node) else redis
    url = f"redis://127.0.0.1:{port}"
    return [sys.executable, "-m", "k6_sweep", name, "--redis-url", url, "--pattern", "test:*", *options]


@contextmanager
def running(words: list[str | Path], **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command; kill it at the end, if the test failed before."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    with subprocess.Popen(words, env=clean, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def left(redis: Node) -> int:
    return int(redis.ask("DBSIZE"))


def sweeping(redis: Node) -> None:
    """Wait until the sweep has begun."""
    until(lambda: left(redis) < KEYS)


def assert_true_count(report: dict[str, Any], redis: Node) -> None:
    """The report counts what is gone; on a busy machine an answer may come too late, and then it says so."""
    gone = KEYS - left(redis)
    assert report["deleted"] == gone or (report["deleted"] < gone and not report["exact"])


def handles_signals(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has installed its handlers, that of SIGTERM last."""
    caught = next(
        line.split()[1] for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "SigCgt" in line
    )
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@contextmanager
def frozen(redis: Node) -> Iterator[None]:
    """Stop a Redis without closing its connections."""
    redis.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        redis.process.send_signal(signal.SIGCONT)


def filled_pipe() -> tuple[int, int]:
    """Return both ends of a pipe that takes no more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)
    return reader, writer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_stops_a_sweep(redis: Node, message: Path, number: signal.Signals) -> None:
    """After a signal `run` deletes no more, and report and message name it and count exactly what is gone."""
    with running(command("run", redis, *SLOWLY, "--termination-log", message)) as process:
        sweeping(redis)
        process.send_signal(number)
        output, _ = process.communicate()
    assert left(redis) > 0
    report = report_in(output)
    assert report == report_in(message.read_bytes())
    assert (process.returncode, report["status"]) == (3, "incomplete")
    assert_true_count(report, redis)
    assert report["errors"][0] == f"stopped by {number.name}; keys may remain; run k6-sweep again"


def test_the_deadline_is_not_called_a_signal(redis: Node) -> None:
    """A sweep that --timeout ends names --timeout with its value, and no signal."""
    with running(command("run", redis, *SLOWLY, "--timeout", "5")) as process:
        output, _ = process.communicate()
    report = report_in(output)
    assert report["errors"][0].startswith("stopped by --timeout (5 s); keys may remain")
    assert "SIG" not in output.decode()
    assert_true_count(report, redis)


def test_nohup_outlives_its_terminal(redis: Node) -> None:
    """A SIGHUP that is ignored at the start, as by nohup, does not stop the sweep."""
    with running(["nohup", *command("run", redis, "--max-rate", "500")]) as process:
        sweeping(redis)
        process.send_signal(signal.SIGHUP)
        output, _ = process.communicate()
    assert (process.returncode, report_in(output)["status"], left(redis)) == (0, "complete", 0)


@pytest.mark.parametrize("name", ["run", "snapshot"])
def test_a_signal_ends_the_wait_for_redis(name: str, tmp_path: Path) -> None:
    """While Redis is unreachable, a signal ends the command: nothing was done, and the report names the signal."""
    own: list[str | Path] = ["--out", tmp_path / "snapshot"] if name == "snapshot" else []
    with running(command(name, free_port(), *own, "--log-format", "json")) as process:
        assert process.stderr is not None
        while b"Redis is unreachable, retrying" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
    report = report_in(output)
    assert (process.returncode, report["status"], report["deleted"]) == (5, "failed", 0)
    assert "cannot reach" in report["errors"][0]
    assert "stopped by SIGTERM" in report["errors"][1]
    assert not (tmp_path / "snapshot").exists()


def test_a_signal_ends_a_sweep_of_a_redis_that_hangs(redis: Node, message: Path) -> None:
    """A sweep whose Redis no longer answers ends at a signal while Redis still hangs, and counts no key too many."""
    with running(command("run", redis, *SLOWLY, "--termination-log", message)) as process:
        sweeping(redis)
        with frozen(redis):
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate()
    report = report_in(output)
    assert process.returncode == 3
    assert "stopped by SIGTERM" in " ".join(report["errors"])
    assert_true_count(report, redis)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_beginning(redis: Node, number: signal.Signals, code: int) -> None:
    """A signal before the command handles it itself ends it with one line, without a traceback."""
    with frozen(redis), running(command("check", redis)) as process:
        until(lambda: handles_signals(process))
        process.send_signal(number)
        output, log = process.communicate()
    assert (process.returncode, output) == (code, b"")
    assert log.decode() == f"k6-sweep: stopped by {number.name} before it began; nothing was deleted\n"


READERS = [
    *("| head -c 1", "| true", "2>&1 | true", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"),
    *(">/dev/full", "2>/dev/full", ">/dev/full 2>&1"),
]


@pytest.mark.parametrize("readers", READERS)
@pytest.mark.parametrize(("options", "code"), [((), 0), (("--max-keys", "1"), 4)], ids=["complete", "refused"])
def test_output_without_a_reader(
    redis: Node, message: Path, tmp_path: Path, readers: str, options: tuple[str, ...], code: int
) -> None:
    """Whatever becomes of its output, a command works, writes its message, and ends with its own exit code."""
    words = command("run", redis, *options, "--termination-log", message)
    script = f'"$@" {readers}; echo "${{PIPESTATUS[0]}}" > code'
    done = subprocess.run(["bash", "-c", script, "bash", *words], cwd=tmp_path, capture_output=True, check=False)
    assert (tmp_path / "code").read_text() == f"{code}\n"
    told = report_in(message.read_bytes())
    assert (told["status"], told["deleted"]) == (("refused", 0) if code else ("complete", KEYS))
    assert left(redis) == KEYS - told["deleted"]
    printed = (done.stdout + done.stderr).decode()
    assert all(line.startswith("{") for line in printed.splitlines()), printed


def test_closed_streams_are_not_taken_for_connections(redis: Node, message: Path) -> None:
    """If all three streams are closed at the start, no socket and no file gets their numbers."""
    words = command("run", redis, *SLOWLY, "--termination-log", message)
    with running(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *words]) as process:
        sweeping(redis)
        opened = [Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in range(3)]
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert opened == [Path("/dev/null")] * 3
    assert_true_count(report_in(message.read_bytes()), redis)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_signal_ends_a_command_whose_output_is_stuck(redis: Node, message: Path, stream: str) -> None:
    """A full pipe that nobody reads stops neither the sweep nor, after a signal, the end; the message is written."""
    reader, writer = filled_pipe()
    words = command("run", redis, *SLOWLY, "--log-level", "debug", "--termination-log", message)
    with running(words, **{stream: writer}) as process:
        os.close(writer)
        sweeping(redis)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 3
    told = report_in(message.read_bytes())
    assert told["errors"][0].startswith("stopped by SIGTERM")
    assert left(redis) > 0
    assert_true_count(told, redis)
    os.close(reader)


def test_a_stuck_output_is_given_up_at_the_deadline(redis: Node, message: Path) -> None:
    """A report that nobody takes is given up at --timeout; exit code and message are those of the sweep."""
    reader, writer = filled_pipe()
    with running(command("run", redis, "--timeout", "10", "--termination-log", message), stdout=writer) as process:
        os.close(writer)
        assert process.wait() == 0
    assert report_in(message.read_bytes())["deleted"] == KEYS
    os.close(reader)


def test_a_slow_reader_gets_the_report(redis: Node, message: Path) -> None:
    """A reader who reads before the deadline gets the whole report."""
    reader, writer = filled_pipe()
    with running(command("run", redis, "--timeout", "300", "--termination-log", message), stdout=writer) as process:
        os.close(writer)
        until(lambda: message.exists() and report_in(message.read_bytes())["status"] == "complete")
        assert process.poll() is None
        with os.fdopen(reader, "rb") as pipe:
            report = report_in(pipe.read())
        assert process.wait() == 0
    assert report == report_in(message.read_bytes())
