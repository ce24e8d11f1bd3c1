"""Manifests in the shapes that are found in the field: each is served, or refused with a way that works."""

import io
import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from k6_sweep.cli import main
from k6_sweep.inject.command import inject
from tests.unit.inject.test_inject import job, out, refusal, run, sidecar_env

CRON = """\
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 1 * * *"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers: [{name: k6, image: grafana/k6}]
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: steady}
spec:
  template:
    spec:
      containers: [{name: k6, image: grafana/k6}]
"""
POD: dict[str, Any] = json.loads(job())["spec"]["template"]["spec"]


def notes(text: str, *options: str) -> str:
    return "\n".join(run(text, *options).notes)


def test_what_can_be_served_is_served() -> None:
    """What cannot be served stays as it is, with a note; --strict refuses all."""
    text = f"{DEPLOYMENT}---\n{CRON}"
    steady, nightly = out(text)
    assert steady == YAML(typ="safe").load(DEPLOYMENT)
    assert nightly["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"]
    assert "a Deployment restarts k6 whenever it ends, so the test never ends; run it as a Job (left as it is" in notes(
        text
    )
    assert "a Deployment restarts k6" in refusal(text, "--strict")
    assert "a Deployment restarts k6" in refusal(DEPLOYMENT)


def test_a_binary_of_another_name() -> None:
    """--k6-process comes from the command, and a setting of the user's is stronger."""
    (made,) = out(
        job(pod={"containers": [{"name": "perf", "image": "perf", "command": ["/bin/xk6-kafka", "run", "a"]}]})
    )
    assert sidecar_env(made)["SWEEP_K6_PROCESS"] == "xk6-kafka"
    assert sidecar_env(made)["SWEEP_K6_CONTAINER"] == "perf"
    text = job(pod={"containers": [{"name": "k6", "command": ["xk6", "run", "a.js"]}]})
    assert sidecar_env(out(text)[0])["SWEEP_K6_PROCESS"] == "xk6"
    assert sidecar_env(out(text, "--k6-process", "mine")[0])["SWEEP_K6_PROCESS"] == "mine"
    guessed = job(pod={"containers": [{"name": "k6", "image": "x/xk6-kafka", "args": ["run", "a.js"]}]})
    assert "if it is not k6, set --k6-process" in notes(guessed)


@pytest.mark.parametrize(
    ("pods", "containers", "known"),
    [
        (None, None, None),
        (1000, None, "1000"),
        (1000, 12345, "12345"),
        (None, 12345, "12345"),
        (1000, 0, None),
        (0, None, None),
        (None, "{{ .Values.uid }}", None),
    ],
)
def test_the_user_of_k6(pods: object, containers: object, known: str | None) -> None:
    """--k6-user is the runAsUser of k6's container, or of its pod; root may start k6 as anybody, so it is not taken."""
    k6 = {"name": "k6", "image": "grafana/k6", "securityContext": {"runAsUser": containers}}
    neighbour = {"name": "app", "image": "app", "securityContext": {"runAsUser": 7}}
    text = job(pod={"securityContext": {"runAsUser": pods}, "containers": [neighbour, k6]})
    assert sidecar_env(out(text)[0]).get("SWEEP_K6_USER") == known
    assert sidecar_env(out(text, "--k6-user", "9")[0])["SWEEP_K6_USER"] == "9"
    assert "SWEEP_K6_USER" not in sidecar_env(out(text, "--detector", "kubernetes")[-1])


def test_a_start_loop() -> None:
    """An ordinary sidecar of a test that waits for something first has a hint and an option."""
    loop = job(
        pod={"containers": [{"name": "k6", "command": ["sh", "-c", "until nc shop; do sleep 1; done; k6 run a"]}]}
    )
    assert "set --start-timeout" in notes(loop, "--kube-version", "1.28")
    assert "start-timeout" not in notes(loop)
    (made,) = out(loop, "--kube-version", "1.28", "--start-timeout", "900")
    assert sidecar_env(made)["SWEEP_START_TIMEOUT"] == "900"


def test_k6_in_an_init_container() -> None:
    """For a k6 in an init container there is a hint that helps."""
    first = {"initContainers": [{"name": "load", "image": "grafana/k6"}], "containers": [{"name": "upload"}]}
    assert "k6 is an init container (load), which a sidecar does not wait for" in refusal(job(pod=first))


TWO_IN_SEQUENCE = """\
apiVersion: batch/v1
kind: Job
metadata: {name: load, namespace: load-test}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      volumes: [{name: flag, emptyDir: {}}]
      containers:
        - name: smoke
          image: grafana/k6
          command: [sh, -c, "k6 run /s/smoke.js && touch /flag/ok"]
          volumeMounts: [{name: flag, mountPath: /flag}]
        - name: heavy
          image: grafana/k6
          command: [sh, -c, "until [ -e /flag/ok ]; do sleep 1; done; exec k6 run /s/heavy.js"]
          volumeMounts: [{name: flag, mountPath: /flag}]
"""


def test_two_k6_in_one_pod() -> None:
    """Two k6s in one pod are watched by the API, and the test ends with the last: processes have no container names."""
    *beside, made = out(TWO_IN_SEQUENCE)
    assert [each["kind"] for each in beside] == ["Role", "RoleBinding"]
    assert beside[0]["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    env = sidecar_env(made)
    assert (env["SWEEP_K6_CONTAINER"], env["SWEEP_DETECTOR"]) == ("smoke\nheavy", "kubernetes")
    assert "shareProcessNamespace" not in made["spec"]["template"]["spec"]
    assert "the sweep begins when these have ended: smoke, heavy" in notes(TWO_IN_SEQUENCE)
    assert "smoke, heavy run k6, and processes have no" in refusal(TWO_IN_SEQUENCE, "--detector", "process")


def test_one_of_two_k6_by_its_name() -> None:
    """--k6-container chooses the k6 that counts, and a note names both; a name that is not there is refused."""
    assert sidecar_env(out(TWO_IN_SEQUENCE, "--k6-container", "heavy")[-1])["SWEEP_K6_CONTAINER"] == "heavy"
    assert "smoke run k6" in notes(TWO_IN_SEQUENCE, "--k6-container", "heavy")
    assert "when these have ended: heavy\n" in notes(TWO_IN_SEQUENCE, "--k6-container", "heavy")
    wrong = ("--k6-container", "heavy", "--k6-container", "smok")
    assert "no container is named smok;" in refusal(TWO_IN_SEQUENCE, *wrong)


def test_two_k6_of_which_one_has_the_usual_name() -> None:
    """A container named k6 doesn't hide another one that runs k6."""
    both = job(pod={"containers": [{"name": name, "image": "grafana/k6"} for name in ("k6", "smoke")]})
    assert sidecar_env(out(both)[-1])["SWEEP_K6_CONTAINER"] == "k6\nsmoke"


def test_a_containers_name_is_not_for_processes() -> None:
    """With --detector process the sidecar gets no container's name, which it would refuse; with a Role it does."""
    text = job(pod={"containers": [{"name": "load", "image": "grafana/k6"}]})
    assert "SWEEP_K6_CONTAINER" not in sidecar_env(out(text, "--detector", "process")[-1])
    asked = out(text, "--detector", "process", "--when", "success")[-1]
    assert sidecar_env(asked)["SWEEP_K6_CONTAINER"] == "load"


@pytest.mark.parametrize(
    "own",
    [
        {"restartPolicy": "OnFailure"},
        {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In"}}]},
    ],
)
def test_a_container_that_restarts(own: dict[str, Any]) -> None:
    """A k6 container with a restart policy of its own is refused: the kubelet may start k6 again."""
    assert "restartPolicy of its own" in refusal(job(pod={"containers": [{"name": "k6", "image": "k6", **own}]}))


def test_a_neighbour_that_restarts_all() -> None:
    """A container beside k6 that may restart all containers is refused, as it would start k6 again."""
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [3]}}]
    beside = {"name": "mock", "image": "mock", "restartPolicy": "Never", "restartPolicyRules": rules}
    containers = [{"name": "k6", "image": "grafana/k6"}]
    for pod in ({"containers": [*containers, beside]}, {"containers": containers, "initContainers": [beside]}):
        assert "container mock has a restartPolicyRule that restarts all" in refusal(job(pod=pod))
    beside["restartPolicyRules"] = [{**rules[0], "action": "Restart"}]
    assert out(job(pod={"containers": [*containers, beside]}))


def test_the_token_is_mounted() -> None:
    """Where k6-sweep asks the API, the token of the pod's account is mounted, even if the pod had none."""
    *_, made = out(job(pod={"automountServiceAccountToken": False}), "--emit-event")
    assert made["spec"]["template"]["spec"]["automountServiceAccountToken"] is True


def test_resources() -> None:
    """--requests and --limits replace what they name, in kubectl's notation, and contradictions are refused."""
    (made,) = out(job(), "--requests", "cpu=50m,memory=64Mi", "--limits", "cpu=500m")
    (sidecar,) = made["spec"]["template"]["spec"]["initContainers"]
    assert sidecar["resources"] == {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"memory": "256Mi", "cpu": "500m"},
    }
    for wrong in ("cpu", "cpu=", "gpu=1", "memory=1Zi", "cpu=1,"):
        assert "must be such as cpu=10m,memory=64Mi" in refusal(job(), "--requests", wrong)
    assert "--requests memory=1Gi is more than the limit 256Mi; set --limits memory=" in refusal(
        job(), "--requests", "memory=1Gi"
    )


def test_users() -> None:
    """--run-as-user sets the user, or leaves it to the cluster; k6 must not run as the same one."""

    def security(*options: str) -> dict[str, Any]:
        (made,) = out(job(), *options)
        found: dict[str, Any] = made["spec"]["template"]["spec"]["initContainers"][0]["securityContext"]
        return {name: found.get(name) for name in ("runAsNonRoot", "runAsUser", "runAsGroup")}

    assert (
        security()
        == security("--run-as-user", "auto")
        == {"runAsNonRoot": True, "runAsUser": 64001, "runAsGroup": 64001}
    )
    assert security("--run-as-user", "1234") == {"runAsNonRoot": True, "runAsUser": 1234, "runAsGroup": 1234}
    assert security("--run-as-user", "none") == {"runAsNonRoot": True, "runAsUser": None, "runAsGroup": None}
    assert "run as the same user" in notes(job(), "--run-as-user", "none")
    for wrong in ("0", "root", "-1", "4294967296"):
        assert "must be auto, none, or a user id other than 0" in refusal(job(), f"--run-as-user={wrong}")
    assert "k6 runs as user 7" in refusal(job(pod={"securityContext": {"runAsUser": 7}}), "--run-as-user", "7")


def test_a_quota_is_named() -> None:
    """A ResourceQuota or LimitRange beside the test that would refuse the pod has a note with the option that helps."""
    quota = "kind: ResourceQuota\nmetadata: {name: q}\nspec: {hard: {limits.cpu: 8, requests.cpu: 8}}\n---\n"
    limits = "[{type: Container, min: {cpu: 50m}, max: {cpu: 2}}]"
    ranges = f"kind: LimitRange\nmetadata: {{name: r}}\nspec: {{limits: {limits}}}\n---\n"
    assert "ResourceQuota q refuses a container without limits.cpu; set --limits cpu=…" in notes(quota + job())
    assert "LimitRange r refuses less cpu than 50m; set --requests cpu=50m" in notes(ranges + job())
    assert "LimitRange r refuses more cpu than 2; set --limits cpu=2" in notes(ranges + job())
    assert "Range" not in notes(ranges + job(), "--requests", "cpu=50m", "--limits", "cpu=1")
    elsewhere = quota.replace("{name: q}", "{name: q, namespace: other}")
    assert "Quota" not in notes(elsewhere + job())
    limited = job(pod={"containers": [{"name": "k6", "resources": {"limits": {"cpu": 1}}}]})
    assert "if the namespace has one, set --limits cpu=500m" in notes(limited)


PROXIES = {"sidecar.istio.io/inject": "true"}
ENDS = {"name": "k6", "command": ["sh", "-c", "k6 run a.js; curl -XPOST localhost:15020/quitquitquit"]}


@pytest.mark.parametrize(
    ("metadata", "container", "warned"),
    [
        ({"annotations": PROXIES}, POD["containers"][0], True),
        ({"labels": PROXIES}, POD["containers"][0], True),
        ({"annotations": {"linkerd.io/inject": "enabled"}}, POD["containers"][0], True),
        ({}, ENDS, True),
        ({}, POD["containers"][0], False),
        ({"annotations": {"sidecar.istio.io/inject": "false"}}, POD["containers"][0], False),
        ({"annotations": {**PROXIES, "sidecar.istio.io/nativeSidecar": "true"}}, ENDS, False),
        ({"annotations": {**PROXIES, "traffic.sidecar.istio.io/excludeOutboundPorts": "80,6379"}}, ENDS, False),
        ({"annotations": {"config.linkerd.io/skip-outbound-ports": "6379"}}, ENDS, False),
        ({"annotations": {"config.linkerd.io/skip-outbound-ports": "16379"}}, ENDS, True),
    ],
)
def test_the_proxy_of_a_mesh(metadata: dict[str, Any], container: dict[str, Any], warned: bool) -> None:
    """Where a mesh's proxy may end before the sweep, a note says what to do."""
    text = json.loads(job(pod={"containers": [container]}))
    text["spec"]["template"]["metadata"] = metadata
    assert ("exclude port 6379 from it" in notes(json.dumps(text))) == warned


def test_an_analysis_template_holds_a_job() -> None:
    """The Job of an AnalysisTemplate gets the sidecar, and gives it back."""
    spec = {"backoffLimit": 0, "template": {"spec": POD}}
    metrics = [{"name": "web", "provider": {"web": {}}}, {"name": "k6", "provider": {"job": {"spec": spec}}}]
    template = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": "load", "namespace": "load"},
        "spec": {"metrics": metrics},
    }
    text = json.dumps(template)
    once = run(text)
    (made,) = YAML(typ="safe").load_all(once.text)
    pod = made["spec"]["metrics"][1]["provider"]["job"]["spec"]["template"]["spec"]
    assert [each["name"] for each in pod["initContainers"]] == ["k6-sweep"]
    assert "AnalysisTemplate load cleans up" in once.notes[0]
    assert inject(["--uninject", "-f", "-"], {}, io.StringIO(once.text)).text == text


def test_a_template_of_openshift() -> None:
    """In a Template, a Job gets the sidecar, and its Role comes into the same Template, before it."""
    objects = [{"kind": "ConfigMap", "metadata": {"name": "s"}}, json.loads(job(backoffLimit=0))]
    text = json.dumps(
        {"apiVersion": "template.openshift.io/v1", "kind": "Template", "metadata": {"name": "t"}, "objects": objects},
        indent=1,
    )
    once = run(text, "--emit-event").text
    (made,) = YAML(typ="safe").load_all(once)
    assert [each["kind"] for each in made["objects"]] == ["ConfigMap", "Role", "RoleBinding", "Job"]
    assert inject(["--uninject", "-f", "-"], {}, io.StringIO(once)).text == text


def test_a_pod_template() -> None:
    """A PodTemplate gets the sidecar as a Pod does."""
    (made,) = out(json.dumps({"kind": "PodTemplate", "metadata": {"name": "t"}, "template": {"spec": POD}}))
    assert made["template"]["spec"]["initContainers"][0]["name"] == "k6-sweep"


WORKFLOW: dict[str, Any] = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "load", "namespace": "load"},
    "spec": {
        "entrypoint": "k6",
        "nodeSelector": {"pool": "load"},
        "templates": [
            {"name": "seed", "container": {"image": "seed"}},
            {"name": "k6", "container": {"image": "grafana/k6", "args": ["run", "a.js"]}},
        ],
    },
}


def test_a_workflow_has_a_watcher() -> None:
    """An Argo Workflow gets a watcher, which finds the pods of its k6 template by a label."""
    text = json.dumps(WORKFLOW)
    *_, watcher, made = out(text)
    container = watcher["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["watch", "--target", "selector:k6-sweep/test=load"]
    assert {"name": "SWEEP_K6_CONTAINER", "value": "main"} in container["env"]
    assert watcher["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "load"}
    assert [each.get("metadata") for each in made["spec"]["templates"]] == [None, {"labels": {"k6-sweep/test": "load"}}]
    assert inject(["--uninject", "-f", "-"], {}, io.StringIO(run(text).text)).text == text


@pytest.mark.parametrize(
    ("manifest", "container", "target"),
    [
        ({**WORKFLOW, "kind": "WorkflowTemplate"}, "main", "selector:k6-sweep/test=load"),
        (
            {**WORKFLOW, "kind": "CronWorkflow", "spec": {"workflowSpec": WORKFLOW["spec"]}},
            "main",
            "selector:k6-sweep/test=load",
        ),
        (
            {
                "apiVersion": "tekton.dev/v1",
                "kind": "Task",
                "metadata": {"name": "load", "namespace": "load"},
                "spec": {"steps": [{"name": "k6", "image": "grafana/k6", "args": ["run", "a.js"]}]},
            },
            "step-k6",
            "selector:tekton.dev/task=load",
        ),
    ],
)
def test_what_is_run_later_is_refused_with_its_watcher(manifest: dict[str, Any], container: str, target: str) -> None:
    """For what starts its pods later, the refusal has the watcher to create together with each run."""
    said = refusal(json.dumps(manifest))
    _, _, text = said.partition("together with each run:\n")
    *_, watcher = YAML(typ="safe").load_all(text)
    pod = watcher["spec"]["template"]["spec"]
    assert pod.get("nodeSelector") == (None if manifest["kind"] == "Task" else {"pool": "load"})
    (found,) = pod["containers"]
    assert found["args"] == ["watch", "--target", target]
    assert {"name": "SWEEP_K6_CONTAINER", "value": container} in found["env"]


def test_a_test_run_by_its_old_name() -> None:
    """k6-operator's old kind K6 is a TestRun."""
    text = "{apiVersion: k6.io/v1alpha1, kind: K6, metadata: {name: t, namespace: load}, spec: {parallelism: 2}}"
    assert out(text)[-2]["spec"]["template"]["spec"]["containers"][0]["args"] == ["watch", "--target", "testrun/t"]


def test_uninject_says_what_it_did() -> None:
    """--uninject names what it has removed, or that there was nothing."""

    def said(text: str) -> str:
        return "\n".join(inject(["--uninject", "-f", "-"], {}, io.StringIO(text)).notes)

    assert "Job load-test has no k6-sweep now" in said(run(job(), "--emit-event").text)
    assert "Role load-test-sweep is removed" in said(run(job(), "--emit-event").text)
    assert "Job load-test had no k6-sweep" in said(job())


def test_the_summary_counts() -> None:
    """The last note has the number of tests with k6-sweep, and of those that were left; others name what was added."""
    done = run(f"{DEPLOYMENT}---\n{CRON}---\n{job(parallelism=2)}")
    assert "tests with k6-sweep: 2; tests left without it: 1" in done.notes
    assert "added before it: Role, RoleBinding, Job load-test-sweep" in "\n".join(done.notes)


def test_the_help_has_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """`inject --help` explains the exit codes."""
    with pytest.raises(SystemExit):
        main(["inject", "--help"], {})
    printed = capsys.readouterr().out
    assert "Exit codes:\n  0  the manifests are on standard output" in printed
    assert "\n  2  nothing was printed" in printed
