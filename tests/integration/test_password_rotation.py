"""A password that is rotated while a sweep runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from k6_sweep.errors import DeniedError
from k6_sweep.sweep.result import Progress
from tests.integration.test_least_privilege import LEAST, permit
from tests.support import keys_of, settings_for, sweep_now

KEYS = 6000


def rotate(cluster: LocalCluster) -> None:
    """Give the user another password, and close its connections, as some managed services do."""
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "sweeper", "resetpass", ">second")
        node.ask("CLIENT", "KILL", "USER", "sweeper")


def once(act: Callable[[], object]) -> Callable[[Progress], None]:
    """Return what to call with each progress; it acts at the first deleted key."""
    acted: list[Progress] = []

    def look(progress: Progress) -> None:
        if progress.deleted and not acted:
            acted.append(progress)
            act()

    return look


@pytest.fixture
def url(cluster: LocalCluster) -> str:
    write_keys(cluster, (b"test:%d" % number for number in range(KEYS)))
    return permit(cluster, LEAST).replace("sweeper:secret@", "sweeper@")


def test_the_file_is_read_again(cluster: LocalCluster, url: str, tmp_path: Path) -> None:
    """While the old password is still in the file, the sweep tries again; with the new one, it goes on."""
    file = tmp_path / "password"
    file.write_text("secret")
    refused: list[str] = []

    def look(progress: Progress) -> None:
        begin(progress)
        # The kubelet updates the file some time after the rotation.
        refused.extend(str(entry) for entry in cluster.nodes[0].ask("ACL", "LOG"))
        if any("auth" in entry for entry in refused):
            file.write_text("second")

    begin = once(lambda: rotate(cluster))
    for node in cluster.nodes:
        node.ask("ACL", "LOG", "RESET")
    settings = settings_for(url, "--max-rate", "5000", "--redis-password-file", str(file))
    report = sweep_now(settings, on_progress=look)
    assert (report.status, report.remaining) == ("complete", 0)
    assert any("auth" in entry for entry in refused)  # a login was refused, and the sweep went on
    assert keys_of(cluster.primaries) == set()


def test_a_password_that_never_arrives_ends_at_the_deadline(cluster: LocalCluster, url: str, tmp_path: Path) -> None:
    """If no login works any more until the time is over, the report is incomplete and has the server's reason."""
    file = tmp_path / "password"
    file.write_text("secret")
    settings = settings_for(url, "--max-rate", "5000", "--redis-password-file", str(file))
    report = sweep_now(settings, seconds=4.0, on_progress=once(lambda: rotate(cluster)))
    assert (report.status, report.exact) == ("incomplete", False)
    assert "any more: WRONGPASS" in " ".join(report.errors)


def test_a_first_login_that_is_refused_is_final(cluster: LocalCluster, url: str, tmp_path: Path) -> None:
    """A password that never worked is a mistake, and no retry helps."""
    file = tmp_path / "password"
    file.write_text("wrong")
    with pytest.raises(DeniedError, match=r"cannot log in to .*WRONGPASS"):
        sweep_now(settings_for(url, "--redis-password-file", str(file)))
    assert len(keys_of(cluster.primaries)) == KEYS
