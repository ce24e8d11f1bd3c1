"""What a container's command and image show: whether it runs k6, by which name, and what it does around k6."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

_TESTING: Final = {"run", "cloud"}
_K6_WORD: Final = re.compile(r"(?:^|[-._])x?k6(?:$|[-._])")
"""k6 as a word of its own in a name: xk6-kafka and k6-custom, not k6y."""
_SCRIPTS: Final = (".sh", ".js", ".ts", ".py")
_IN_A_SCRIPT: Final = re.compile(r"(?:^|[\s;&|({`'\"])(?P<path>[\w./-]*k6[\w.-]*)(?:\s+-\S+)*\s+(?:run|cloud)\b")
_WAITS: Final = re.compile(r"\b(?:until|while)\b.*\bsleep\b", re.DOTALL)
_ENDS_PROXY: Final = re.compile(r"quitquitquit|:4191/shutdown|pilot-agent|linkerd-await")


@dataclass(frozen=True)
class K6Command:
    """What is known of a container."""

    process: str | None
    """The name of k6's process; None if the command does not show it."""
    runs_k6: bool
    """Whether the command or the image shows that it runs a test with k6."""
    guessed: bool
    """Whether only the image's name shows it, and its binary may have another name."""
    waits_first: bool
    """Whether a loop may wait before k6 starts."""
    ends_proxy: bool
    """Whether it ends the proxy of a mesh after k6."""


def k6_command(container: Mapping[str, Any]) -> K6Command:
    """Return what a container's command, arguments and image show."""
    words = [str(word) for field in ("command", "args") for word in _list(container.get(field))]
    # A step of Tekton has its script in `script`, a template of Argo in `source`.
    words += [f"{container[field]}\n" for field in ("script", "source") if field in container]
    process = _process(words)
    image = image_name(str(container.get("image", "")))
    text = "\n".join(words)
    runs = bool(_TESTING & set(words))
    guessed = process is None and image != "k6" and bool(_K6_WORD.search(image)) and runs
    found = _WAITS.search(text)
    start = _IN_A_SCRIPT.search(text)
    return K6Command(
        process=process,
        runs_k6=process is not None or image == "k6" or guessed,
        guessed=guessed,
        waits_first=bool(found and (not start or found.start() < start.start())),
        ends_proxy=bool(_ENDS_PROXY.search(text)),
    )


def image_name(image: str) -> str:
    """Return the last part of an image's name, without its tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _process(words: list[str]) -> str | None:
    """Return the name of the process that runs k6."""
    names = [PurePath(word).name for word in words]
    for position, name in enumerate(names):
        if " " in words[position] or "\n" in words[position]:
            for found in _IN_A_SCRIPT.finditer(words[position]):
                if _is_program(PurePath(found["path"]).name):
                    return _as_emulated(_names(words[position], found["path"]))
        elif _is_program(name) and _TESTING & set(words[position + 1 :]):
            return _as_emulated([*names[:position], name])
    return None


def _names(script: str, path: str) -> list[str]:
    """Return the names of the words before a path in a script, and the path's own name."""
    try:
        words = shlex.split(script[: script.index(path)].rpartition("\n")[2], comments=True)
    except ValueError:
        words = []
    return [PurePath(word).name for word in (*words, path)]


def _is_program(name: str) -> bool:
    return bool(_K6_WORD.search(name)) and not name.endswith(_SCRIPTS)


def _as_emulated(names: list[str]) -> str:
    """Return the last name, or that of an emulator before it, which the kernel shows in its place."""
    return next((name for name in names[:-1] if name.startswith("qemu-")), names[-1])


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
