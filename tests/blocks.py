"""The command blocks of README and docs, and a shell that runs them with servers of this machine."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from k6_sweep.demo.servers import find_k6

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("charts/*/README.md")]
)


@dataclass(frozen=True)
class Block:
    """A block that a reader copies into a shell."""

    page: str
    text: str

    @property
    def name(self) -> str:
        """The page and the block's first words."""
        return f"{self.page}: {' '.join(self.text.split()[:3])}"

    def but(self, *left_out: str, **replaced: str) -> str:
        """Return the block without the lines that have one of these words, and with other texts in it."""
        lines = [line for line in self.text.splitlines() if not any(word in line for word in left_out)]
        text = "\n".join(lines)
        for old, new in replaced.items():
            assert old in text, f"{self.name} has no {old!r}"
            text = text.replace(old, new)
        return text


def blocks() -> dict[str, Block]:
    """Return all blocks by their names; the second one of a name has a 2 behind it."""
    found: dict[str, Block] = {}
    for page in PAGES:
        for text in re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), re.DOTALL):
            block = Block(str(page.relative_to(ROOT)), text)
            again = sum(each.name == block.name for each in found.values())
            found[f"{block.name} ({again + 1})" if again else block.name] = block
    return found


def shell(text: str, folder: Path, more: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Run a text in bash, in this folder; the folder's `bin` comes first on the PATH, then k6-sweep and k6."""
    (folder / "bin").mkdir(exist_ok=True)
    path = [str(folder / "bin"), str(Path(sys.executable).parent), str(Path(find_k6()).parent), os.environ["PATH"]]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={**clean, "PATH": os.pathsep.join(path), "K6_NO_USAGE_REPORT": "true", **more},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
