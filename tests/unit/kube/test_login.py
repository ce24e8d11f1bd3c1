"""The login by a kubeconfig: contexts, exec plugins, certificates; and what a pod's login leaves aside."""

import base64
import json
import os
import ssl
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from k6_sweep.kube.api import ApiError, ApiServer
from k6_sweep.kube.login import ByKubeconfig, LoginError, log_in
from k6_sweep.kube.roles import PODS
from tests.certificates import Authority
from tests.unit.kube.scripted import EXPIRED, LIST, Scripted

Kubeconfig = Callable[..., ByKubeconfig]


@pytest.fixture
def kubeconfig(scripted: Scripted, tmp_path: Path) -> Kubeconfig:
    """Writes a kubeconfig with the context `staging` of the scripted server; returns its login."""

    def write(user: dict[str, Any], context: str | None = "staging", **cluster: Any) -> ByKubeconfig:
        authority = base64.b64encode(scripted.authority.file.read_bytes()).decode()
        told = {"server": scripted.url, **({} if cluster else {"certificate-authority-data": authority}), **cluster}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": told}],
            "users": [{"name": "jane", "user": user}],
            "contexts": [
                {"name": "staging", "context": {"cluster": "here", "user": "jane", "namespace": "load-test"}},
                {"name": "bare", "context": {"cluster": "here", "user": "jane"}},
            ],
        }
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(content))
        return ByKubeconfig(str(path), context)

    return write


def plugin(tmp_path: Path, script: str) -> dict[str, Any]:
    """Return a user whose exec plugin is this Python script; it begins with the number of its runs in `run`."""
    path = tmp_path / "plugin.py"
    count = f"import pathlib, sys\nruns = pathlib.Path({str(tmp_path / 'runs')!r})\n"
    count += "runs.open('a').write('.')\nrun = len(runs.read_text())\n"
    path.write_text(count + script)
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": [str(path)]}}


def credential(**status: str) -> str:
    """Return a line of a plugin that prints a credential; in its values, {run} is the number of the run."""
    answer = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})
    return f"print({answer!r}.replace('{{run}}', str(run)))\n"


def ask(login: ByKubeconfig) -> None:
    """Send one request."""
    ApiServer(login, "load-test").list(PODS, {})


def test_a_context_names_server_authority_login_and_namespace(scripted: Scripted, kubeconfig: Kubeconfig) -> None:
    """A context's token goes to its server, whose certificate its authority must have signed."""
    assert kubeconfig({}, "bare").namespace() is None
    login = kubeconfig({"token": "of-jane"})
    assert login.namespace() == "load-test"
    scripted.answers = [LIST]
    ask(login)
    assert scripted.asked == ["/api/v1/namespaces/load-test/pods?limit=100"]
    assert scripted.logins == ["Bearer of-jane"]


def test_a_context_that_is_missing(kubeconfig: Kubeconfig) -> None:
    """The message lists the contexts that there are; nothing is guessed if none is current."""
    for context, lacks in (("stagin", "has no context 'stagin'"), (None, "has no current context")):
        login = kubeconfig({}, context)
        for act in (login.namespace, lambda login=login: log_in(login)):
            with pytest.raises(LoginError, match=f"{lacks}; set --context to one of: bare, staging"):
                act()


def test_a_kubeconfig_that_is_missing(tmp_path: Path) -> None:
    """The message names the place where there is no kubeconfig."""
    with pytest.raises(LoginError, match=r"there is no kubeconfig at .*/nothing; set --kubeconfig or KUBECONFIG"):
        ByKubeconfig(str(tmp_path / "nothing")).namespace()


MALFORMED = {
    "no YAML": "{",
    "empty": "",
    "a list": "[]",
    "no clusters": "{contexts: [{name: staging, context: {cluster: x}}]}",
    "a context without a name": "{contexts: [{}]}",
    "a context without content": "{clusters: [], contexts: [{name: staging}]}",
    "contexts that are a text": "{contexts: staging}",
    "a file that is not there": (
        "{clusters: [{name: x, cluster: {server: 'https://x', certificate-authority: gone.crt}}],"
        " contexts: [{name: staging, context: {cluster: x}}]}"
    ),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_kubeconfig_that_is_malformed(text: str, tmp_path: Path) -> None:
    """Whatever is wrong in a kubeconfig, the error is one of the login."""
    (tmp_path / "config").write_text(text)
    with pytest.raises(LoginError):
        log_in(ByKubeconfig(str(tmp_path / "config"), "staging"))


def test_a_plugin_gives_the_token_and_is_asked_again(
    scripted: Scripted, kubeconfig: Kubeconfig, tmp_path: Path
) -> None:
    """The exec plugin runs once; after a 401 it runs again, and the request is repeated with its new token."""
    api = ApiServer(kubeconfig(plugin(tmp_path, credential(token="number-{run}"))), "load-test")
    scripted.answers = [LIST, LIST, EXPIRED, LIST]
    for _ in range(3):
        api.list(PODS, {})
    assert scripted.logins == ["Bearer number-1"] * 3 + ["Bearer number-2"]


def test_a_token_that_is_about_to_expire_is_renewed(scripted: Scripted, kubeconfig: Kubeconfig, tmp_path: Path) -> None:
    """A token with a time of expiry is renewed before that time, without a 401."""
    user = plugin(tmp_path, credential(token="number-{run}", expirationTimestamp="2026-01-01T00:00:00Z"))
    scripted.answers = [LIST]
    ask(kubeconfig(user))
    assert scripted.logins == ["Bearer number-2"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("sys.exit('run: example login')", "process returned 1. run: example login"),
        ("print('no JSON')", "failed to decode process output"),
        (credential(), "missing token or clientCertificateData"),
    ],
    ids=["fails", "garbage", "nothing"],
)
def test_a_plugin_that_fails(
    script: str,
    reason: str,
    scripted: Scripted,
    kubeconfig: Kubeconfig,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """If the plugin gives no login, nothing is asked without one, and the reason is in the message only."""
    login = kubeconfig(plugin(tmp_path, script))
    with pytest.raises(LoginError, match=f"the login of the user of context 'staging' failed: .*{reason}"):
        log_in(login)
    with pytest.raises(ApiError, match=reason):
        ask(login)
    assert scripted.asked == []
    assert capfd.readouterr() == ("", "")


def test_a_plugin_that_is_not_installed(kubeconfig: Kubeconfig) -> None:
    """The message names a plugin that is not there."""
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws-that-is-not-there"}}
    with pytest.raises(LoginError, match="No such file or directory: 'aws-that-is-not-there'"):
        log_in(kubeconfig(user))


def test_a_renewal_that_fails_is_silent_while_the_token_is_valid(
    scripted: Scripted, kubeconfig: Kubeconfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A plugin that fails to renew a token changes nothing before a 401; then its reason is in the message."""
    script = "run > 1 and sys.exit('log in again')\n"
    script += credential(token="number-{run}", expirationTimestamp="2026-01-01T00:00:00Z")
    api = ApiServer(kubeconfig(plugin(tmp_path, script)), "load-test")
    scripted.answers = [LIST, EXPIRED]
    api.list(PODS, {})
    with pytest.raises(ApiError, match="log in again"):
        api.list(PODS, {})
    assert scripted.logins == ["Bearer number-1"] * 2
    assert capfd.readouterr() == ("", "")


def test_a_client_certificate(
    scripted: Scripted, kubeconfig: Kubeconfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client certificate in the kubeconfig is the login, and no copy of its key stays on the disk."""
    scripted.tls.verify_mode = ssl.CERT_REQUIRED
    scripted.tls.load_verify_locations(scripted.authority.file)
    scripted.answers = [LIST]
    with pytest.raises(ApiError):
        ask(kubeconfig({"token": "of-jane"}))
    assert scripted.asked == []
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    files = {
        "client-certificate-data": scripted.authority.issue("jane"),
        "client-key-data": scripted.authority.key_file,
    }
    ask(kubeconfig({name: base64.b64encode(file.read_bytes()).decode() for name, file in files.items()}))
    assert len(scripted.asked) == 1
    assert list(folder.iterdir()) == []


def test_files_are_looked_for_beside_the_kubeconfig(scripted: Scripted, kubeconfig: Kubeconfig, tmp_path: Path) -> None:
    """A relative path in a kubeconfig begins at its folder."""
    (tmp_path / "cluster.crt").write_bytes(scripted.authority.file.read_bytes())
    scripted.answers = [LIST]
    ask(kubeconfig({}, **{"certificate-authority": "cluster.crt"}))
    assert scripted.logins == [None]


def test_a_server_that_the_authority_did_not_sign(scripted: Scripted, kubeconfig: Kubeconfig, tmp_path: Path) -> None:
    """Another authority's certificate is not trusted, unless the kubeconfig gives up the check."""
    other = base64.b64encode(Authority(tmp_path).file.read_bytes()).decode()
    with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(kubeconfig({"token": "of-jane"}, **{"certificate-authority-data": other}))
    assert scripted.asked == []
    scripted.answers = [LIST]
    ask(kubeconfig({"token": "of-jane"}, **{"insecure-skip-tls-verify": True}))
    assert scripted.logins == ["Bearer of-jane"]


def test_the_name_in_the_certificate_counts(scripted: Scripted, kubeconfig: Kubeconfig) -> None:
    """A certificate for another name than the server's is refused, and tls-server-name names the expected one."""
    authority = {"certificate-authority": str(scripted.authority.file)}
    elsewhere = {**authority, "server": scripted.url.replace("127.0.0.1", "localhost")}
    with pytest.raises(ApiError, match="Hostname mismatch"):
        ask(kubeconfig({}, **elsewhere))
    scripted.answers = [LIST]
    ask(kubeconfig({}, **elsewhere, **{"tls-server-name": "127.0.0.1"}))


def test_without_an_authority_the_machines_count(
    scripted: Scripted, kubeconfig: Kubeconfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kubeconfig without an authority means those that the machine trusts."""
    with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(kubeconfig({}, server=scripted.url))
    monkeypatch.setenv("SSL_CERT_FILE", str(scripted.authority.file))
    scripted.answers = [LIST]
    ask(kubeconfig({}, server=scripted.url))


def test_a_proxy_is_for_the_way_out_of_the_cluster(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod's HTTPS_PROXY does not apply to the API server of its own cluster."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    scripted.answers = [LIST]
    scripted.api().list(PODS, {})
    assert scripted.logins == ["bearer secret"]


def test_a_plugin_that_fails_on_a_terminal(
    kubeconfig: Kubeconfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the plugin's words go there, and the message refers to them."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    failing = kubeconfig(plugin(tmp_path, "sys.exit('run: example login')"))
    with Path(os.devnull).open() as empty:
        monkeypatch.setattr(sys, "stdin", empty)
        with pytest.raises(LoginError, match="its plugin wrote why to the terminal"):
            log_in(failing)


@pytest.mark.filterwarnings("ignore:SOCKS support")
@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "bastion:3128"])
def test_a_proxy_that_the_package_does_not_know(kubeconfig: Kubeconfig, proxy: str) -> None:
    """A proxy of another kind than HTTP is a reason, not a defect."""
    with pytest.raises(LoginError, match=r"the login of the user of context 'staging' failed"):
        log_in(kubeconfig({"token": "t"}, **{"insecure-skip-tls-verify": True, "proxy-url": proxy}))
