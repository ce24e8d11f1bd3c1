"""Sends one write of deletes, and learns from it: how long it took, and whether it was answered."""

import time
from collections.abc import Sequence
from typing import Any

from k6_sweep.cluster.link import Link
from k6_sweep.cluster.links import WriteSize
from k6_sweep.errors import UnreachableError
from k6_sweep.sweep.orders import Tally


def send(link: Link, commands: Sequence[bytes], size: WriteSize, tally: Tally, deletes: bool = True) -> list[Any]:
    """Return a reply for each packed command, an error reply as the exception itself.

    Raises:
        UnreachableError: The connection broke; if there were `deletes`, the tally says that they may have been done.
    """
    began = time.monotonic()
    try:
        replies = link.pipeline(commands)
    except UnreachableError as error:
        if deletes:
            tally.unsure.append(f"a delete was not answered: {error}")
        raise
    size.learn(time.monotonic() - began)
    return replies
