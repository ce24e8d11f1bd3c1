"""Logs in to an API server with the kubernetes package: as a pod's service account, or as a user of a kubeconfig."""

import logging
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Final, Protocol

from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.incluster_config import InClusterConfigLoader
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigLoader, KubeConfigMerger
from oauthlib.oauth2 import OAuth2Error
from urllib3 import disable_warnings
from urllib3.exceptions import InsecureRequestWarning
from urllib3.util import create_urllib3_context
from yaml import YAMLError

from k6_sweep.kube.own_pod import Account

UNUSABLE: Final = (
    *(ConfigException, OAuth2Error, OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, YAMLError),
)
"""What the package raises if files or answers of others do not have the form that it expects."""
_LONGEST: Final = 500
"""Characters of an exec plugin's own words in a message."""


class LoginError(Exception):
    """There is no login now; the message gives the reason."""


class Login(Protocol):
    """A way to log in."""

    @property
    def who(self) -> str:
        """The identity, for messages."""

    def load(self, configuration: Configuration, files: ExitStack) -> None:
        """Log in; `files` may keep files until the connection's settings are made from them."""


@dataclass(frozen=True)
class ByAccount:
    """The login of a pod, by its service account. The package reads the token again after a minute."""

    account: Account

    @property
    def who(self) -> str:
        """The identity, for messages."""
        return "the service account"

    def load(self, configuration: Configuration, files: ExitStack) -> None:  # noqa: ARG002  # one shape for all
        """Read the files that the kubelet mounts. A container's root may be read-only, so this writes no file."""
        InClusterConfigLoader(
            token_filename=str(self.account.folder / "token"),
            cert_filename=str(self.account.folder / "ca.crt"),
            environ={"KUBERNETES_SERVICE_HOST": self.account.host, "KUBERNETES_SERVICE_PORT": self.account.port},
        ).load_and_set(configuration)
        configuration.proxy = None  # HTTPS_PROXY is for the way out of the cluster


@dataclass(frozen=True)
class ByKubeconfig:
    """The login of a person or of a CI job, by a context of a kubeconfig.

    Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
    """

    path: str | None = None
    """None: what KUBECONFIG names, else ~/.kube/config."""
    context: str | None = None
    """None: the kubeconfig's current context."""

    @property
    def who(self) -> str:
        """The identity, for messages."""
        return f"the user of context {self.context!r}" if self.context else "the user of the current context"

    def namespace(self) -> str | None:
        """Return the namespace of the context; None if it names none.

        Raises:
            LoginError: There is no such context.
        """
        with _explained(self.who):
            found = self._loader().current_context["context"].get("namespace")
        return str(found) if found else None

    def load(self, configuration: Configuration, files: ExitStack) -> None:
        """Read the kubeconfig, and run its exec plugin if it names one."""
        folder = files.enter_context(TemporaryDirectory(prefix="k6-sweep-"))
        with heard() as complaints:
            self._loader(folder).load_and_set(configuration)
        # The package only logs that a plugin failed, and goes on without a login.
        if complaints:
            # On a terminal the plugin's words go there, and the package fails on the words that it does not have.
            words = ["its plugin wrote why to the terminal" if "NoneType" in each else each for each in complaints]
            raise LoginError(f"the login of {self.who} failed: {'; '.join(words)[:_LONGEST]}")

    def _loader(self, folder: str | None = None) -> KubeConfigLoader:
        path = self.path or KUBE_CONFIG_DEFAULT_LOCATION or "~/.kube/config"
        files = KubeConfigMerger(path)
        if files.config is None:
            raise LoginError(f"there is no kubeconfig at {path}; set --kubeconfig or KUBECONFIG")
        contexts = [str(each["name"]) for each in files.config.value.get("contexts") or ()]
        context = self.context or files.config.value.get("current-context")
        if context not in contexts:
            lacks = f"has no context {context!r}" if context else "has no current context"
            raise LoginError(f"the kubeconfig {path} {lacks}; set --context to one of: {', '.join(sorted(contexts))}")
        return KubeConfigLoader(
            files.config,
            active_context=context,
            config_base_path=None,  # else the files that it names are not looked for beside it
            config_persister=files.save_changes,  # as kubectl does: some servers accept a refresh token only once
            temp_file_path=folder,
        )


def log_in(login: Login) -> ApiClient:
    """Log in; return a client of the API server.

    Raises:
        LoginError: The login failed.
    """
    configuration = Configuration()
    with _explained(login.who), ExitStack() as files:
        login.load(configuration, files)
        context = _tls(configuration)
        # Their content is in `context`, and files of a kubeconfig's keys must not stay on the disk.
        configuration.ssl_ca_cert = configuration.cert_file = configuration.key_file = None
        # urllib3's own three retries would make a request last four times its time limit.
        configuration.retries = False
        if not configuration.verify_ssl:  # the kubeconfig asks for it, and each request would print a warning
            disable_warnings(InsecureRequestWarning)
        client = ApiClient(configuration)  # a proxy-url may be of a kind that it does not know
    client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
    client.user_agent = "k6-sweep"
    return client


def _tls(configuration: Configuration) -> ssl.SSLContext:
    """Return the TLS settings: certificates and names are checked, but an authority may lack key identifiers.

    Clusters that were made by older versions of EKS and GKE have such authorities, which Python 3.13 and newer refuse.
    Only the package's asyncio client has a switch for it.

    Source: https://github.com/kubernetes-client/python/issues/2394
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.ssl_ca_cert:
        context.load_verify_locations(configuration.ssl_ca_cert)
    else:
        context.load_default_certs()
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


@contextmanager
def _explained(who: str) -> Iterator[None]:
    try:
        yield
    except UNUSABLE as error:
        raise LoginError(f"the login of {who} failed: {type(error).__name__}: {error}") from error


class _Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.complaints.append(" ".join(record.getMessage().split()))


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect what the package logs, which would otherwise be printed between the lines of k6-sweep's own log."""
    ear, root = _Ear(), logging.getLogger()
    root.addHandler(ear)
    try:
        yield ear.complaints
    finally:
        root.removeHandler(ear)
