"""docs/troubleshooting.md has each message of the code and of the chart, and no other."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
CODE = ROOT / "sidecar" / "k6_sweep"
CHART = "".join(path.read_text() for path in (ROOT / "charts" / "k6-sweep" / "templates").glob("_*.tpl"))

NO_MESSAGE = {
    *("option", "flag", "Parser", "ArgumentParser"),
    *("APIKeyHeader", "FastAPI", "Field"),
    *("Counter", "Histogram", "gauge", "_gauge", "labelled"),
    "compile",
}
"""Calls whose texts are the help, the OpenAPI document, metrics or regular expressions."""
HELP = {
    *("cli.py", "api/about.py", "api/document.py"),
    *("inject/comments.py", "inject/settings.py"),
    *(f"settings/{name}.py" for name in ("all", "help", "serve", "snapshot", "sweep", "watch")),
}
"""Modules whose constants are texts of the help, or comments of manifests."""
PARTS = {
    *("pip install '.[…]' in a checkout of k6-sweep", "pip install 'k6-sweep[…]'"),
    "the sweep's probes",
    "list of sweeps",
    "(without a name)",
    "\x1b[…m…\x1b[0m",  # a colour
    *("… keys found", "pass …: …, …"),  # above the progress bars
    "… keys deleted",  # the end of `serve` at a terminal
    "k6 ended with … (…)",  # the Event
    "… (… of …)",
    "…the pod has no service account mounted",
    "…; nothing was deleted",
    '{apiGroups: ["…"], resources: ["…"], verbs: […]}',
}
"""Texts that explain nothing alone, and texts about a normal state."""


class Texts(ast.NodeVisitor):
    """Collects the texts of a module that a user may see in a message, with … for each part that varies."""

    def __init__(self, constants: bool) -> None:
        self.found: set[str] = set()
        self._constants = constants

    def visit_Module(self, node: ast.Module) -> None:  # ast calls it
        for child in node.body:
            if self._constants or not isinstance(child, ast.Assign | ast.AnnAssign):
                self.visit(child)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # ast calls it
        for child in node.body:
            self.visit(child)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        for child in node.body:
            self.visit(child)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:  # ast calls it
        if not any("Enum" in ast.unparse(base) for base in node.bases):
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:  # ast calls it
        if node.value:
            self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:  # ast calls it
        if not isinstance(node.value, ast.Constant):  # that would be a docstring
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:  # ast calls it
        if ast.unparse(node.func).rpartition(".")[2] not in NO_MESSAGE:
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:  # ast calls it
        if isinstance(node.value, str):
            self.found.add(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:  # ast calls it
        self.found.add("".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values))
        for each in node.values:
            if isinstance(each, ast.FormattedValue):
                self.visit(each.value)


def in_short(text: str) -> str:
    """Return a message as the page writes it."""
    return re.sub("…+", "…", " ".join(text.replace("`", "").split())).strip(" ;")


def messages() -> set[str]:
    """Return the messages of the code that have three words or more."""
    found: set[str] = set()
    for path in CODE.rglob("*.py"):
        place = path.relative_to(CODE)
        if place.parts[0] != "demo":
            texts = Texts(constants=place.as_posix() not in HELP)
            texts.visit(ast.parse(path.read_text()))
            found |= texts.found
    return {in_short(text) for text in found if len(text.replace("…", " ").split()) > 2} - PARTS  # a phrase


def documented() -> set[str]:
    """Return the messages in the first column of the page's tables."""
    tables = re.findall(r"^\| message \| what to do \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    cells = [row.split(" | ")[0] for table in tables for row in table.splitlines()]
    return {in_short(text or other) for cell in cells for other, text in re.findall(r"``(.+?)``|`([^`]+)`", cell)}


def test_every_message_is_documented() -> None:
    """The page lists exactly the messages of the code and the chart, with `…` for what varies."""
    formats = re.findall(r'(?:append \$problems|fail(?= ")) \(?(?:printf )?"((?:[^"\\]|\\.)*)"', CHART)
    chart = {in_short(re.sub(r"%[sdvq]", "…", text)) for text in formats}
    assert documented() - messages() - chart == set()
    assert (messages() | chart) - documented() == set()
