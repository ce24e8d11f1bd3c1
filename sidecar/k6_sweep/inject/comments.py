"""The short comments of the lines that inject adds."""

import re
from collections.abc import Mapping
from typing import Final

IN_THE_TEST: Final = {
    "shareProcessNamespace: true": "lets k6-sweep see k6's processes",
    "terminationGracePeriodSeconds: ": "k6's shutdown, the sweep and a reserve",
    "podReplacementPolicy: Failed": "the next pod starts only after this one has swept",
    "restartPolicy: Always": "makes it a native sidecar: it starts before k6 and ends after it",
    "runAsUser: ": "must not be k6's user",
}
BESIDE_IT: Final = {
    "backoffLimit: ": "to sweep again is harmless",
    "terminationGracePeriodSeconds: ": "the sweep and a reserve",
}
"""By the beginning of the line."""
_FIELD: Final = re.compile(r"[ -]*(?P<field>[a-zA-Z]+: [^{\[|\n]+)")


def commented(lines: str, comments: Mapping[str, str]) -> str:
    """Return lines of YAML that inject adds, with the comments of those that have one."""
    return "".join(_commented(line, comments) for line in lines.splitlines(keepends=True))


def _commented(line: str, comments: Mapping[str, str]) -> str:
    found = _FIELD.fullmatch(line.rstrip("\n"))
    text = next((text for begin, text in comments.items() if found and found["field"].startswith(begin)), None)
    return line if text is None else f"{line.rstrip()} # {text}\n"
