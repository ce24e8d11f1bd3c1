"""The service account that a pod has mounted, and the pod's facts in its token."""

import base64
import json
from pathlib import Path

import pytest

from k6_sweep.errors import RefusedError
from k6_sweep.kube.own_pod import Account, OwnPod


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"header.{body}.signature"


@pytest.fixture
def account(tmp_path: Path) -> Account:
    (tmp_path / "namespace").write_text("load-test\n")
    return Account("10.0.0.1", "443", tmp_path)


def test_a_bound_token_names_its_pod(account: Account) -> None:
    """A bound token has the pod's name and uid as claims."""
    claims = {"kubernetes.io": {"namespace": "load-test", "pod": {"name": "k6-x", "uid": "1-2"}}}
    (account.folder / "token").write_text(token(claims))
    assert account.pod() == ("k6-x", "1-2")
    pod = OwnPod.found({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, account.folder)
    assert (pod.name, pod.uid, pod.namespace, pod.account) == ("k6-x", "1-2", "load-test", account)


@pytest.mark.parametrize(
    "text", ["", "opaque", "a.b.c", "a.%%%.c", token({}), token([1]), token({"kubernetes.io": {}})]
)
def test_another_token_names_none(account: Account, text: str) -> None:
    """An old or odd token gives no name, and is no error."""
    (account.folder / "token").write_text(text)
    assert account.pod() == (None, None)


def test_outside_a_pod_there_is_none() -> None:
    """Without the kubelet's variables or the mounted files there is no account."""
    assert Account.mounted({}) is None
    assert Account.mounted({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) is None
    assert OwnPod.found({}, Path("/nowhere")).namespace is None
    assert Account("", "", Path("/nowhere")).pod() == (None, None)


def test_the_mounted_namespace_beats_the_variable(tmp_path: Path) -> None:
    """A POD_NAMESPACE that contradicts the mounted service account is refused; without an account it counts."""
    assert OwnPod.found({"POD_NAMESPACE": "load-test"}, tmp_path).namespace == "load-test"
    assert OwnPod.found({"POD_NAMESPACE": ""}, tmp_path).namespace is None
    for glob in ("load-*", "load-test,production", "load-test "):
        with pytest.raises(RefusedError, match="which is no namespace"):
            OwnPod.found({"POD_NAMESPACE": glob}, tmp_path)
    (tmp_path / "namespace").write_text("production\n")
    assert OwnPod.found({}, tmp_path).namespace == "production"
    assert OwnPod.found({"POD_NAMESPACE": "production"}, tmp_path).namespace == "production"
    with pytest.raises(RefusedError, match=r"POD_NAMESPACE is 'load-test', but .* of the namespace 'production'"):
        OwnPod.found({"POD_NAMESPACE": "load-test"}, tmp_path)
