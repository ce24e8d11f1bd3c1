"""Why the endpoint does not begin a sweep."""

from k6_sweep.cluster.lock import Holder


class BusyError(Exception):
    """A sweep is running, here or on another replica."""

    def __init__(self, running: Holder) -> None:
        super().__init__(f"{running} is running; retry when it has ended")
        self.running = running


class InUseError(Exception):
    """A test is running whose keys the sweep would delete."""

    def __init__(self, test: str, will_sweep: bool) -> None:
        """Explain; `will_sweep` is whether a running test's watcher will delete the keys of the request."""
        advice = "its watcher will delete these keys when it has ended" if will_sweep else "retry when it has ended"
        super().__init__(f"the test of {test} is running and uses these keys; {advice}")
        self.will_sweep = will_sweep


class StoppingError(Exception):
    """The server is shutting down and starts no more sweeps."""
