"""Writes the container's termination message so that the file is complete at any moment."""

import os
from pathlib import Path


class TerminationMessage:
    """The file that the kubelet created for the message.

    It is mounted into the container, so it must not be replaced. A reader or a SIGKILL may come at any time, so it is
    not truncated: one write puts each text over the last one, padded with spaces to its length.

    Source: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0

    def write(self, text: bytes) -> None:
        """Replace the message.

        Raises:
            OSError: The file cannot be written.
        """
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._length = max(self._length, os.fstat(descriptor).st_size)
            os.pwrite(descriptor, text.ljust(self._length), 0)
        finally:
            os.close(descriptor)
        self._length = max(self._length, len(text))
