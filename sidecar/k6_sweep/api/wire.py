"""What goes over the wire: the body of a request, and the shapes of the answers.

The request's body and the first three fields of an answer are those of the handler that is usually written by hand, so
that its callers can stay as they are.
"""

import json
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError
from pydantic_core import ErrorDetails

from k6_sweep.api.sweeps import Sweep
from k6_sweep.patterns import Pattern
from k6_sweep.settings.values import pattern_of

MOST_BYTES: Final = 64 * 1024
"""The longest body that is read."""
MOST_PATTERNS: Final = 100
MOST_CHARACTERS: Final = 1000
"""Of a pattern."""


_PatternText = Annotated[StrictStr, Field(min_length=1, max_length=MOST_CHARACTERS)]


class BadBodyError(Exception):
    """The body is not what it must be; the message says why."""


class Order(BaseModel):
    """What to sweep."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"not": {"required": ["dry_run", "dryRun"]}},
                {"properties": {"dry_run": {"const": True}, "dryRun": {"const": True}}},
                {"properties": {"dry_run": {"const": False}, "dryRun": {"const": False}}},
                {"properties": {"dry_run": {"type": "null"}}},
                {"properties": {"dryRun": {"type": "null"}}},
            ],
            "example": {"patterns": ["queue:*"], "dry_run": True},
        },
    )

    patterns: list[_PatternText] | None = Field(
        default=None,
        max_length=MOST_PATTERNS,
        description="Patterns of keys, each within a configured one; without any, the configured ones.",
    )
    dry_run: StrictBool | None = Field(default=None, description="Count, and delete nothing.")
    dryRun: StrictBool | None = Field(  # noqa: N815  # the other spelling of callers
        default=None, description="The same as dry_run; if both are given, they must agree."
    )

    @property
    def counts_only(self) -> bool:
        """Whether nothing is to be deleted."""
        return bool(self.dry_run or self.dryRun)

    def wanted(self) -> tuple[Pattern, ...]:
        """Return the patterns that were asked for; none where the configured ones are meant.

        Raises:
            BadBodyError: One doesn't mean what it says.
        """
        found = []
        for text in self.patterns or ():
            try:
                text.encode()
                found.append(pattern_of(text))
            except UnicodeEncodeError:
                raise BadBodyError("patterns: half of a surrogate pair is no text") from None
            except ValueError as error:
                raise BadBodyError(f"patterns: {error}") from None
        return tuple(found)


def read_order(body: bytes) -> Order:
    """Read a request's body.

    Raises:
        BadBodyError: It is not a JSON object with just the known fields, each once.
    """
    try:
        order = Order.model_validate(json.loads(body, object_pairs_hook=_each_once))
    except RecursionError:
        raise BadBodyError("the body is nested too deep") from None
    except ValidationError as error:
        raise BadBodyError("; ".join(_in_our_words(each) for each in error.errors())) from None
    except ValueError as error:  # JSON's own, and that of bytes that are no UTF-8
        raise BadBodyError(f"the body is not JSON: {error}; send {{}} for the configured patterns") from None
    if None not in {order.dry_run, order.dryRun} and order.dry_run != order.dryRun:
        raise BadBodyError("dry_run and dryRun disagree; send one of them")
    return order


def _in_our_words(error: ErrorDetails) -> str:
    place = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown field {place!r}; there are {', '.join(Order.model_fields)}"
    return f"{place}: {error['msg']}" if place else "the body must be a JSON object"


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadBodyError("a field stands twice in the body")
    return found


class SweepAnswer(BaseModel):
    """A sweep: how it ended, or how far it is."""

    id: str = Field(description="What GET and DELETE /sweeps/{id} know it by.")
    deleted_count: int = Field(description="Keys deleted; 0 in a dry run, where report.matched says how many would go.")
    patterns: list[str] = Field(description="The patterns that it is about.")
    dry_run: bool
    report: dict[str, Any] = Field(
        description="The report of every k6-sweep command. Its status is sweeping, complete, dry-run, incomplete, "
        "refused, failed or error."
    )
    error: str | None = Field(default=None, description="What went wrong: the first few of the report's errors.")

    @classmethod
    def of(cls, sweep: Sweep) -> "SweepAnswer":
        """Return what there is to tell of a sweep now."""
        report = sweep.report()
        return cls(
            id=sweep.id,
            deleted_count=report.counts.deleted,
            patterns=list(sweep.patterns),
            dry_run=sweep.dry_run,
            report=report.as_dict(),
            error=("; ".join(report.problems[:3]) or report.status) if report.status.is_failure else None,
        )


class ProblemAnswer(BaseModel):
    """Why nothing was done."""

    error: str
    id: str | None = Field(default=None, description="The running sweep, where that is in the way.")
