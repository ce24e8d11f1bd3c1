"""The log has one line a second for each kind of trouble."""

import io
import json
import logging

from k6_sweep.api.server import log_libraries
from k6_sweep.api.throttle import Throttle
from k6_sweep.log import open_log


def test_one_a_second_of_each_kind() -> None:
    """The first line of a kind passes, and the next one after a second, with the number of those between."""
    now = 0.0
    throttle = Throttle(lambda: now)
    assert [throttle.passes("a"), throttle.passes("a"), throttle.passes("b"), throttle.passes("a")] == [
        0,
        None,
        0,
        None,
    ]
    now = 1.0
    assert [throttle.passes("a"), throttle.passes("b"), throttle.passes("a")] == [2, 0, None]


def test_what_libraries_complain_about_is_json() -> None:
    """Warnings of uvicorn and asyncio are lines of k6-sweep's log, however many there are and whatever they say."""
    stream = io.StringIO()
    open_log("json", "info", stream=stream)
    log_libraries()
    for number in range(100):
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).warning("trouble %s\n", number)
    assert [json.loads(line)["problem"] for line in stream.getvalue().splitlines()] == ["trouble 0\n"] * 2
