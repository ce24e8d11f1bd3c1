"""The examples equal inject's output for the manifests without k6-sweep, with the options at the top of each."""

import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from k6_sweep.inject.command import inject
from k6_sweep.inject.workload import BEFORE

ROOT = Path(__file__).parents[3]
EXAMPLES = [path for path in sorted(ROOT.glob("examples/*.yaml")) if path.stem != "guide-before"]
OURS = {"shareProcessNamespace", "terminationGracePeriodSeconds"}


def documents(text: str) -> list[Any]:
    return [each for each in YAML(typ="safe").load_all(text) if each is not None]


def without_ours(manifests: list[Any]) -> list[Any]:
    """Return the manifests without k6-sweep; a hand-written example has no annotation with the original fields."""
    text = io.StringIO()
    YAML(typ="safe").dump_all(manifests, text)
    found = documents(inject(["--uninject", "-f", "-"], {}, io.StringIO(text.getvalue())).text)
    for manifest in found:
        job = manifest["spec"].get("jobTemplate", manifest).get("spec", {})
        job.pop("podReplacementPolicy", None)
        for field in OURS:
            job.get("template", {}).get("spec", {}).pop(field, None)
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_inject_makes_it(path: Path) -> None:
    """inject produces each example field by field, except for the comments."""
    text = path.read_text()
    said = re.search(r"^#   (k6-sweep inject (?:.*\\\n#)*.*)$", text, re.MULTILINE)
    assert said, "the example doesn't say by which k6-sweep inject it was made"
    command, subcommand, flag, _, *options = shlex.split(said[1].replace("\\\n#", ""))
    assert (command, subcommand, flag) == ("k6-sweep", "inject", "-f")
    before = io.StringIO()
    YAML(typ="safe").dump_all(without_ours(documents(text)), before)
    made = documents(inject(["-f", "-", *options], {}, io.StringIO(before.getvalue())).text)
    for manifest in made:
        manifest["metadata"].get("annotations", {}).pop(BEFORE, None)
        if manifest["metadata"].get("annotations") == {}:
            del manifest["metadata"]["annotations"]
    assert made == documents(text)


def test_the_guides_job_differs_by_the_cleanup_only() -> None:
    """The guide's Jobs with and without k6-sweep differ only by the cleanup."""
    before, after = (
        documents((ROOT / f"examples/guide-{name}.yaml").read_text()) for name in ("before", "with-k6-sweep")
    )
    (plain,), (job,) = without_ours(after), before
    del job["spec"]["template"]["spec"]["containers"][1]
    assert plain == job
