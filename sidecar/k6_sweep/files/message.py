"""Writes the container's termination message so that the file is complete at any moment."""

import os
from pathlib import Path

from k6_sweep.files.ours import check_content, is_report
from k6_sweep.files.regular import open_regular


class TerminationMessage:
    """The file that the kubelet created for the message.

    It is mounted into the container, so it must not be replaced. A reader or a SIGKILL may come at any time, so it is
    not truncated: one write puts each text over the last one, padded with spaces to its length.

    Source: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: bytes) -> None:
        """Replace the message.

        Raises:
            UnusableFileError: The file has a text that is not a report of k6-sweep, or is not a regular file.
            OSError: The file cannot be written.
        """
        descriptor = open_regular(self._path, os.O_RDWR | os.O_CREAT)
        try:
            # Each time: the user may have put a file of their own there, and a wait is long.
            check_content(descriptor, self._path, is_report)
            os.pwrite(descriptor, text.ljust(os.fstat(descriptor).st_size), 0)
        finally:
            os.close(descriptor)
