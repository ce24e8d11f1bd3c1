"""A container's command and image show whether it runs k6, and by which name."""

from typing import Any

import pytest

from k6_sweep.inject.k6_command import k6_command

SHELL = ["sh", "-c"]


@pytest.mark.parametrize(
    ("container", "process"),
    [
        ({"command": ["k6", "run", "/a.js"]}, "k6"),
        ({"command": ["/usr/local/bin/xk6-kafka", "run", "/s/a.js"]}, "xk6-kafka"),
        ({"command": ["/bin/k6-custom"], "args": ["--config", "x.json", "cloud", "a.js"]}, "k6-custom"),
        ({"command": ["tini", "--", "timeout", "60", "k6", "run", "a.js"]}, "k6"),
        ({"command": ["qemu-x86_64-static", "/usr/bin/k6", "run", "a.js"]}, "qemu-x86_64-static"),
        ({"command": [*SHELL, "until nc -z shop 80; do sleep 1; done; exec k6 run /a.js"]}, "k6"),
        ({"command": [*SHELL, "/opt/xk6 run -q /a.js && curl x"]}, "xk6"),
        ({"command": SHELL, "args": ["qemu-aarch64 /bin/k6 run a.js"]}, "qemu-aarch64"),
        ({"command": [*SHELL, "K6_OUT=csv k6 -v run a.js | tee log"]}, "k6"),
        ({"script": "#!/bin/sh\nk6 run a.js"}, "k6"),
        ({"source": "k6 cloud a.js"}, "k6"),
        ({"command": ["./run-k6.sh", "run"]}, None),
        ({"command": [*SHELL, "node k6.js run"]}, None),
        ({"command": ["k6", "version"]}, None),
        ({"image": "grafana/k6", "args": ["run", "a.js"]}, None),
    ],
)
def test_the_process_by_its_command(container: dict[str, Any], process: str | None) -> None:
    """The name of k6's process comes from the command; an emulator hides it."""
    assert k6_command(container).process == process


@pytest.mark.parametrize(
    ("image", "args", "runs", "guessed"),
    [
        ("grafana/k6:1.1.0", [], True, False),
        ("registry:5000/x/k6@sha256:00", [], True, False),
        ("perf/xk6-kafka:1", ["run", "a.js"], True, True),
        ("perf/k6_tests", ["cloud", "a.js"], True, True),
        ("perf/xk6-kafka:1", [], False, False),
        ("ghcr.io/grafana/k6-operator:latest", ["--metrics"], False, False),
        ("k60s", ["run"], False, False),
    ],
)
def test_k6_by_its_image(image: str, args: list[str], runs: bool, guessed: bool) -> None:
    """An image named k6 runs k6; one with k6 in its name does if it gets a command of k6, and its binary is a guess."""
    found = k6_command({"image": image, "args": args})
    assert (found.runs_k6, found.guessed) == (runs, guessed)


def test_what_happens_around_k6() -> None:
    """A loop before k6, and the end of a mesh's proxy after it, are recognised."""
    waits = k6_command({"command": [*SHELL, "until curl shop; do sleep 2; done; k6 run a.js"]})
    ends = k6_command({"command": [*SHELL, "k6 run a.js; curl x:15020/quitquitquit; while :; do sleep 9; done"]})
    assert (waits.waits_first, waits.ends_proxy) == (True, False)
    assert (ends.waits_first, ends.ends_proxy) == (False, True)
