"""Starts the process: prepares its standard streams, and answers signals that come before the command is ready."""

# Until the handlers below are there, SIGINT ends in a traceback. So this module imports only what Python has already
# loaded, and not `signal`, which loads enum and collections. The handlers do not wait for `start` either, because the
# script that pip makes does some work before it.
import _signal  # type: ignore[import-not-found]  # CPython and PyPy have it
import os

_SIGNALLED = 128
"""Added to a signal's number, it is the exit code that a shell gives to a process which the signal has ended."""
_NAMES = {_signal.SIGINT: "SIGINT", _signal.SIGTERM: "SIGTERM"}


class _Beginning:
    """The time before a command handles the signals itself: Python takes 0.2 s to import it."""

    def __init__(self) -> None:
        self._over = False

    def end(self) -> None:
        self._over = True

    def stop(self, number: int, _frame: object) -> None:
        if self._over:  # the process is about to exit with its own code
            return
        import select

        text = f"k6-sweep: stopped by {_NAMES[number]} before it began; nothing was deleted\n"
        try:
            if select.select([], [2], [], 0.1)[1]:
                os.write(2, text.encode())
        finally:
            # Not an exception: it could come up in any line of any import, and be swallowed there.
            os._exit(_SIGNALLED + number)


_beginning = _Beginning()
for _number in _NAMES:
    _signal.signal(_number, _beginning.stop)


def start() -> None:
    """Run the command that the arguments name, and exit."""
    from k6_sweep.files.output import use_safe_streams

    use_safe_streams()
    from k6_sweep.cli import main

    code = main(on_begin=_beginning.end)
    # Not sys.exit(), which waits for threads that hang, and flushes streams without a reader.
    os._exit(code)


if __name__ == "__main__":
    start()
