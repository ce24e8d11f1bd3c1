"""A workflow of Argo that may run k6 more than once gets no watcher: that would sweep between two of its pods."""

import json
from typing import Any

import pytest

from tests.unit.inject.test_inject import out, refusal

K6 = {"name": "k6", "container": {"image": "grafana/k6", "args": ["run", "a.js"]}}
CALL = {"name": "a", "template": "k6"}
SEED = {"name": "seed", "template": "seed"}
RETRIES: dict[str, Any] = {"retryStrategy": {"limit": 2}}
ONCE: dict[str, Any] = {"retryStrategy": {"limit": "0"}}


def workflow(*templates: dict[str, Any], kind: str = "Workflow", **spec: Any) -> str:
    every = [*templates, {"name": "seed", "container": {"image": "seed"}}]
    body = {"entrypoint": str(templates[0]["name"]), "templates": every, **spec}
    return json.dumps(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": kind,
            "metadata": {"name": "load", "namespace": "load"},
            "spec": {"workflowSpec": body} if kind == "CronWorkflow" else body,
        }
    )


def steps(*calls: dict[str, Any], name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "steps": [[each] for each in calls], **fields}


def dag(*calls: dict[str, Any], name: str = "main") -> dict[str, Any]:
    return {"name": name, "dag": {"tasks": list(calls)}}


REPEATED = {
    "retried": (workflow({**K6, **RETRIES}), "retryStrategy of k6"),
    "retried without a limit": (workflow({**K6, "retryStrategy": {}}), "retryStrategy of k6"),
    "all are retried": (workflow(K6, **RETRIES), "retryStrategy of k6"),
    "retried by default": (workflow(K6, templateDefaults=RETRIES), "retryStrategy of k6"),
    "retried steps": (workflow(steps(CALL, **RETRIES), K6), "retryStrategy of main"),
    "two steps": (workflow(steps(CALL, SEED, CALL), K6), "2 references to k6"),
    "two tasks": (workflow(dag(CALL, SEED, CALL), K6), "2 references to k6"),
    "two templates call it": (workflow(steps(CALL, {"template": "b"}), dag(CALL, name="b"), K6), "2 references to k6"),
    "its steps are called twice": (
        workflow(steps({"template": "b"}, {"template": "b"}), steps(CALL, name="b"), K6),
        "2 references to b",
    ),
    "recursion": (workflow(steps(CALL, {"template": "main", "when": "x"}), K6), "2 references to main"),
    "exit handler": (workflow(K6, onExit="k6"), "2 references to k6"),
    "hook of a step": (
        workflow(steps({**SEED, "hooks": {"exit": {"template": "k6"}}}, CALL), K6),
        "2 references to k6",
    ),
    "two templates": (workflow(steps(CALL, {"template": "b"}), K6, {**K6, "name": "b"}), "templates k6 and b"),
    **{
        f"{field} {form.__name__}": (workflow(form({**CALL, field: value}), K6), f"{field} of k6")
        for form in (steps, dag)
        for field, value in {"withItems": [1, 2], "withParam": "{{x}}", "withSequence": {"count": "2"}}.items()
    },
    "loop over its steps": (
        workflow(dag({"template": "b", "withItems": [1]}), steps(CALL, name="b"), K6),
        "withItems of b",
    ),
}


@pytest.mark.parametrize(("text", "why"), REPEATED.values(), ids=REPEATED.keys())
def test_a_repeated_template_is_refused(text: str, why: str) -> None:
    """Each way to run the template again is refused, by its name, with the remedy."""
    assert f"it may run k6 more than once ({why}), and its watcher would sweep between" in refusal(text)


SINGLE = {
    "alone": workflow(K6),
    "one step": workflow(steps(SEED, CALL, SEED), K6),
    "one task": workflow(dag(SEED, CALL, SEED), K6),
    "others are retried": workflow(steps(SEED, CALL), K6, {"name": "other", "container": {"image": "x"}, **RETRIES}),
    "others are in a loop": workflow(steps({**SEED, "withItems": [1, 2]}, CALL, {**SEED, "onExit": "seed"}), K6),
    "never retried": workflow({**K6, **ONCE}),
    "excepted from the retries": workflow({**K6, **ONCE}, **RETRIES),
    "another object's template": workflow(steps(CALL, {"templateRef": {"name": "x", "template": "k6"}}), K6),
    "exit handler": workflow(steps(CALL), K6, onExit="seed"),
}


@pytest.mark.parametrize("text", SINGLE.values(), ids=SINGLE.keys())
def test_one_pod_is_served(text: str) -> None:
    """A workflow with one pod of k6 has a watcher, whatever its other templates do."""
    *_, watcher, _ = out(text)
    assert watcher["metadata"]["name"] == "load-sweep"


@pytest.mark.parametrize("kind", ["WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow"])
def test_no_watcher_is_printed_for_it(kind: str) -> None:
    """For what starts its pods later, the same reason stands in place of the watcher."""
    assert "more than once (retryStrategy of k6)" in refusal(workflow({**K6, **RETRIES}, kind=kind))
    assert "create this watcher" not in refusal(workflow({**K6, **RETRIES}, kind=kind))
    assert "one pod with k6 (no retry, no loop, no second use), create this watcher" in refusal(workflow(K6, kind=kind))
