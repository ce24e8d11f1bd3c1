"""The objects that the endpoint's templates make of their values."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import BINARIES, HelmRefusedError, Rendered, env_of, render, written

Api = Callable[..., Rendered]


@pytest.fixture
def api(tmp_path: Path) -> Api:
    """Render only the endpoint, with its required values plus these."""

    def on_top(api: Mapping[str, object] = {}, cleanup: Mapping[str, object] = {}, **values: object) -> Rendered:
        basis = {
            "fullnameOverride": "sweep",
            "k6": {"enabled": False},
            "cleanup": {"redis": {"url": "redis://r"}, "patterns": ["test:*"], "guards": {"maxKeys": 5}, **cleanup},
            "api": {"enabled": True, "existingSecret": "token", **api},
        }
        return render(written(tmp_path, basis | values))

    return on_top


def container(made: Rendered) -> dict[str, Any]:
    (found,) = made.of("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_what_it_is(api: Api) -> None:
    """By default there are two pods, a Service, a policy, a budget and the check, without API permissions."""
    made = api()
    kinds = ["Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service"]
    assert made.kinds() == kinds
    assert made.of("Deployment")["spec"]["replicas"] == 2
    assert made.of("Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_it_sweeps_by_the_settings_of_cleanup(api: Api) -> None:
    """The endpoint uses the settings of `cleanup`; its grace period is the sweep's timeout and a reserve."""
    made = api(cleanup={"timeoutSeconds": 120, "dryRun": True, "keep": ["test:keep"]})
    env = env_of(container(made))
    assert container(made)["args"] == ["serve"]
    assert (env["SWEEP_PATTERN"], env["SWEEP_KEEP"], env["SWEEP_MAX_KEYS"]) == ("test:*", "test:keep", "5")
    assert (env["SWEEP_DRY_RUN"], env["SWEEP_TIMEOUT"], env["SWEEP_GRACE_PERIOD"]) == ("true", "120", "130")
    assert made.of("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 130
    assert not {"SWEEP_PUSHGATEWAY_URL", "SWEEP_EMIT_EVENT", "SWEEP_WHEN"} & env.keys()


def test_the_token_is_a_file(api: Api) -> None:
    """The token is mounted as the file that the variable names, and is in no variable."""
    made = api(api={"existingSecretTokenKey": "admin"})
    (volume,) = made.of("Deployment")["spec"]["template"]["spec"]["volumes"]
    (mount,) = container(made)["volumeMounts"]
    assert volume["secret"] == {"secretName": "token", "items": [{"key": "admin", "path": "token"}]}
    assert mount == {"name": volume["name"], "mountPath": "/etc/k6-sweep-token", "readOnly": True}
    assert env_of(container(made))["SWEEP_ADMIN_TOKEN_FILE"] == "/etc/k6-sweep-token/token"
    assert "SWEEP_ADMIN_TOKEN" not in env_of(container(made))


@pytest.mark.parametrize("secret", ["", "certificate"])
def test_probes_and_monitor_reach_it(api: Api, secret: str) -> None:
    """Probes and the monitor have a port of their own, without TLS. Variables name the files of the certificate."""
    monitored = {"serviceMonitor": {"enabled": True}, "networkPolicy": {"namespaces": ["monitoring"]}}
    made = api(api={"tls": {"existingSecret": secret}, **monitored})
    ours = container(made)
    assert ours["startupProbe"]["httpGet"] == ours["livenessProbe"]["httpGet"]
    probes = [ours[probe]["httpGet"] for probe in ("readinessProbe", "livenessProbe")]
    assert [probe["path"] for probe in probes] == ["/readyz", "/healthz"]
    assert {(probe["port"], probe.get("scheme")) for probe in probes} == {("probes", None)}
    env = env_of(ours)
    assert env["SWEEP_PROBE_LISTEN"] == "0.0.0.0:8001"
    assert {"name": "probes", "containerPort": 8001} in ours["ports"]
    assert env.get("SWEEP_TLS_CERT_FILE") == ("/etc/k6-sweep-tls/tls.crt" if secret else None)
    assert env.get("SWEEP_TLS_KEY_FILE") == ("/etc/k6-sweep-tls/tls.key" if secret else None)
    assert ("/etc/k6-sweep-tls" in [mount["mountPath"] for mount in ours["volumeMounts"]]) is bool(secret)
    (endpoint,) = made.of("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint == {"targetPort": "probes", "interval": "30s"}


def test_everything_chooses_its_pods(api: Api) -> None:
    """Service, policy, budget and monitor select the Deployment's pods and their port."""
    monitored = {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}
    made = api(api={**monitored, "networkPolicy": {"namespaces": ["monitoring"]}})
    labels = made.of("Deployment")["spec"]["template"]["metadata"]["labels"]
    chosen = [
        made.of("Deployment")["spec"]["selector"]["matchLabels"],
        made.of("Service")["spec"]["selector"],
        made.of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        made.of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    assert all(each.items() <= labels.items() for each in chosen)
    assert made.of("ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= (
        made.of("Service")["metadata"]["labels"].items()
    )
    assert made.of("ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"
    port, _ = container(made)["ports"]
    assert (port["name"], port["containerPort"]) == ("http", 8000)
    assert env_of(container(made))["SWEEP_LISTEN"] == "0.0.0.0:8000"
    assert made.of("Service")["spec"]["ports"] == [{"name": "http", "port": 8000, "targetPort": "http"}]
    assert made.of("Service")["spec"]["sessionAffinity"] == "ClientIP"


def test_only_chosen_namespaces_are_admitted(api: Api) -> None:
    """The policy admits the release's own and the named namespaces; it can be disabled."""
    (rule,) = api(api={"networkPolicy": {"namespaces": ["shop"]}}).of("NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    by_name = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
    assert rule["from"] == [{"podSelector": {}}, by_name]
    monitored = {"serviceMonitor": {"enabled": True}, "networkPolicy": {"namespaces": ["shop"]}}
    same, probes = api(api=monitored).of("NetworkPolicy")["spec"]["ingress"]
    assert same == rule
    assert probes == {"ports": [{"port": "probes", "protocol": "TCP"}], "from": [by_name]}
    assert "NetworkPolicy" not in api(api={"networkPolicy": {"enabled": False}}).kinds()


def test_it_reaches_only_what_it_needs(api: Api) -> None:
    """The egress policy covers the endpoint too."""
    (policy,) = api(networkPolicy={"enabled": True}).every("NetworkPolicy", "sweep-sweep")
    (chosen,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert "api" in chosen["values"]


@pytest.mark.parametrize(
    ("api_values", "cleanup", "said"),
    [
        ({"existingSecret": ""}, {}, "the endpoint has no token, so everybody could call it: set api.existingSecret"),
        ({}, {"guards": {}}, "a guard is missing"),
        ({}, {"redis": {"url": ""}}, "the address of Redis is missing"),
        ({"enabled": False, "serviceMonitor": {"enabled": True}}, {}, "serviceMonitor.enabled has nothing to scrape"),
        (
            {"enabled": False, "ingress": {"enabled": True, "host": "a.b"}},
            {},
            "api.ingress.enabled leads to no endpoint",
        ),
        (
            {"ingress": {"enabled": True, "host": "a.b"}},
            {},
            "network policy does not admit the controller of api.ingress",
        ),
        (
            {"serviceMonitor": {"enabled": True}},
            {},
            "does not admit the Prometheus of api.serviceMonitor: add its namesp",
        ),
        ({"ingress": {"enabled": True}}, {}, "would take the requests for every host: set api.ingress.host"),
        ({"httpRoute": {"enabled": True}}, {}, "api.httpRoute needs a Gateway and a host"),
        ({}, {"patterns": []}, "the patterns of the test's keys are missing"),
        ({}, {"preserveExisting": True}, "api has no snapshot"),
        ({"replicas": 0}, {}, "replicas"),
        ({"networkPolicy": {"namespaces": ["Not A Name"]}}, {}, "namespaces"),
        ({}, {"pushgatewayUrl": "http://me:secret@gateway"}, "pushgatewayUrl"),
    ],
)
def test_what_is_refused(api: Api, api_values: dict[str, object], cleanup: dict[str, object], said: str) -> None:
    """The chart refuses values that cannot work or that set no guard."""
    with pytest.raises(HelmRefusedError, match=said):
        api(api=api_values, cleanup=cleanup)


@pytest.mark.parametrize(
    ("release", "fullname", "service"),
    [
        ("9am", "", None),
        ("load.test", "", None),
        ("load-9", "", "load-9-k6-sweep-api"),
        ("9am", "load", "load-api"),
        ("load", "load.9", None),
    ],
)
@pytest.mark.parametrize("binary", BINARIES)
def test_the_service_has_a_name_that_kubernetes_accepts(
    binary: str, release: str, fullname: str, service: str | None, tmp_path: Path
) -> None:
    """A release's name that makes no name of a Service is refused; fullnameOverride is the remedy."""
    values = {
        "fullnameOverride": fullname,
        "k6": {"enabled": False},
        "cleanup": {"redis": {"url": "redis://r"}, "patterns": ["test:*"], "guards": {"maxKeys": 5}},
        "api": {"enabled": True, "existingSecret": "token"},
    }
    if service:
        made = render(written(tmp_path, values), binary=binary, release=release)
        assert made.of("Service")["metadata"]["name"] == service
        return
    with pytest.raises(HelmRefusedError, match=f"have the name {fullname or release}.*-api, .*set fullnameOverride"):
        render(written(tmp_path, values), binary=binary, release=release)


def test_ways_from_outside(api: Api) -> None:
    """Ingress and HTTPRoute lead to the Service, and only to the paths that need the token."""
    values = {
        "networkPolicy": {"namespaces": ["ingress"]},
        "service": {"port": 8443},
        "ingress": {"enabled": True, "host": "sweep.example.com", "tlsSecret": "certificate"},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["sweep.example.com"]},
    }
    made = api(api=values)
    service = made.of("Service")
    (rule,) = made.of("Ingress")["spec"]["rules"]
    assert rule["host"] == "sweep.example.com"
    assert [each["path"] for each in rule["http"]["paths"]] == ["/internal", "/sweeps"]
    backend = {"service": {"name": service["metadata"]["name"], "port": {"name": "http"}}}
    assert [each["backend"] for each in rule["http"]["paths"]] == [backend, backend]
    assert made.of("Ingress")["spec"]["tls"] == [{"hosts": ["sweep.example.com"], "secretName": "certificate"}]
    (rule,) = made.of("HTTPRoute")["spec"]["rules"]
    assert [each["path"]["value"] for each in rule["matches"]] == ["/internal", "/sweeps"]
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": 8443}]


def test_where_its_pods_run(api: Api) -> None:
    """The endpoint's pods spread by their own labels, unless a selector is given, and have their own scheduling."""
    spread: list[dict[str, Any]] = [
        {"topologyKey": "zone"},
        {"topologyKey": "node", "labelSelector": {"matchLabels": {"a": "b"}}},
    ]
    own = {"nodeSelector": {"pool": "tools"}}
    made = api(api={"topologySpreadConstraints": spread, "scheduling": own}, nodeSelector={"pool": "load"})
    deployment = made.of("Deployment")["spec"]
    pod = deployment["template"]["spec"]
    assert pod["topologySpreadConstraints"] == [{**spread[0], "labelSelector": deployment["selector"]}, spread[1]]
    assert pod["nodeSelector"] == {"pool": "tools"}
    assert made.of("Pod")["spec"]["nodeSelector"] == {"pool": "load"}


def test_relabelings(api: Api) -> None:
    """The ServiceMonitor has the relabelings."""
    relabelings = {"relabelings": [{"targetLabel": "a"}], "metricRelabelings": [{"action": "drop"}]}
    made = api(
        api={"serviceMonitor": {"enabled": True, **relabelings}, "networkPolicy": {"namespaces": ["monitoring"]}}
    )
    (endpoint,) = made.of("ServiceMonitor")["spec"]["endpoints"]
    assert relabelings.items() <= endpoint.items()


@pytest.mark.parametrize(
    ("url", "port"), [("http://gateway:9091", 9091), ("http://gateway", 80), ("https://gateway/path:1", 443)]
)
def test_a_closed_pod_may_still_push(api: Api, url: str, port: int) -> None:
    """The egress policy opens the Pushgateway's port."""
    made = api(cleanup={"pushgatewayUrl": url}, networkPolicy={"enabled": True}, cleanupJob={"enabled": True})
    (policy,) = made.every("NetworkPolicy", "sweep-sweep")
    assert [{"port": port, "protocol": "TCP"}] in [rule["ports"] for rule in policy["spec"]["egress"]]


def test_counts_are_pushed_if_configured(api: Api, rendered: Callable[..., Rendered]) -> None:
    """Sidecar, watcher and cleanup Job get the Pushgateway's address; Prometheus scrapes the endpoint."""
    url = "http://pushgateway:9091"
    told = [
        *rendered(cleanup={"pushgatewayUrl": url}).test_pod["initContainers"],
        *rendered(cleanup={"pushgatewayUrl": url}, k6={"parallelism": 2}).of("Job", "load-test-sweep")["spec"][
            "template"
        ]["spec"]["containers"],
        *api(api={"enabled": False}, cleanup={"pushgatewayUrl": url}, cleanupJob={"enabled": True}).of("Job")["spec"][
            "template"
        ]["spec"]["containers"],
    ]
    assert [env_of(each)["SWEEP_PUSHGATEWAY_URL"] for each in told] == [url] * 3
