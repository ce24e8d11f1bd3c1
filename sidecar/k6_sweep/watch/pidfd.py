"""Holds a process by a descriptor, which reports its end immediately and is safe when its process id is reused."""

import errno
import os
import select
import struct
from fcntl import ioctl
from typing import Final, Self

import psutil

_PIDFD_GET_INFO: Final = 0xC0_40_FF_0B
"""_IOWR(0xFF, 11, 64 bytes); see linux/pidfd.h."""
_INFO_EXIT: Final = 1 << 3
_INFO_SIZE: Final = 64
"""Size of struct pidfd_info in its first version, which ends with the exit code; newer kernels still accept it."""
_REAP_PATIENCE_MS: Final = 1000
"""The kernel has the exit code only after the parent has reaped the process; some parents never do."""


class Gone(Exception):  # noqa: N818  # an ordinary outcome
    """The process has already ended."""


class PidfdUnsupportedError(Exception):
    """The kernel does not support or does not allow pidfd."""


class ProcessHandle:
    """One process, which need not be a child of k6-sweep."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    @classmethod
    def open(cls, process: psutil.Process) -> Self:
        """Open a descriptor of the process that psutil found.

        Raises:
            Gone: The process has ended, or another process has its process id now.
            PidfdUnsupportedError: The kernel does not support or does not allow it.
        """
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            raise Gone from None
        except OSError as error:
            # ENOSYS: Linux before 5.3, or gVisor. EPERM: a seccomp profile that does not know the call.
            if error.errno in {errno.ENOSYS, errno.EPERM}:
                raise PidfdUnsupportedError from error
            # The process was reaped during the call: its pid still exists, but without a process (kernel/fork.c).
            if error.errno == errno.EINVAL:
                raise Gone from None
            raise
        if not process.is_running():  # psutil compares creation times, on a clock that cannot be set
            os.close(descriptor)
            raise Gone
        return cls(process.pid, descriptor)

    def fileno(self) -> int:
        """Return the descriptor: readable once the whole process, with all threads, has ended."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def exit_code(self) -> int | None:
        """Return an ended process's exit code as a shell does, 128 + N for signal N; None if the kernel has none.

        Linux 6.15 and newer keep it for every holder of a pidfd, after the parent has reaped the process. The parent
        usually does that immediately after the end, so k6-sweep waits for it, but only for a short time.

        Source: https://docs.kernel.org/filesystems/proc.html and linux/pidfd.h (PIDFD_GET_INFO, PIDFD_INFO_EXIT).
        """
        poller = select.poll()
        # POLLIN comes at the process's end, POLLHUP after it was reaped; poll() reports POLLHUP without a flag.
        poller.register(self._descriptor, 0)
        poller.poll(_REAP_PATIENCE_MS)
        request = bytearray(_INFO_SIZE)
        struct.pack_into("=Q", request, 0, _INFO_EXIT)
        try:
            ioctl(self._descriptor, _PIDFD_GET_INFO, request)
        except OSError:
            return None
        (mask,) = struct.unpack_from("=Q", request, 0)
        if not mask & _INFO_EXIT:
            return None
        (status,) = struct.unpack_from("=i", request, _INFO_SIZE - 4)
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def kernel_tells_exit_codes() -> bool:
    """Test with a child process whether this kernel returns the exit code of an ended process."""
    # A version number does not show what a distribution has backported, or what a seccomp profile forbids.
    expected = 7
    child = os.fork()
    if not child:
        os._exit(expected)
    try:
        # Before waitpid(), which frees the pid.
        descriptor = os.pidfd_open(child)
    except OSError:
        os.waitpid(child, 0)
        return False
    handle = ProcessHandle(child, descriptor)
    try:
        os.waitpid(child, 0)
        return handle.exit_code() == expected
    finally:
        handle.close()
