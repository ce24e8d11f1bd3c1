"""Whether a workflow of Argo may run k6 more than once: its pods do not show whether another one will start.

Source: https://argo-workflows.readthedocs.io/en/latest/fields/ and https://argo-workflows.readthedocs.io/en/latest/retries/
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from k6_sweep.inject.cleanup import Manifest
from k6_sweep.inject.find import workloads
from k6_sweep.inject.workload import Workload, mapping

_LOOPS: Final = ("withItems", "withParam", "withSequence")
_NO_REFERENCES: Final = frozenset({*_LOOPS, "arguments", "templateRef"})
"""Fields whose `template` is a text of the user, or one of another object."""


def repeats(workload: Workload) -> list[str]:
    """Return why a run of the workflow may have several pods with k6: fields, loops, references."""
    if workload.shape != "Workflow":
        return []
    spec = workload.workflow
    templates = [mapping(each) for each in spec.get("templates") or []]
    k6 = [str(each.manifest.get("name")) for each in workloads(workload.owner)]
    starting = _starting(templates, k6)
    found = [f"templates {' and '.join(k6)}"] if len(k6) > 1 else []
    found += [
        f"retryStrategy of {each.get('name')}"
        for each in templates
        if each.get("name") in starting and _is_retried(each, spec)
    ]
    roots = {"template": spec.get("entrypoint"), "onExit": spec.get("onExit"), "hooks": spec.get("hooks")}
    places = (roots, *map(_body, templates))
    references = [each for place in places for each in _references(place) if each[0] in starting]
    found += [f"{loop} of {name}" for name, loops in references for loop in loops]
    counts = Counter(name for name, _ in references)
    found += [f"{count} references to {name}" for name, count in counts.items() if count > 1]
    return list(dict.fromkeys(found))


def _starting(templates: list[Manifest], k6: list[str]) -> set[str]:
    """Return the names of the templates that run k6 or start one of these."""
    calls = [(str(each.get("name")), name) for each in templates for name, _ in _references(_body(each))]
    starting = set(k6)
    while more := {caller for caller, name in calls if name in starting} - starting:
        starting |= more
    return starting


def _is_retried(template: Manifest, spec: Manifest) -> bool:
    """Whether a template is retried: its own field counts first, and limit 0 means never."""
    places = (template, mapping(spec.get("templateDefaults")), spec)
    strategy = next((each["retryStrategy"] for each in places if each.get("retryStrategy") is not None), None)
    return strategy is not None and str(mapping(strategy).get("limit")) != "0"


def _body(template: Manifest) -> Manifest:
    return {field: template.get(field) for field in ("steps", "dag")}


def _references(value: Any, loops: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the names of the templates that a value starts, each with the loops around it."""
    if isinstance(value, list):
        for each in value:
            yield from _references(each, loops)
    elif isinstance(value, dict):
        loops = (*loops, *(each for each in _LOOPS if each in value))
        for field in ("template", "onExit"):
            if isinstance(value.get(field), str):
                yield value[field], loops
        for field, each in value.items():
            if field not in _NO_REFERENCES:
                yield from _references(each, loops)
