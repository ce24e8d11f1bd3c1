"""Measures if the time of the token compare depends on the place of an error (early, late) or on the length."""

import statistics
import time

from k6_sweep.api.tokens import matching
from k6_sweep.settings.tokens import one_token

EXPECTED = b"7f3c0e5a9b1d4c6f" * 4
GIVEN = {
    "wrong in its first byte": b"0" + EXPECTED[1:],
    "wrong in its last byte": EXPECTED[:-1] + b"0",
    "a byte too short": EXPECTED[:-1],
    "right": EXPECTED,
}
TOKENS, _ = one_token(EXPECTED, "expected")
ROUNDS, CALLS = 200, 500


def _nanoseconds(given: bytes) -> float:
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        matching(given, TOKENS)
    return (time.perf_counter_ns() - began) / CALLS


def main() -> None:
    """Measure all tokens in turn, many times, and print medians and ratios."""
    times: dict[str, list[float]] = {name: [] for name in GIVEN}
    for _ in range(ROUNDS):
        for name, given in GIVEN.items():
            times[name].append(_nanoseconds(given))
    basis = statistics.median(times["wrong in its first byte"])
    for name, each in times.items():
        median = statistics.median(each)
        print(f"{name:24} {median:7.0f} ns   {median / basis:.3f} ×")


if __name__ == "__main__":
    main()
