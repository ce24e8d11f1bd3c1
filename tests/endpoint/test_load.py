"""Many requests at once, and thousands in a row."""

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from k6_sweep.demo.servers import Node
from tests.endpoint.served import ADMIN, TOKEN, Served, memory, served
from tests.support import keys_of


def test_a_hundred_at_once(slow_endpoint: Served, redis: Node) -> None:
    """Of a hundred requests at once one sweeps, and the others get 409 with its id while it runs."""
    together = threading.Barrier(100)

    def ask(_: int) -> tuple[int, str]:
        together.wait()
        answer = slow_endpoint.post()
        return answer.code, answer.body["id"]

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(ask, range(100)))
    assert sorted(code for code, _ in answers) == [200, *[409] * 99]
    assert len({running for _, running in answers}) == 1
    assert slow_endpoint.metric('k6_sweep_sweeps_total{status="complete"}') == 1
    requests = slow_endpoint.events("request")
    (swept,) = [number for number, line in enumerate(requests) if line["code"] == 200]
    assert swept == 99  # all others got their answer before its end
    assert keys_of([redis]) == {b"user:1"}


@pytest.mark.usefixtures("unmeasured")  # coverage keeps data of each thread
def test_memory_is_flat(url: str) -> None:
    """Ten thousand requests of every kind do not make the process larger."""
    with served(url) as endpoint:
        connection = http.client.HTTPConnection("127.0.0.1", endpoint.port)

        def ask(number: int) -> int:
            method, path, body, token = (
                ("GET", "/healthz", None, ""),
                ("GET", "/metrics", None, ""),
                ("GET", f"/nowhere/{number}", None, ""),
                ("GET", f"/sweeps/{number}", None, TOKEN),
                ("POST", ADMIN, "{}", f"wrong-{number}"),
                ("POST", ADMIN, json.dumps({f"field{number}": 1}), TOKEN),
                ("POST", ADMIN, json.dumps({"patterns": [f"user:{number}"]}), TOKEN),
                ("POST", ADMIN, json.dumps({"patterns": [f"test:{number}:*"]}), TOKEN),
            )[number % 8]
            connection.request(method, path, body, {"X-Admin-Token": token})
            response = connection.getresponse()
            response.read()
            return response.status

        codes = {ask(number) for number in range(4000)}
        before = memory(endpoint.process.pid)
        codes |= {ask(number) for number in range(4000, 14_000)}
        grown = memory(endpoint.process.pid) - before
        connection.close()
    assert codes - {429} == {200, 400, 403, 404}  # 429 if the machine is fast enough for so many wrong tokens
    assert grown < 4096, f"{grown} KiB more than {before}"
