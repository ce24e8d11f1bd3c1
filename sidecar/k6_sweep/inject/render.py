"""Writes values as YAML for people: short parts on one line, multi-line texts as blocks."""

import json
import re
from typing import Any, Final

import yaml

_SHORT: Final = 90
_NO_TEXT_TO_OTHERS: Final = re.compile(r"y|n|yes|no|on|off|[-+]?\.?[0-9][-+0-9_.xoa-f]*", re.IGNORECASE)
"""Booleans and numbers (1e3, 0o7) of Kubernetes' YAML parser that are texts to PyYAML."""
_NO_WRAPPING: Final = 1 << 20


class _Dumper(yaml.SafeDumper):
    """Writes the outermost value in block style, and indents the lists in it."""

    flat = False
    """Whether the dashes of a list stand under its key, not two columns to the right."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless and self.flat)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML calls it
        return True

    def represent(self, data: Any) -> None:
        node = self.represent_data(data)
        if isinstance(node, yaml.CollectionNode):
            node.flow_style = not data
        self.serialize(node)


class _FlatDumper(_Dumper):
    flat = True


def _represent(dumper: yaml.SafeDumper, value: Any) -> yaml.Node:
    if isinstance(value, str):
        style = "|" if "\n" in value else '"' if _NO_TEXT_TO_OTHERS.fullmatch(value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)
    as_json = json.dumps(value)
    flow = len(as_json) <= _SHORT and "\\n" not in as_json
    if isinstance(value, dict):
        return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=flow)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flow)


for _kind in (str, dict, list):
    yaml.add_representer(_kind, _represent, Dumper=_Dumper)
    yaml.add_representer(_kind, _represent, Dumper=_FlatDumper)


def in_block(value: Any, column: int = 0, *, flat: bool = False) -> str:
    """Return a mapping or a list as lines that begin at this column, the last with its line end."""
    dumper = _FlatDumper if flat else _Dumper
    text = yaml.dump(value, Dumper=dumper, sort_keys=False, width=_NO_WRAPPING, allow_unicode=True)
    return "".join(" " * column + line if line.strip() else line for line in text.splitlines(keepends=True))


def in_flow(value: Any) -> str:
    """Return a value on one line, as JSON, which is YAML too."""
    return json.dumps(value, ensure_ascii=False)
