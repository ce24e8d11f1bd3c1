"""The choice of the detector, and the message if none can work."""

import pytest

from k6_sweep.errors import SettingsError
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.watch.choose_detector import choose
from tests.support import settings_for

IN_POD = OwnPod(inside=True, name="pod", namespace="test")


def chosen(*options: str, pod: OwnPod = IN_POD, alone: bool = False, why_not: str | None = None) -> str:
    settings = settings_for("redis://h", *options, command="watch")
    return choose(settings, pod, lambda: why_not, lambda: alone)


@pytest.mark.parametrize("detector", ["process", "kubernetes"])
def test_what_was_asked_for_is_taken(detector: str) -> None:
    """A named detector is used in any environment."""
    assert chosen("--detector", detector, alone=True, why_not="no") == detector


def test_auto() -> None:
    """`auto` is `process` outside a pod and with shared processes, and `kubernetes` for a target or without them."""
    assert chosen(pod=OwnPod(), alone=True) == "process"
    assert chosen() == "process"
    assert chosen("--target", "job/x") == "kubernetes"
    assert chosen(alone=True) == "kubernetes"


def test_none_can_work() -> None:
    """If no detector can work, the message lists each solution, with the lines to paste."""
    with pytest.raises(SettingsError, match="shareProcessNamespace: true") as refused:
        chosen(alone=True, why_not="403")
    assert 'resources: ["pods"], verbs: [list, watch]' in str(refused.value)
    assert "--detector signal" not in str(refused.value)
    with pytest.raises(SettingsError, match="--detector signal"):
        chosen("--native", alone=True, why_not="403")
