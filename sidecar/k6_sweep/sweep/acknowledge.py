"""Waits until a replica has the deletes of its primary."""

from typing import Final

from redis import exceptions

from k6_sweep.cluster.link import Link
from k6_sweep.cluster.replies import number, text_of
from k6_sweep.sweep.orders import Orders, Tally

_REPLICA_ACK_MS: Final = 1000


def await_replica(link: Link, orders: Orders, tally: Tally) -> None:
    """Wait for a replica to acknowledge the deletes: without that, a failover now could bring the keys back.

    Source: https://redis.io/docs/latest/commands/wait/
    """
    patience = int(min(_REPLICA_ACK_MS, max(1, orders.remaining() * 1000)))
    try:
        if number(link.name, "WAIT", link.ask(b"WAIT", 1, patience)) < 1:
            tally.unsure.append(f"no replica of {link.name} has acknowledged the deletes")
    except exceptions.ResponseError as error:
        tally.unsure.append(f"{link.name} denies WAIT: a replica may lack the deletes: {text_of(error)}")
