"""`k6-sweep inject` adds k6-sweep to manifests and changes nothing else, or refuses with a reason."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from k6_sweep.cli import main
from k6_sweep.errors import SettingsError
from k6_sweep.inject.command import Injected, inject
from k6_sweep.settings.all import Settings
from k6_sweep.settings.options import options_of, variable_name

IMAGE = ("--image", "mine/k6-sweep")
WANTED = (*IMAGE, "--redis-url", "redis://redis:6379", "--pattern", "test:*", "--max-keys", "1000")
JOB = """\
# The nightly test.
apiVersion: batch/v1
kind: Job
metadata:
  name: load-test # its name
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      # Just one:
      containers:
        - name: k6   # the usual name
          image: "grafana/k6:1.1.0"
          args: [run, /scripts/test.js]
      volumes:
        - name: scripts
          configMap: {name: load-test, defaultMode: 0444}
"""


EVENT = ("--emit-event", "-n", "load")
TWO_ALIKE = """\
kind: List
items:
  - kind: Job
    metadata: {name: a}
    spec: &same {template: {spec: {restartPolicy: Never, containers: [{name: k6}]}}}
  - kind: Job
    metadata: {name: b}
    spec: *same
"""


def run(text: str, *options: str, wanted: Sequence[str] = WANTED) -> Injected:
    return inject(["-f", "-", *wanted, *options], {}, io.StringIO(text))


def out(text: str, *options: str) -> list[Any]:
    return [each for each in YAML(typ="safe").load_all(run(text, *options).text) if each is not None]


def refusal(text: str, *options: str, wanted: Sequence[str] = WANTED) -> str:
    with pytest.raises(SettingsError) as refused:
        run(text, *options, wanted=wanted)
    return "\n".join(refused.value.problems)


def job(**spec: object) -> str:
    containers = [{"name": "k6", "image": "grafana/k6"}]
    pod = {"restartPolicy": "Never", "containers": containers, **spec.pop("pod", {})}  # type: ignore[dict-item]  # a mapping
    return json.dumps(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "load-test", "namespace": "load"},
            "spec": {"template": {"spec": pod}, **spec},
        }
    )


def sidecar_env(manifest: Any) -> dict[str, str]:
    pod = manifest["spec"]["template"]["spec"]
    (found,) = [each for each in (*pod.get("initContainers", []), *pod["containers"]) if each["name"] == "k6-sweep"]
    return {each["name"]: each.get("value", "") for each in found["env"]}


def test_comments_and_quotes_stay() -> None:
    """Each line of the manifest is unchanged in the output."""
    lines = run(JOB).text.splitlines()
    assert [line for line in JOB.splitlines() if line not in lines] == []


def test_injecting_again_changes_nothing() -> None:
    """A second inject leaves its own output unchanged, so every pipeline may run it."""
    once = run(JOB).text
    assert run(once).text == once


def test_other_settings_replace_the_former() -> None:
    """An inject first removes an earlier one, of any form."""
    once = run(JOB, "--only-new", "--preflight", "--redis-password-secret", "redis").text
    assert run(once, "--fail-job").text == run(JOB, "--fail-job").text


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--fail-job",),
        ("--only-new", "--preflight"),
        ("--detector", "kubernetes", "-n", "load"),
        ("--emit-event", "-n", "load"),
    ],
    ids=" ".join,
)
def test_uninject_gives_back_what_was(options: tuple[str, ...]) -> None:
    """--uninject restores this manifest byte for byte, and removes the Role and the other added objects."""
    assert inject(["--uninject", "-f", "-"], {}, io.StringIO(run(JOB, *options).text)).text == JOB


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "terminationGracePeriodSeconds": st.integers(0, 500),
            "shareProcessNamespace": st.just(True),
            "serviceAccountName": st.just("mine"),
            "automountServiceAccountToken": st.booleans(),
            "initContainers": st.just([{"name": "first", "image": "first"}]),
            "volumes": st.just([{"name": "scripts", "emptyDir": {}}]),
        },
    ),
    st.sampled_from([(), ("--fail-job",), ("--only-new",), ("--detector", "kubernetes"), ("--kube-version", "1.27")]),
)
def test_uninject_undoes_any_inject(pod: dict[str, object], options: tuple[str, ...]) -> None:
    """--uninject restores every field of any pod."""
    before = job(backoffLimit=0, pod=pod)
    injected = run(before, *options).text
    after = inject(["--uninject", "-f", "-"], {}, io.StringIO(injected)).text
    assert YAML(typ="safe").load(after) == json.loads(before)


def test_all_kinds_that_end(tmp_path: Path) -> None:
    """inject reads files, folders and Lists, serves Pods, Jobs and CronJobs, and passes everything else through."""
    pod = json.loads(job())["spec"]["template"]["spec"]
    template = {"template": {"spec": pod}}
    manifests = {
        "a.yaml": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod},
        "b.json": {
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"a": "b"}},
                {
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "metadata": {"name": "cron"},
                    "spec": {"schedule": "@daily", "jobTemplate": {"spec": template}},
                },
            ],
        },
        "README.md": "no manifest",
    }
    for name, manifest in manifests.items():
        (tmp_path / name).write_text(json.dumps(manifest))
    single = tmp_path / "single"
    single.write_text(JOB)
    done = inject(["-f", str(tmp_path), "-f", str(single), *WANTED], {}, io.StringIO())
    a_pod, a_list, a_job = YAML(typ="safe").load_all(done.text)
    config, cron = a_list["items"]
    assert config == manifests["b.json"]["items"][0]  # type: ignore[index]  # a mapping
    for spec in (
        a_pod["spec"],
        cron["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        a_job["spec"]["template"]["spec"],
    ):
        assert [each["name"] for each in spec["initContainers"]] == ["k6-sweep"]
        assert spec["terminationGracePeriodSeconds"] == 130
    assert cron["spec"]["jobTemplate"]["spec"]["podReplacementPolicy"] == "Failed"
    assert len([note for note in done.notes if "cleans up" in note]) == 3


def test_a_longer_grace_period_was_there_for_a_reason() -> None:
    """The pod keeps its longer grace period for k6, and the sweep's time is added."""
    (made,) = out(job(pod={"terminationGracePeriodSeconds": 300}))
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 370
    assert sidecar_env(made)["SWEEP_GRACE_PERIOD"] == "370"


def test_a_job_that_tries_again_ignores_the_sweeps_failure() -> None:
    """An ordinary sidecar of a Job with retries ignores the sweep's failure; without backoffLimit there are six."""
    assert sidecar_env(out(job(), "--kube-version", "1.28")[0])["SWEEP_FAILURE_POLICY"] == "ignore"
    assert "SWEEP_FAILURE_POLICY" not in sidecar_env(out(job(backoffLimit=0), "--kube-version", "1.28")[0])
    assert "SWEEP_FAILURE_POLICY" not in sidecar_env(out(job())[0])


def test_k6_is_known_by_its_image() -> None:
    """A container of another name counts if its image is named k6, and the sidecar gets the container's name."""
    containers = [
        {"name": "proxy", "image": "envoy"},
        {"name": "load", "image": "example.com:5000/x/k6:1.1.0@sha256:00"},
    ]
    (made,) = out(job(pod={"containers": containers}))
    assert sidecar_env(made)["SWEEP_K6_CONTAINER"] == "load"
    *_, made = out(job(pod={"containers": containers}), "--k6-container", "proxy", "--detector", "kubernetes")
    assert sidecar_env(made)["SWEEP_K6_CONTAINER"] == "proxy"


def test_several_pods_get_one_watcher() -> None:
    """A test in several pods gets one watcher, and is itself unchanged."""
    text = job(parallelism=4)
    *beside, test = out(text)
    assert test == json.loads(text)
    assert [(each["kind"], each["metadata"]["name"]) for each in beside] == [
        (kind, "load-test-sweep") for kind in ("Role", "RoleBinding", "Job")
    ]
    assert {each["metadata"]["namespace"] for each in beside} == {"load"}
    (container,) = beside[-1]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["watch", "--target", "job/load-test"]
    assert "watcher" in run(text).notes[0]


def test_a_test_run_gets_a_watcher() -> None:
    """A TestRun gets a watcher, because k6-operator's runners cannot have a sidecar."""
    text = "{apiVersion: k6.io/v1alpha1, kind: TestRun, metadata: {name: t, namespace: load}, spec: {parallelism: 1}}"
    *_, watcher, test = out(text)
    assert test["spec"] == {"parallelism": 1}
    assert watcher["spec"]["template"]["spec"]["containers"][0]["args"] == ["watch", "--target", "testrun/t"]


@pytest.mark.parametrize("field", ["serviceAccountName", "serviceAccount", None])
@pytest.mark.parametrize("parallelism", [1, 2])
def test_the_account_of_the_pod_is_kept(field: str | None, parallelism: int) -> None:
    """The Role is bound to the account that the test's pod has, the namespace's default one, too; none is created."""
    pod = {field: "mine"} if field else {}
    *beside, _ = out(job(pod=pod, parallelism=parallelism), "--emit-event")
    role, binding, *watchers = beside
    assert (role["kind"], binding["kind"]) == ("Role", "RoleBinding")
    name = "mine" if field else "default"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": "load"}]
    for watcher in watchers:
        assert watcher["spec"]["template"]["spec"].get("serviceAccountName", "default") == name
        assert watcher["spec"]["podReplacementPolicy"] == "Failed"
    made = out(job(pod=pod, parallelism=parallelism), "--emit-event")[-1]["spec"]["template"]["spec"]
    assert {each: made[each] for each in ("serviceAccountName", "serviceAccount") if each in made} == pod


def test_an_account_of_the_pods_own_is_kept() -> None:
    """A pod's own service account is bound to the Role, and no other is created."""
    *beside, made = out(job(pod={"serviceAccountName": "mine"}), "--detector", "kubernetes")
    assert made["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
    assert [each["kind"] for each in beside] == ["Role", "RoleBinding"]
    assert beside[1]["subjects"] == [{"kind": "ServiceAccount", "name": "mine", "namespace": "load"}]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            job(pod={"containers": [{"name": "app"}, {"name": "db"}]}),
            (),
            "has app, db; set --k6-container",
        ),
        ("{apiVersion: v1, kind: Service, metadata: {name: s}}", (), "no Pod, Job, CronJob or TestRun"),
        ("", (), "only nothing"),
        (job(pod={"restartPolicy": "OnFailure"}), (), "restartPolicy is OnFailure"),
        (job(parallelism=3, pod={"restartPolicy": "OnFailure"}), (), "restartPolicy is OnFailure"),
        (job(pod={"shareProcessNamespace": False}), (), "shareProcessNamespace is false"),
        (job(pod={"hostPID": True}), (), "hostPID"),
        (job(pod={"securityContext": {"runAsUser": 64001}}), (), "k6 runs as user 64001"),
        (job(parallelism=2).replace("load-test", "l" * 60), (), "would be longer than 63 characters"),
        (job(backoffLimit=2), ("--fail-job",), "would run the load test again"),
        (job(parallelism=2), ("--fail-job",), "--fail-job needs a sidecar"),
        (job(parallelism=2), ("--only-new",), "--only-new needs a sidecar"),
        (job().replace('"Job"', '"Deployment"').replace("batch/", "apps/"), (), "a Deployment restarts k6"),
        (job(parallelism=2).replace('"name": "load-test"', '"generateName": "load-"'), (), "must know the Job's name"),
        (job().replace(', "namespace": "load"', ""), ("--detector", "kubernetes"), "set --namespace"),
        (
            job().replace(', "namespace": "load"', "").replace('"name": "load-test"', '"generateName": "l-"'),
            EVENT,
            "metadata.name is required",
        ),
        (TWO_ALIKE, ("--strict",), "the alias *same in line 8 shares a part of it"),
        (job(), ("--allowed-namespace", "staging-*"), "staging-*"),
        (job(pod={"containers": [{"name": "a", "image": "k6"}]}), ("--k6-container", "b"), "is named b,"),
        ("{kind: Job}", (), "metadata must be a mapping with a name"),
        ("{kind: Job, metadata: foo}", (), "metadata must be a mapping with a name"),
        (job(pod={"containers": ["k6"]}), (), "containers must be a list of mappings with a name"),
        (job(pod={"containers": {"name": "k6"}}), (), "containers must be a list of mappings with a name"),
        (job(parallelism="{{ x }}"), (), "parallelism must be a whole number"),
        (job(pod={"terminationGracePeriodSeconds": "30"}), (), "terminationGracePeriodSeconds must be a whole number"),
        (
            JOB.replace("# its name", "\n  annotations: {k6-sweep/before: gone}"),
            (),
            "k6-sweep/before was changed",
        ),
        ("a: [", (), "standard input: this is not valid YAML"),
        ("a: 1\na: 2", (), "standard input: this is not valid YAML: the same key twice, in line 2, column 1"),
    ],
)
def test_what_cannot_be_done_right_is_refused(text: str, options: tuple[str, ...], said: str) -> None:
    """A manifest that inject cannot serve correctly is refused with the reason and the remedy."""
    assert said in refusal(text, *options)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (("--redis-url", "redis://r", "--pattern", "test:*"), "choose a guard"),
        ((*WANTED, "--redis-url", "redis://:hunter2@r"), "--redis-password-secret"),
        ((*WANTED, "--redis-password", "hunter2"), "SWEEP_REDIS_PASSWORD"),
        ((*WANTED, "--pattern", "*"), "too broad"),
        ((*WANTED, "--pattern", "test,a:*"), "commas and newlines separate"),
        (
            ("--redis-url", "redis://r", "--pattern", "test:*", "--allowed-namespace", ""),
            "--allowed-namespace is empty",
        ),
        ((*WANTED, "--keep", " x:*"), "' x:*' has a blank at an end"),
        ((*WANTED, "--detector", "signal"), "inject cannot use --detector signal"),
        ((*WANTED, "--no-verify", "--settle", "2"), "--settle needs the passes that --no-verify turns off"),
        ((*WANTED, "--redis-password-secret", "a/b/c"), "must be NAME or NAME/KEY"),
        ((*WANTED, "--kube-version", "new"), "must be a version"),
        ((*WANTED, "--native"), "--native is not an option of inject"),
        ((*WANTED, "-f", "/nowhere"), "/nowhere: No such file"),
        ((*WANTED, "--redis-ca-secret", "a", "--redis-ca-config-map", "b"), "are both set; keep one"),
    ],
)
def test_settings_that_cannot_be_used(wanted: Sequence[str], said: str) -> None:
    """Unusable settings are refused before any manifest is read, and a password is never repeated."""
    problems = refusal(JOB, wanted=wanted)
    assert said in problems
    assert "hunter2" not in problems


def test_all_reasons_at_once() -> None:
    """One refusal lists the reasons of every workload."""
    both = f"{job(pod={'hostPID': True, 'restartPolicy': 'Always'})}\n---\n{JOB.replace('Never', 'OnFailure')}"
    assert len(refusal(both).splitlines()) == 3


def test_uninject_needs_nothing_else_and_minds_nothing_else() -> None:
    """--uninject needs only --filename, and works as an option or a variable, with or without inject's settings."""
    once = run(JOB).text
    for options in (["--uninject"], ["--uninject=true"], ["--uninject", *WANTED]):
        assert inject(["-f", "-", *options], {}, io.StringIO(once)).text == JOB
    assert inject(["-f", "-"], {"SWEEP_UNINJECT": "true"}, io.StringIO(once)).text == JOB
    with pytest.raises(SettingsError, match="--filename"):
        inject(["--uninject"], {}, io.StringIO(once))


def test_an_account_comes_before_the_test() -> None:
    """The account and its Role come before the test, because a Pod needs an existing account."""
    pod = json.dumps({"kind": "Pod", "metadata": {"name": "p"}, "spec": json.loads(job())["spec"]["template"]["spec"]})
    assert [each["kind"] for each in out(pod, *EVENT)] == ["Role", "RoleBinding", "Pod"]
    assert [each["kind"] for each in out(JOB, *EVENT)] == ["Role", "RoleBinding", "Job"]


def test_what_others_would_read_otherwise() -> None:
    """The output respects YAML 1.1 (yes is true), kubelet ($$ is $) and JSON (a surrogate pair is one character)."""
    made = run(JOB, "--dry-run=yes", "--require-marker", "on", "--keep", r"test:$1\,$\(A)").text
    assert '{name: SWEEP_DRY_RUN, value: "yes"}' in made
    assert '{name: SWEEP_REQUIRE_MARKER, value: "on"}' in made
    assert sidecar_env(YAML(typ="safe").load(made))["SWEEP_KEEP"] == r"test:$$1\,$$\(A)"
    (made_of_json,) = out(job(pod={"hostname": "\U0001f600"}))
    assert made_of_json["spec"]["template"]["spec"]["hostname"] == "\U0001f600"


def test_each_container_gets_what_its_command_takes() -> None:
    """Each container gets exactly the settings that its command takes; the sidecar gets all of them."""
    words = (
        *("--keep", "test:a*", "--max-rate", "5", "--settle", "3", "--max-wait", "60", "--when", "success"),
        *("--detector", "kubernetes", "--k6-process", "k7", "--pushgateway-url", "http://p", "--batch-size", "7"),
    )
    *_, made = out(job(), "--preflight", "--only-new", "--dry-run", "--emit-event", *words)
    found = made["spec"]["template"]["spec"]["initContainers"]
    options = {variable_name(name): spec for name, spec in options_of(Settings).items()}
    for container in found:
        names = [each["name"] for each in container["env"] if each["name"].startswith("SWEEP_")]
        assert [name for name in names if not options[name].serves(container["args"][0])] == []
    assert [container["args"][0] for container in found] == ["check", "snapshot", "watch"]
    asked = {variable_name(option[2:].replace("-", "_")) for option in (*words[::2], "--dry-run", "--emit-event")}
    assert asked <= sidecar_env(made).keys()


def test_a_check_gets_no_setting_for_the_wait() -> None:
    """The `check` container gets no setting for the wait, because it does not wait for k6."""
    (made,) = out(JOB, "--preflight", "--max-wait", "60")
    check, sidecar = made["spec"]["template"]["spec"]["initContainers"]
    assert "SWEEP_MAX_WAIT" not in [each["name"] for each in check["env"]]
    assert "SWEEP_MAX_WAIT" in [each["name"] for each in sidecar["env"]]


def test_when_needs_the_api_on_older_kernels() -> None:
    """--when adds the Role, because before Linux 6.15 only the API reports k6's exit code."""
    *beside, _ = out(JOB, "--when", "success", "-n", "load")
    assert beside[0]["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]


def test_a_test_that_would_be_run_again_unasked_is_warned_of() -> None:
    """A Job without backoffLimit gets a warning: Kubernetes runs a failed test up to six times more."""
    assert "backoffLimit" in str(run(job()).notes)
    assert "backoffLimit" not in str(run(job(backoffLimit=0)).notes)


def test_a_deadline_takes_the_message() -> None:
    """A Job with activeDeadlineSeconds gets a note that its message vanishes, unless an Event has the counts."""
    assert "activeDeadlineSeconds deletes the pods" in str(run(job(activeDeadlineSeconds=600)).notes)
    assert "activeDeadlineSeconds" not in str(run(job(activeDeadlineSeconds=600), "--emit-event").notes)
    assert "activeDeadlineSeconds" not in str(run(job()).notes)


def test_overlapping_tests_are_warned_of() -> None:
    """A CronJob that may start the next test during the sweep gets a warning."""
    template = {"spec": json.loads(job())["spec"]["template"]["spec"]}
    spec = {"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}}
    cron = {"kind": "CronJob", "metadata": {"name": "c"}, "spec": spec}
    assert "concurrencyPolicy" in str(run(json.dumps(cron)).notes)
    spec["concurrencyPolicy"] = "Replace"
    assert "the last one out sweeps; concurrencyPolicy" in str(run(json.dumps(cron)).notes)
    assert "the sweep of one deletes the keys of the others" in refusal(json.dumps(cron), "--coordinate", "off")
    spec["concurrencyPolicy"] = "Forbid"
    assert "concurrencyPolicy" not in str(run(json.dumps(cron), "--coordinate", "off").notes)


def test_several_tests_in_one_input() -> None:
    """Several tests get a note that the last one out sweeps; without coordination they are refused."""
    two = f"{job()}\n---\n{job().replace('load-test', 'other')}"
    assert "the last one out sweeps for all" in str(run(two).notes)
    assert "the last one out" not in str(run(job()).notes)
    assert "several tests with --coordinate off" in refusal(two, "--coordinate", "off")


def test_a_refusal_prints_no_manifest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal prints no manifest, so that a pipe applies nothing, and its exit code is that of bad settings."""
    monkeypatch.setattr("sys.stdin", io.StringIO(job(pod={"hostPID": True})))
    assert main(["inject", "-f", "-", *WANTED], {}) == 2
    printed = capsys.readouterr()
    assert (printed.out, "hostPID" in printed.err) == ("", True)


def test_from_the_environment(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each option of inject is also a variable."""
    (tmp_path / "job.yaml").write_text(JOB)
    environ = {
        "SWEEP_IMAGE": "mine",
        "SWEEP_REDIS_URL": "redis://r",
        "SWEEP_PATTERN": "a:b*,c:d*",
        "SWEEP_NO_GUARD": "true",
    }
    assert main(["inject", "-f", str(tmp_path / "job.yaml")], environ) == 0
    (made,) = YAML(typ="safe").load_all(capsys.readouterr().out)
    assert sidecar_env(made)["SWEEP_PATTERN"] == "a:b*\nc:d*"
