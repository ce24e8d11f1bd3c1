"""How inject writes values as YAML."""

import pytest
import yaml

from k6_sweep.inject.render import in_block


@pytest.mark.parametrize("text", ["1e3", "12E4", "0o7", "0x1f", "1_000", ".5", "+1", "y", "Off", "60", "2026-11-26"])
def test_a_text_that_kubernetes_would_read_as_something_else_has_quotes(text: str) -> None:
    """A variable's value stays a text for every YAML parser: some read 1e3 as a number where PyYAML reads a text."""
    written = in_block({"value": text})
    assert written.rstrip()[len("value: ")] in "'\""
    assert yaml.safe_load(written) == {"value": text}
