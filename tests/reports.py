"""Reads reports as a program of a user does, and holds each of them against the schema that the package has."""

import json
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA: dict[str, Any] = json.loads((resources.files("k6_sweep") / "report.schema.json").read_text())
_VALIDATOR = Draft202012Validator(SCHEMA | {"additionalProperties": False})
"""The schema lets a reader ignore new fields; here, each new field must be in it."""


def checked(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report that the schema describes completely."""
    _VALIDATOR.validate(report)
    return report


def report_in(text: str | bytes) -> dict[str, Any]:
    """Return the report in the JSON of an output or a message."""
    return checked(json.loads(text))
