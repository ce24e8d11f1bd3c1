"""The objects that each template makes of its values."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.chart.helm import HelmRefusedError, Rendered, env_of, pod_specs

Render = Callable[..., Rendered]


def sidecar(rendered: Rendered) -> dict[str, Any]:
    pod = rendered.test_pod
    (found,) = [each for each in (*pod.get("initContainers", []), *pod["containers"]) if each["name"] == "k6-sweep"]
    return dict(found)


@pytest.mark.parametrize("version", ["1.29", "1.30.4-eks-1234567", "1.37"])
def test_native_where_the_cluster_can(rendered: Render, version: str) -> None:
    """From Kubernetes 1.29 on the sidecar is the last init container, and keeps running."""
    made = rendered(
        version=version, cleanup={"preflight": {"enabled": True}}, k6={"extraInitContainers": [{"name": "first"}]}
    )
    names = [each["name"] for each in made.test_pod["initContainers"]]
    assert names == ["first", "k6-sweep-check", "k6-sweep"]
    assert sidecar(made)["restartPolicy"] == "Always"
    assert sidecar(made)["args"] == ["watch", "--native"]
    assert [each["name"] for each in made.test_pod["containers"]] == ["k6"]
    assert made.of("Job")["spec"]["podReplacementPolicy"] == "Failed"


@pytest.mark.parametrize("version", ["1.27", "1.28.15"])
def test_ordinary_and_first_where_it_cannot(rendered: Render, version: str) -> None:
    """Before Kubernetes 1.29 the sidecar is an ordinary container, listed before k6."""
    made = rendered(version=version)
    assert [each["name"] for each in made.test_pod["containers"]] == ["k6-sweep", "k6"]
    assert "initContainers" not in made.test_pod
    assert "restartPolicy" not in sidecar(made)
    assert sidecar(made)["args"] == ["watch"]
    assert "podReplacementPolicy" not in made.of("Job")["spec"]


def test_the_pod_shares_its_processes_and_has_time_for_all(rendered: Render) -> None:
    """The grace period is k6's shutdown, the sweep and a reserve, and the sidecar gets it."""
    made = rendered(k6={"shutdownSeconds": 20}, cleanup={"timeoutSeconds": 100})
    assert made.test_pod["shareProcessNamespace"] is True
    assert made.test_pod["terminationGracePeriodSeconds"] == 130
    assert env_of(sidecar(made))["SWEEP_GRACE_PERIOD"] == "130"
    assert env_of(sidecar(made))["SWEEP_TIMEOUT"] == "100"


@pytest.mark.parametrize(
    ("pods", "containers", "known"),
    [(None, None, None), (1000, None, "1000"), (1000, 12345, "12345"), (1000, 0, None), (0, None, None)],
)
def test_the_user_of_k6(rendered: Render, pods: object, containers: object, known: str | None) -> None:
    """The sidecar gets the uid of the chart's k6, if the values say it; root may start k6 as anybody."""
    k6 = {"podSecurityContext": {"runAsUser": pods}, "securityContext": {"runAsUser": containers}}
    assert env_of(sidecar(rendered(k6=k6))).get("SWEEP_K6_USER") == known
    assert env_of(sidecar(rendered(k6=k6, version="1.28"))).get("SWEEP_K6_USER") == known
    assert env_of(sidecar(rendered(k6=k6, cleanup={"k6User": 0})))["SWEEP_K6_USER"] == "0"
    assert "SWEEP_K6_USER" not in env_of(sidecar(rendered(k6=k6, cleanup={"detector": "kubernetes"})))


def test_a_second_k6_may_have_another_user(rendered: Render) -> None:
    """With a k6 in an extra container the sidecar gets no uid, so that it waits for both."""
    extra = [{"name": "smoke", "image": "grafana/k6", "args": ["run", "/scripts/smoke.js"]}]
    assert "SWEEP_K6_USER" not in env_of(sidecar(rendered(k6={"extraContainers": extra})))
    proxy = [{"name": "proxy", "image": "envoy"}]
    assert env_of(sidecar(rendered(k6={"extraContainers": proxy})))["SWEEP_K6_USER"] == "12345"


def test_the_user_of_another_k6_is_not_guessed(rendered: Render) -> None:
    """The sidecar of labelled Jobs gets a uid only from cleanup.k6User: each of their k6s may have another one."""
    made = rendered(policy={"enabled": True})
    assert "SWEEP_K6_USER" in str(made.of("Job"))
    assert "SWEEP_K6_USER" not in str(made.of("MutatingAdmissionPolicy"))
    named = rendered(policy={"enabled": True}, cleanup={"k6User": 1000})
    assert "SWEEP_K6_USER" in str(named.of("MutatingAdmissionPolicy"))


@pytest.mark.parametrize(("more", "limit"), [(0, "4096"), (1, "4096"), (2, "3072"), (10, "1024")])
def test_the_message_fits_the_pod(rendered: Render, more: int, limit: str) -> None:
    """The message limit follows Kubernetes's 12,288 bytes for a pod's containers and 4,096 for each."""
    made = rendered(k6={"extraContainers": [{"name": f"more-{number}"} for number in range(more)]})
    assert env_of(sidecar(made))["SWEEP_MESSAGE_LIMIT"] == limit
    assert env_of(sidecar(rendered(cleanup={"messageLimit": 600})))["SWEEP_MESSAGE_LIMIT"] == "600"


@pytest.mark.parametrize(
    ("mode", "backoff", "policy"),
    [("container", 0, None), ("container", 3, "ignore"), ("native", 0, None), ("native", 3, None)],
)
def test_a_failed_sweep_never_runs_the_test_again(
    rendered: Render, mode: str, backoff: int, policy: str | None
) -> None:
    """In a Job with retries an ordinary sidecar ignores the sweep's failure."""
    made = rendered(cleanup={"sidecar": {"mode": mode}}, k6={"backoffLimit": backoff})
    assert env_of(sidecar(made)).get("SWEEP_FAILURE_POLICY") == policy


def test_a_failed_sweep_fails_the_job_if_asked(rendered: Render) -> None:
    """failJob chooses the ordinary container, whose exit code counts for the Job."""
    made = rendered(cleanup={"failJob": True})
    assert [each["name"] for each in made.test_pod["containers"]] == ["k6-sweep", "k6"]
    assert "SWEEP_FAILURE_POLICY" not in env_of(sidecar(made))


def test_preflight_and_snapshot_fail_loudly(rendered: Render) -> None:
    """The init containers' failures always count, and the sidecar gets the snapshot."""
    wanted = {"preflight": {"enabled": True}, "preserveExisting": True, "guards": {}, "sidecar": {"mode": "container"}}
    made = rendered(cleanup=wanted, k6={"backoffLimit": 2})
    check, snapshot = made.test_pod["initContainers"]
    assert (check["args"], snapshot["args"]) == (["check"], ["snapshot", "--out", "/snapshot/keys"])
    assert "SWEEP_FAILURE_POLICY" not in env_of(check) | env_of(snapshot)
    assert env_of(sidecar(made))["SWEEP_PRESERVE_EXISTING"] == "/snapshot/keys"
    for container in (snapshot, sidecar(made)):
        assert {"name": "k6-sweep-snapshot", "mountPath": "/snapshot"} in container["volumeMounts"]
    assert {"name": "k6-sweep-snapshot", "emptyDir": {}} in made.test_pod["volumes"]


def test_password_and_certificates_are_files(rendered: Render) -> None:
    """Secrets are mounted read-only, as the files that the variables name."""
    tls = {"caSecret": "authority", "caKey": "root.pem", "clientSecret": "client"}
    redis = {"url": "rediss://redis:6379", "existingSecret": "redis", "existingSecretPasswordKey": "word", "tls": tls}
    made = rendered(cleanup={"redis": redis})
    env = env_of(sidecar(made))
    files = {name: str(env[f"SWEEP_REDIS_{name}_FILE"]) for name in ("PASSWORD", "CA", "CERT", "KEY")}
    (volume,) = [each for each in made.test_pod["volumes"] if each["name"] == "k6-sweep-files"]
    items = [
        (source["secret"]["name"], item["key"], f"/etc/k6-sweep/{item['path']}")
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    ]
    assert items == [
        ("redis", "word", files["PASSWORD"]),
        ("authority", "root.pem", files["CA"]),
        ("client", "tls.crt", files["CERT"]),
        ("client", "tls.key", files["KEY"]),
    ]
    assert sidecar(made)["volumeMounts"] == [{"name": "k6-sweep-files", "mountPath": "/etc/k6-sweep", "readOnly": True}]
    for value, variable, text in (("insecure", "INSECURE", "true"), ("serverName", "SERVER_NAME", "redis.example")):
        given = {value: True if text == "true" else text}
        made = rendered(cleanup={"redis": {"url": "rediss://r", "tls": given}})
        assert env_of(sidecar(made))[f"SWEEP_REDIS_TLS_{variable}"] == text


def test_no_permission_where_none_is_needed(rendered: Render) -> None:
    """The process detector has no service account, no Role and no token."""
    made = rendered()
    assert made.kinds() == ["Job", "Pod"]
    assert made.test_pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in made.test_pod


def test_the_api_detector_gets_the_role_of_the_docs(rendered: Render) -> None:
    """With the API detector the pod shares no processes, and the Role allows only pods."""
    made = rendered(cleanup={"detector": "kubernetes"})
    assert made.of("Role")["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    assert made.of("RoleBinding")["subjects"] == [
        {"kind": "ServiceAccount", "name": "default", "namespace": "load-test"}
    ]
    assert "serviceAccountName" not in made.test_pod
    assert "ServiceAccount" not in made.kinds()
    assert made.test_pod["automountServiceAccountToken"] is True
    assert "shareProcessNamespace" not in made.test_pod
    assert env_of(sidecar(made))["SWEEP_DETECTOR"] == "kubernetes"


def test_an_account_of_ones_own(rendered: Render) -> None:
    """The chart creates the account if asked; else it binds the named one or the namespace's default."""
    named = rendered(cleanup={"emitEvent": True}, serviceAccount={"name": "mine"})
    assert "ServiceAccount" not in named.kinds()
    assert named.of("RoleBinding")["subjects"][0]["name"] == named.test_pod["serviceAccountName"] == "mine"
    assert named.of("Role")["rules"] == [{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}]
    made = rendered(
        cleanup={"emitEvent": True}, serviceAccount={"create": True, "name": "ours", "annotations": {"a": "b"}}
    )
    assert made.of("ServiceAccount")["metadata"]["name"] == made.test_pod["serviceAccountName"] == "ours"
    assert made.of("ServiceAccount")["metadata"]["annotations"] == {"a": "b"}
    off = rendered(cleanup={"enabled": False}, serviceAccount={"create": True, "annotations": {"a": "b"}})
    assert off.kinds() == ["Job"]
    own = rendered(cleanup={"emitEvent": True}, serviceAccount={"create": True})
    assert own.of("ServiceAccount")["metadata"]["name"] == own.test_pod["serviceAccountName"] == "load-test-sweep"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"cleanup": {"enabled": False}},
        {"k6": {"parallelism": 2}},
        {"version": "1.28"},
        {"testRun": {"enabled": True}},
    ],
)
def test_the_toggle_does_not_change_the_tests_account(rendered: Render, values: dict[str, Any]) -> None:
    """k6's pods have the existing account in every form, and no token that they would not have without it."""
    for account, name in (({"name": "mine"}, "mine"), ({}, None)):
        made = rendered(**values, serviceAccount=account)
        if "testRun" in values:
            runner = made.of("TestRun")["spec"]["runner"]
            assert (runner.get("serviceAccountName"), runner["automountServiceAccountToken"]) == (name, "false")
            continue
        assert made.test_pod.get("serviceAccountName") == name
        assert made.test_pod["automountServiceAccountToken"] is False
    theirs = {"enabled": True, "spec": {"runner": {"serviceAccountName": "theirs"}}}
    made = rendered(testRun=theirs, serviceAccount={"name": "mine"})
    assert made.of("TestRun")["spec"]["runner"]["serviceAccountName"] == "theirs"
    own = rendered(k6={"parallelism": 2}, serviceAccount={"name": "mine", "create": True})
    assert "serviceAccountName" not in own.test_pod


def test_a_test_in_several_pods_has_one_watcher(rendered: Render) -> None:
    """A test in several pods has no sidecar, but one Job that waits for it and may read only that Job."""
    made = rendered(k6={"parallelism": 4}, watcher={"backoffLimit": 5, "ttlSecondsAfterFinished": 60})
    test, watcher = made.of("Job", "load-test"), made.of("Job", "load-test-sweep")
    assert (test["spec"]["parallelism"], test["spec"]["completions"]) == (4, 4)
    assert [each["name"] for each in made.test_pod["containers"]] == ["k6"]
    assert not {"initContainers", "shareProcessNamespace", "serviceAccountName"} & made.test_pod.keys()
    pod = watcher["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["watch", "--target", "job/load-test"]
    assert env_of(container)["SWEEP_GRACE_PERIOD"] == str(pod["terminationGracePeriodSeconds"]) == "70"
    assert "SWEEP_FAILURE_POLICY" not in env_of(container)
    assert watcher["spec"]["podReplacementPolicy"] == "Failed"
    assert (watcher["spec"]["backoffLimit"], watcher["spec"]["ttlSecondsAfterFinished"]) == (5, 60)
    assert [each["action"] for each in watcher["spec"]["podFailurePolicy"]["rules"]] == ["Ignore"]
    assert made.of("Role")["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "resourceNames": ["load-test"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    ]


def test_a_test_run_and_its_watcher(rendered: Render) -> None:
    """k6-operator's TestRun replaces the Job, and the user's own spec overrides its fields."""
    made = rendered(
        k6={
            "args": ["--tag", "a=b"],
            "parallelism": 2,
            "env": [{"name": "A", "value": "b"}],
            "extraVolumes": [{"name": "data"}],
            "extraInitContainers": [{"name": "first"}],
        },
        podLabels={"a": "b"},
        tolerations=[{"key": "load"}],
        testRun={"enabled": True, "spec": {"parallelism": 7, "runner": {"image": "mine"}}},
    )
    contexts = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containerSecurityContext": {
            "runAsUser": 12345,
            "runAsGroup": 12345,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    assert made.of("TestRun")["spec"] == {
        "parallelism": 7,
        "cleanup": "post",
        "arguments": "--tag a=b",
        "script": {"configMap": {"name": "load-test", "file": "test.js"}},
        "runner": {
            "image": "mine",
            "imagePullPolicy": "IfNotPresent",
            "automountServiceAccountToken": "false",
            "metadata": {"labels": {"a": "b"}},
            "tolerations": [{"key": "load"}],
            "volumes": [{"name": "data"}],
            "env": [{"name": "A", "value": "b"}],
            "initContainers": [{"name": "first"}],
            **contexts,
        },
        "starter": contexts,
    }
    (container,) = made.of("Job")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["watch", "--target", "testrun/load-test"]
    assert made.of("Role")["rules"][0]["resources"] == ["testruns"]


def test_no_pod_of_a_test_run_is_without_a_security_context(rendered: Render) -> None:
    """Starter and initializer have the runner's security contexts, on top of fields of their own."""
    own = {
        "runner": {"securityContext": {"runAsUser": 5000}},
        "starter": {"image": "mine", "securityContext": {"runAsUser": 5001}},
        "initializer": {"image": "mine"},
    }
    spec = rendered(testRun={"enabled": True, "spec": own}).of("TestRun")["spec"]
    for pod, user in (("runner", 5000), ("starter", 5001), ("initializer", 5000)):
        assert spec[pod]["securityContext"]["runAsUser"] == user
        assert spec[pod]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec[pod]["containerSecurityContext"] == spec["runner"]["containerSecurityContext"]
    assert (spec["starter"]["image"], spec["initializer"]["image"]) == ("mine", "mine")


def test_a_cleanup_job_now_or_again_and_again(rendered: Render) -> None:
    """The separate Job runs `run`, and a schedule makes it a CronJob."""
    wanted = {"enabled": True, "backoffLimit": 1, "ttlSecondsAfterFinished": 10}
    once = rendered(cleanup={"enabled": False}, k6={"enabled": False}, cleanupJob=wanted)
    spec = once.of("Job", "load-test-cleanup")["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (1, 10)
    assert spec["template"]["spec"]["containers"][0]["args"] == ["run"]
    again = rendered(cleanup={"enabled": False}, k6={"enabled": False}, cleanupJob={**wanted, "schedule": "@daily"})
    cron = again.of("CronJob", "load-test-cleanup")["spec"]
    assert (cron["schedule"], cron["concurrencyPolicy"]) == ("@daily", "Forbid")
    del spec["ttlSecondsAfterFinished"]  # a CronJob keeps its last Jobs with their messages
    assert cron["jobTemplate"]["spec"] == spec


def test_users_may_be_the_same_where_no_processes_are_shared(rendered: Render) -> None:
    """Without shared processes no container can read the other's secrets."""
    same = {"securityContext": {"runAsUser": 12345}}
    assert rendered(cleanup={**same, "detector": "kubernetes"}).test_pod
    assert rendered(cleanup=same, k6={"parallelism": 2}).test_pod


def test_when_needs_the_api_on_older_kernels(rendered: Render) -> None:
    """`when` adds the Role, because before Linux 6.15 only the API reports k6's exit code."""
    made = rendered(cleanup={"when": "failure"})
    assert made.of("Role")["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    assert made.test_pod["shareProcessNamespace"] is True


def test_variables_of_ones_own_replace_ours(rendered: Render) -> None:
    """No variable is listed twice, because a server-side apply refuses that."""
    container = sidecar(rendered(cleanup={"extraEnv": [{"name": "SWEEP_TIMEOUT", "value": "90"}]}))
    assert [each["value"] for each in container["env"] if each["name"] == "SWEEP_TIMEOUT"] == ["90"]


def test_dollars_and_broad_patterns(rendered: Render) -> None:
    """Each $ is doubled, because the kubelet halves them; a broad pattern is passed with its permission."""
    env = env_of(sidecar(rendered(cleanup={"patterns": ["q$$*"], "allowBroadPatterns": True})))
    assert (env["SWEEP_PATTERN"], env["SWEEP_ALLOW_BROAD_PATTERNS"]) == ("q$$$$*", "true")


def test_the_watcher_stays_as_long_as_the_test(rendered: Render) -> None:
    """The watcher's Job stays as long as the test's: an upgrade would recreate a missing one and run it again."""
    made = rendered(k6={"parallelism": 2, "ttlSecondsAfterFinished": 500})
    assert made.of("Job", "load-test-sweep")["spec"]["ttlSecondsAfterFinished"] == 500
    at_once = rendered(k6={"parallelism": 2, "ttlSecondsAfterFinished": 0})
    assert at_once.of("Job", "load-test-sweep")["spec"]["ttlSecondsAfterFinished"] == 0
    plain = rendered(k6={"parallelism": 2})
    assert "ttlSecondsAfterFinished" not in plain.of("Job", "load-test-sweep")["spec"]


def test_a_job_may_go_as_soon_as_it_has_ended(rendered: Render) -> None:
    """A time of 0 seconds differs from no time."""
    assert rendered(k6={"ttlSecondsAfterFinished": 0}).of("Job")["spec"]["ttlSecondsAfterFinished"] == 0
    assert "ttlSecondsAfterFinished" not in rendered().of("Job")["spec"]


def test_the_network_policy_is_about_our_pods_only(rendered: Render) -> None:
    """The policy does not restrict k6's own pod, which must reach the system under test."""
    made = rendered(k6={"parallelism": 2}, networkPolicy={"enabled": True})
    (components,) = made.of("NetworkPolicy")["spec"]["podSelector"]["matchExpressions"]
    assert "test" not in components["values"]
    labels = made.of("Job", "load-test-sweep")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] in components["values"]
    selected = made.of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= labels.items()
    assert "NetworkPolicy" not in rendered().kinds()


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("redis://redis", [6379]),
        ("rediss://redis:7000/1", [6379, 7000]),
        ("redis://[fe80::1]", [6379]),
        ("redis://[fe80::1%eth0]:7000", [6379, 7000]),
        ("redis+sentinel://a,b:5000,[::1]:5001/master/2", [6379, 26379, 5000, 5001]),
        ("unix:///run/redis:7000", [6379]),
    ],
)
def test_the_network_policy_opens_the_ports_of_redis(rendered: Render, url: str, ports: list[int]) -> None:
    """The policy opens the ports in Redis's address, with its scheme's usual one, and those of the value."""
    made = rendered(cleanup={"redis": {"url": url}}, networkPolicy={"enabled": True})
    _, redis = made.of("NetworkPolicy")["spec"]["egress"]
    assert redis["ports"] == [{"port": port, "protocol": "TCP"} for port in ports]


def test_the_helm_test_checks(rendered: Render) -> None:
    """`helm test` runs `check`, with the labels and annotations of the pods."""
    pod = rendered().of("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    labelled = rendered(podLabels={"mesh": "none"}, podAnnotations={"a": "b"}, commonLabels={"mesh": "istio"}).of("Pod")
    assert labelled["metadata"]["labels"]["mesh"] == "none"
    assert labelled["metadata"]["annotations"]["a"] == "b"
    assert pod["spec"]["containers"][0]["args"] == ["check"]


def test_k6_as_one_wants_it(rendered: Render) -> None:
    """A user's command replaces `k6 run`, and each container has its own security context and resources."""
    made = rendered(
        k6={"command": ["sh", "-c", "k6 run a && k6 run b"], "securityContext": {"runAsUser": 5000}},
        cleanup={"securityContext": {"runAsUser": 5001}, "resources": {"limits": {"memory": "1Gi"}}},
    )
    (k6,) = made.test_pod["containers"]
    assert (k6["command"], k6["securityContext"]["runAsUser"]) == (["sh", "-c", "k6 run a && k6 run b"], 5000)
    assert "args" not in k6
    assert sidecar(made)["securityContext"]["runAsUser"] == 5001
    assert sidecar(made)["resources"]["limits"] == {"memory": "1Gi"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cleanup": {"failJob": True}, "k6": {"backoffLimit": 1}}, "would run the load test again"),
        ({"cleanup": {"failJob": True, "sidecar": {"mode": "native"}}}, "a Job ignores a native sidecar's exit code"),
        ({"cleanup": {"sidecar": {"mode": "native"}}, "version": "1.28"}, "needs Kubernetes 1.29 or newer"),
        ({"cleanup": {"preserveExisting": True}, "k6": {"parallelism": 2}}, "cleanup.preserveExisting needs a sidecar"),
        ({"cleanup": {"preflight": {"enabled": True}}, "k6": {"parallelism": 2}}, "cleanup.preflight.enabled needs"),
        ({"cleanup": {"failJob": True}, "testRun": {"enabled": True}}, "cleanup.failJob needs a sidecar"),
        ({"cleanup": {"securityContext": {"runAsUser": 12345}}}, "must differ"),
        (
            {"cleanup": {"preserveExisting": True}, "cleanupJob": {"enabled": True, "schedule": "@daily"}},
            "has no snapshot",
        ),
        ({"k6": {"enabled": False}}, "sweeps after the test of this release, but k6.enabled is false"),
        ({"k6": {"script": "export default 1"}}, "k6.script and k6.existingConfigMap both bring the script"),
        *[
            (values, f'{place}.registry is "{registry}", but')
            for registry in ("https://registry.example", "registry.example/", "oci://registry.example/a")
            for place, values in (
                ("image", {"image": {"registry": registry}}),
                ("k6.image", {"k6": {"image": {"registry": registry}}}),
            )
        ],
        ({"serviceAccount": {"annotations": {"a": "b"}}}, "serviceAccount.annotations has no account to annotate"),
        *[
            ({"k6": {kind: [{"name": "again", **extra}]}}, "container again has a restartPolicy or restartPolicyRules")
            for kind in ("extraContainers", "extraInitContainers")
            for extra in (
                {"image": "grafana/k6", "restartPolicy": "OnFailure"},
                {"image": "k6:1@sha256:0", "restartPolicy": "Always"},
                {"image": "shop", "command": ["sh", "-c", "sleep 9; k6 run a"], "restartPolicy": "Always"},
                {"image": "x/k6", "restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]},
                {"image": "mock", "restartPolicy": "Never", "restartPolicyRules": [{"action": "RestartAllContainers"}]},
            )
        ],
        ({"k6": {"command": ["sh"]}, "testRun": {"enabled": True}}, "a TestRun cannot use k6.command"),
        *[
            ({"k6": {name: value}, "testRun": {"enabled": True}}, f"a TestRun has no field for k6.{name}: remove it")
            for name, value in (
                ("activeDeadlineSeconds", 60),
                ("backoffLimit", 1),
                ("extraContainers", [{"name": "more", "image": "more"}]),
            )
        ],
        ({"k6": {"args": ["a b"]}, "testRun": {"enabled": True}}, "with a space in it"),
        ({"k6": {"securityContext": {"runAsUser": None}, "podSecurityContext": {"runAsUser": 64001}}}, "must differ"),
        ({"cleanupJob": {"enabled": True}}, "sweeps at once, while the test of the same release runs"),
        ({"cleanup": {"enabled": False}, "cleanupJob": {"enabled": True}}, "sweeps at once"),
    ],
)
def test_what_cannot_be_meant_is_refused(rendered: Render, values: dict[str, Any], said: str) -> None:
    """The chart refuses contradictory values with the reason and the solution."""
    with pytest.raises(HelmRefusedError, match=said):
        rendered(**values)


def test_a_helper_may_restart(rendered: Render) -> None:
    """A container that only has k6 in the name of a file may have a restart policy of its own."""
    otel = {
        "name": "otel",
        "image": "otel/k6-collector",
        "args": ["--config=/etc/k6/otel.yaml"],
        "command": ["/k6/otel"],
    }
    made = rendered(k6={"extraInitContainers": [{**otel, "restartPolicy": "Always"}]})
    assert [each["name"] for each in made.test_pod["initContainers"]] == ["otel", "k6-sweep"]


def test_each_component_may_run_elsewhere(rendered: Render) -> None:
    """The scheduling of a component replaces the common values of the same name, and leaves the others."""
    own: dict[str, Any] = {"nodeSelector": {"pool": "tools"}, "tolerations": []}
    common: dict[str, Any] = {
        "nodeSelector": {"pool": "load"},
        "tolerations": [{"key": "load"}],
        "priorityClassName": "low",
    }
    made = rendered(
        k6={"parallelism": 2, "scheduling": {"affinity": {"nodeAffinity": {}}}},
        watcher={"scheduling": own},
        cleanupJob={"enabled": True, "schedule": "@daily", "scheduling": own},
        **common,
    )
    pods = dict(pod_specs(made.manifests))
    test = pods["load-test"]
    assert (test["nodeSelector"], test["tolerations"]) == ({"pool": "load"}, [{"key": "load"}])
    assert test["affinity"] == {"nodeAffinity": {}}
    for name in ("load-test-sweep", "load-test-cleanup"):
        assert (pods[name]["nodeSelector"], pods[name]["priorityClassName"]) == ({"pool": "tools"}, "low")
        assert not {"tolerations", "affinity"} & pods[name].keys()


@pytest.mark.parametrize(
    ("policy", "globs", "about", "not_about"),
    [
        (False, ["load-*", "shop"], ["load-test"], ["load-a", "shop"]),
        (True, ["load-*", "s?op", "[!a-k]x"], ["load-test", "load-a", "shop", "lx"], ["x-load-a", "shopping", "bx"]),
        (True, ["shop"], ["load-test", "shop"], ["load-a"]),
        (True, [], ["load-test", "anything"], []),
    ],
)
def test_the_alerts_are_about_the_namespaces_that_it_sweeps(
    rendered: Render, policy: bool, globs: list[str], about: list[str], not_about: list[str]
) -> None:
    """The alerts match the release's namespace, and those in which labelled Jobs get the sidecar."""
    made = rendered(
        cleanup={"enabled": not policy, "guards": {"allowedNamespaces": globs, "maxKeys": 5}},
        k6={"enabled": not policy},
        policy={"enabled": policy},
        monitoring={"prometheusRule": {"enabled": True, "noSweepHours": 24}},
    )
    (group,) = made.of("PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        ((operator, found),) = set(re.findall(r'namespace(=~?)"([^"]*)"', rule["expr"]))
        found = found if operator == "=~" else re.escape(found)
        assert [name for name in (*about, *not_about) if re.fullmatch(found, name)] == about


def test_objects_of_ones_own(rendered: Render) -> None:
    """extraObjects are part of the release, and templates in them are evaluated."""
    more = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}
    assert rendered(extraObjects=[more, {**more, "kind": "Secret"}]).of("ConfigMap", "test-release-more")


def test_openshift_assigns_the_user(rendered: Render) -> None:
    """With null in place of the user, no container of k6-sweep has one, as inject's --run-as-user none does it."""
    security = {"runAsUser": None, "runAsGroup": None}
    for values in ({}, {"k6": {"parallelism": 3}}):
        made = rendered({"securityContext": security, "preflight": {"enabled": not values}}, **values)
        for _, pod in pod_specs(made.manifests):
            for container in (*pod.get("initContainers", []), *pod["containers"]):
                if container["name"].startswith("k6-sweep"):
                    assert container["securityContext"]["runAsNonRoot"] is True
                    assert not {"runAsUser", "runAsGroup"} & container["securityContext"].keys()
