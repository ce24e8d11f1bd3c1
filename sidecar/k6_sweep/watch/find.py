"""Finds k6 among all processes, and the first process of k6's container."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import psutil

from k6_sweep.errors import RefusedError, SettingsError

_SUBCOMMANDS: Final = frozenset(
    {"archive", "cloud", "completion", "deps", "help", "inspect", "login", "new"}
    | {"pause", "resume", "run", "scale", "stats", "status", "version", "x"}
)
_CAP_SYS_PTRACE: Final = 1 << 19
"""The bit in CapEff of the capability that sees all processes despite hidepid: linux/capability.h."""
_TESTING: Final = frozenset({"run", "cloud"})
_DETACHING: Final = "--exit-on-running"
_INFRA: Final = frozenset({"pause", "pod", "catatonit"})
"""Names of a pod's first process, if its containers share one process namespace: that of the kubelet's usual image, of
OpenShift, and of Podman."""

SHARE_THE_NAMESPACE: Final = "set `shareProcessNamespace: true` in the pod's spec"


@dataclass(frozen=True)
class Found:
    """A k6 process, and the first process of its container if k6-sweep must wait for that process as well."""

    k6: psutil.Process
    leader: psutil.Process | None
    detached: bool = False
    """Whether k6 only starts a test elsewhere, and ends before the test."""


def is_k6(name: str, cmdline: Iterable[str], k6_process: str) -> bool:
    """Whether a process is a k6 that runs a test: `k6 run` or `k6 cloud`, not a shell with that text as argument."""
    # Not the executable: /proc/PID/exe of another user is not readable, and psutil then guesses it (proc(5)).
    words = list(cmdline)
    called = PurePath(words[0]).name if words else ""
    if k6_process not in {name, called}:
        return False
    # Not the first word: options and their values may precede the subcommand, as in `k6 --config x.json run`.
    # All subcommands are known, so that `k6 archive run` is not a test.
    return next((word for word in words[1:] if word in _SUBCOMMANDS), None) in _TESTING


def is_detached(cmdline: Iterable[str]) -> bool:
    """Whether it is `k6 cloud --exit-on-running`, which ends when the test in the cloud has started."""
    return any(word == _DETACHING or word in {f"{_DETACHING}=true", f"{_DETACHING}=1"} for word in cmdline)


def lineage(process: psutil.Process) -> list[psutil.Process]:
    """Return the process and its visible ancestors, the topmost last."""
    line = [process]
    while True:
        try:
            parent = line[-1].parent()
        except psutil.NoSuchProcess:
            return line
        if parent is None or parent in line:
            return line
        line.append(parent)


def own_lineage() -> frozenset[int]:
    """Return the process ids of k6-sweep and its ancestors."""
    return frozenset(process.pid for process in lineage(psutil.Process()))


def find_k6(k6_process: str, own_pids: frozenset[int], k6_user: int | None = None) -> Iterator[Found]:
    """Yield every k6 that runs a test, with its container's first process; with `k6_user`, only those of this uid.

    Raises:
        RefusedError: A k6 is, or descends from, the first process of k6's own process namespace, and k6-sweep has
            joined that namespace: the kernel would end k6-sweep together with that process.
    """
    for process in psutil.process_iter():
        if process.pid in own_pids:
            continue
        try:
            cmdline = process.cmdline()
            if not is_k6(process.name(), cmdline, k6_process) or k6_user not in {None, process.uids().real}:
                continue
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        line = lineage(process)
        if os.getpid() not in {above.pid for above in line}:  # a fork of k6-sweep still has its command line
            yield Found(process, _leader(line[-1], own_pids), is_detached(cmdline))


def _leader(top: psutil.Process, own_pids: frozenset[int]) -> psutil.Process | None:
    """Return k6's topmost ancestor if it is the first process of a container: the container ends with it."""
    if top.pid in own_pids:
        return None  # the same session, shell or machine: k6's ancestors there do not end with k6
    if top.pid == 1:
        _refuse_to_be_a_guest(top)
        return None  # k6's parent is now the pod's first process, which runs longer than k6
    try:
        # The parent of a container's first process is outside of this namespace: pid_namespaces(7) shows it as 0.
        return top if top.ppid() == 0 else None
    except psutil.NoSuchProcess:
        return None


def _refuse_to_be_a_guest(first: psutil.Process) -> None:
    try:
        name = first.name()
    except psutil.NoSuchProcess:
        name = ""
    if name not in _INFRA:
        raise RefusedError(
            f"k6's container owns the process namespace (its pid 1 is {name}): when it ends, the kernel kills "
            f"k6-sweep before it can sweep. Do not join k6's namespace; {SHARE_THE_NAMESPACE}"
        )


def sees_only_own_container() -> bool:
    """Whether the first visible process is k6-sweep or its ancestor: then no other container is visible."""
    return 1 in own_lineage()


def check_namespace_of_processes(in_pod: bool) -> None:
    """Check that the k6 of this pod is visible here, and that the k6 of other pods is not.

    Raises:
        RefusedError: All processes of the machine are visible (hostPID), including the k6 of other pods.
        SettingsError: Only the processes of the own container or the own user are visible, so k6 never is.
    """
    # Outside a pod, all processes of the machine are visible, and k6 is among them.
    if not in_pod:
        return
    if option := _hiding_option():
        hidden = f"/proc is mounted with {option}, which hides other users' processes; mount it without"
        raise SettingsError([f"k6's process is not visible: {hidden}"])
    try:
        # The kernel's threads are visible only in the first process namespace, which hostPID shares.
        if psutil.Process(2).name() == "kthreadd":
            raise RefusedError(
                "this pod sees all processes of the node (hostPID), so the k6 of another pod looks like its own; "
                "remove `hostPID: true` and " + SHARE_THE_NAMESPACE
            )
    except psutil.NoSuchProcess:
        pass
    if sees_only_own_container():
        raise SettingsError(
            [f"k6's process is not visible: the containers do not share a process namespace; {SHARE_THE_NAMESPACE}"]
        )


def _hiding_option() -> str | None:
    """Return the mount option that hides other users' processes; None if they are visible.

    Source: https://docs.kernel.org/filesystems/proc.html (mount options).
    """
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    options = [mount[3] for mount in mounts if mount[1] == "/proc"][-1:]  # the last mount hides those before it
    settings = dict(option.partition("=")[::2] for option in ",".join(options).split(","))
    hidden = settings.get("hidepid", "off") not in {"off", "0"}
    exempt = "gid" in settings and int(settings["gid"]) in {os.getegid(), *os.getgroups()}
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    capabilities = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff"))
    if not hidden or exempt or capabilities & _CAP_SYS_PTRACE:
        return None
    return f"hidepid={settings['hidepid']}"
