"""Files of manifests are read and written with every line that inject does not change as it was."""

import io
import json
from pathlib import Path

import pytest

from k6_sweep.inject.command import inject
from k6_sweep.inject.nodes import data, spans
from tests.unit.inject.test_inject import WANTED, job, out, run

JOB = """\
apiVersion: batch/v1
kind: Job
metadata:
    name: load      # four blanks a level
spec:
    backoffLimit: 0
    template:
        spec:
            restartPolicy: Never
            containers:
            - {name:  k6,   image: grafana/k6}
            volumes: []
"""
DISTRIBUTED = JOB.replace("backoffLimit: 0", "parallelism: 3")
LITERAL = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata:\n  a.js: |\n    export default 1"


def removed(text: str) -> str:
    return inject(["--uninject", "-f", "-"], {}, io.StringIO(text)).text


@pytest.mark.parametrize("options", [(), ("--redis-password-secret", "redis"), ("--emit-event", "-n", "load")])
@pytest.mark.parametrize(
    "text",
    [
        JOB,
        DISTRIBUTED,
        f"# The test.\n{JOB}",
        f"---\n{JOB}---\n{LITERAL}",
        f"{LITERAL}\n---\n# Here it is:\n{JOB}",
        f"# Copyright\n---\n{JOB}---\n{DISTRIBUTED.replace('load', 'other')}",
        JOB.replace("\n", "\r\n"),
        job(),
        json.dumps(json.loads(job()), indent=4),
        JOB.replace("            volumes: []\n", "").rstrip("\n"),
        JOB.replace("metadata:", "metadata:\n    annotations: {}"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  k: |-\n  \n    a\n    b\n---\n" + JOB,
    ],
)
def test_lines_stay_and_come_back(text: str, options: tuple[str, ...]) -> None:
    """All lines stay in their order, a second inject changes nothing, and --uninject gives the text back."""
    once = run(text, "-n", "load", *options).text
    if not text.startswith("{"):
        rest = iter(once.splitlines())
        kept = [line for line in text.splitlines() if not line.endswith(("[]", "{}"))]
        assert [line for line in kept if line not in rest] == []
    assert run(once, "-n", "load", *options).text == once
    assert removed(once) == text


def test_a_json_stream_becomes_documents() -> None:
    """JSON objects that follow each other are served, each as a document of its own."""
    other = job().replace("load-test", "other")
    made = out(f"{job()}\n{other}\n")
    assert [each["metadata"]["name"] for each in made] == ["load-test", "other"]
    assert all("initContainers" in each["spec"]["template"]["spec"] for each in made)


def test_files_in_one_text(tmp_path: Path) -> None:
    """Of several files, each keeps its value, also a literal that ends without a final newline."""
    (tmp_path / "a.yaml").write_text(LITERAL)
    (tmp_path / "b.yaml").write_text("---\n" + JOB)
    (tmp_path / "c.yaml").write_text("# empty\n")
    (tmp_path / "d.json").write_text(job())
    made = inject(["-f", str(tmp_path), *WANTED], {}, io.StringIO()).text
    first, *jobs = [data(each.root) for each in spans(made) if each.root]
    assert first["data"] == {"a.js": "export default 1"}
    assert [each["metadata"]["name"] for each in jobs] == ["load", "load-test"]


def test_comments_may_be_left_out() -> None:
    """Added lines have short comments, and none with --no-comments."""
    assert "shareProcessNamespace: true # lets k6-sweep see k6's processes\n" in run(JOB).text
    assert "runAsUser: 64001 # must not be k6's user\n" in run(JOB).text
    assert "# to sweep again is harmless\n" in run(DISTRIBUTED, "-n", "load").text
    for text in (JOB, DISTRIBUTED):
        assert run(text, "-n", "load", "--no-comments").text.count("#") == 1
