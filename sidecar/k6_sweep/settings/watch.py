"""The settings of the wait for k6."""

from dataclasses import dataclass

from k6_sweep.budget import ASSUMED_GRACE_PERIOD
from k6_sweep.settings.options import TakenBy, flag, option
from k6_sweep.settings.target import Target
from k6_sweep.settings.values import one_of, positive_seconds, seconds

_K6 = "Waiting for k6"


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """The settings of the wait. Durations are in seconds; `None` means that a feature is off."""

    detector: str = option(
        _K6,
        TakenBy.WAITING,
        "How to see k6's end: process (the pod's containers share their processes), kubernetes (the API), signal "
        "(trust the SIGTERM that a native sidecar gets), or auto: the first of process and kubernetes that can work.",
        parse=one_of("auto", "process", "kubernetes", "signal"),
        metavar="DETECTOR",
        default="auto",
    )
    target: Target | None = option(
        _K6,
        TakenBy.WAITING_IN_PLACE,
        "Whose end to wait for, by the API: pod/NAME, job/NAME, testrun/NAME (k6-operator) or selector:LABELS. For a "
        "watcher that runs beside the test, not in its pod.",
        parse=Target.parse,
        metavar="TARGET",
        shown_default="our own pod",
    )
    k6_container: str = option(
        _K6, TakenBy.WAITING, "The name of k6's container, for the API.", metavar="NAME", default="k6"
    )
    k6_process: str = option(
        _K6, TakenBy.WAITING, "The name of k6's executable, for the processes.", metavar="NAME", default="k6"
    )
    start_timeout: float = option(
        _K6,
        TakenBy.WAITING_IN_PLACE,
        "How long to wait for k6 to appear. It never gives up as a native sidecar.",
        parse=seconds,
        metavar="SECONDS",
        default=300.0,
    )
    max_wait: float | None = option(
        _K6,
        TakenBy.WAITING,
        "How long to wait for k6 to end; after that, sweep and say `incomplete`.",
        parse=positive_seconds,
        metavar="SECONDS",
        shown_default="as long as it takes",
    )
    when: str = option(
        _K6,
        TakenBy.WAITING,
        "Sweep only after this outcome of k6: always, success or failure.",
        parse=one_of("always", "success", "failure"),
        metavar="OUTCOME",
        default="always",
    )
    grace_period: float | None = option(
        _K6,
        TakenBy.UNTIL_SIGTERM,
        "The pod's terminationGracePeriodSeconds: how long SIGTERM leaves to wait for k6, and to end the sweep.",
        parse=positive_seconds,
        metavar="SECONDS",
        shown_default=f"{ASSUMED_GRACE_PERIOD:g}; in watch what the API tells",
    )
    native: bool = flag(
        _K6,
        TakenBy.WAITING_IN_PLACE,
        "Run as a native sidecar (an initContainer with restartPolicy Always): when done, wait for SIGTERM to exit.",
    )
