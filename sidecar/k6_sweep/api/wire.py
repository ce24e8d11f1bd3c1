"""The body of a request and the shapes of the answers, as JSON.

The request's body and the first three fields of an answer are those of the handler that is usually written by hand, so
that its callers need no change.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

from k6_sweep.cluster.history import Record
from k6_sweep.patterns import Pattern

_PatternText = Annotated[StrictStr, Field(min_length=1, max_length=1000)]


class Order(BaseModel):
    """What to sweep."""

    model_config = ConfigDict(
        extra="forbid",  # a misspelled dry_run must not delete
        # What _make_sense() checks: the OpenAPI document must not allow what the endpoint refuses.
        json_schema_extra={
            "anyOf": [
                {"not": {"required": ["dry_run", "dryRun"]}},
                {"properties": {"dry_run": {"const": True}, "dryRun": {"const": True}}},
                {"properties": {"dry_run": {"const": False}, "dryRun": {"const": False}}},
            ],
            "example": {"patterns": ["queue:*"], "dry_run": True},
        },
    )

    # Neither may be null, nor patterns empty: that is what a caller sends whose variable is not set, and the endpoint
    # would sweep all configured patterns, or not only count.
    patterns: list[_PatternText] = Field(
        default_factory=list,
        min_length=1,
        max_length=100,
        description="Key patterns to sweep, each within a configured pattern. Default: the configured patterns.",
    )
    # Strict: pydantic otherwise reads "off" and 0 as false, and the sweep would delete.
    dry_run: StrictBool = Field(default=False, description="Count the keys; delete nothing.")
    dryRun: StrictBool = Field(  # noqa: N815  # the spelling that some callers use
        default=False, description="Another spelling of dry_run; if both are set, they must agree."
    )

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        if {"dry_run", "dryRun"} <= self.model_fields_set and self.dry_run != self.dryRun:
            raise ValueError("dry_run and dryRun disagree; send one of them")
        for text in self.patterns:
            if mistake := Pattern(text).mistake:
                raise ValueError(f"patterns: {text!r} {mistake}")
        return self

    @property
    def counts_only(self) -> bool:
        """Whether the sweep counts keys and deletes nothing."""
        return self.dry_run or self.dryRun

    @property
    def wanted(self) -> tuple[Pattern, ...]:
        """The requested patterns; empty for the configured ones."""
        return tuple(map(Pattern, self.patterns))


class SweepAnswer(BaseModel):
    """A sweep: how it ended, or how far it is."""

    id: str = Field(description="The id of the sweep in /sweeps/{id}.")
    deleted_count: int = Field(description="Deleted keys; 0 in a dry run, where report.matched has the count.")
    patterns: list[str] = Field(
        description="The patterns of the sweep; for a sweep of another replica, empty if longer than 1,000 characters."
    )
    dry_run: bool
    report: dict[str, Any] = Field(
        description="The report of every k6-sweep command. Its status is sweeping, complete, dry-run, incomplete, "
        "refused, failed or error."
    )
    error: str | None = Field(default=None, description="The first errors of the report.")
    who: str = Field(description="The pod, or the host, of the replica that sweeps or swept.")
    since: str = Field(description="When the sweep began.")

    @classmethod
    def of(cls, sweep: Record) -> Self:
        """Return the state of a sweep."""
        errors = sweep.report["errors"]
        return cls(
            id=sweep.id,
            deleted_count=sweep.report["deleted"],
            patterns=list(sweep.patterns),
            dry_run=sweep.dry_run,
            report=dict(sweep.report),
            error=("; ".join(errors[:3]) or sweep.status) if sweep.status.is_failure else None,
            who=sweep.who,
            since=sweep.began,
        )


class SweepLine(BaseModel):
    """One sweep of the list."""

    id: str
    state: str = Field(description="The status of its report: sweeping, complete, dry-run, incomplete, …")
    who: str = Field(description="The pod, or the host, of the replica that sweeps or swept.")
    since: str = Field(description="When the sweep began.")
    deleted_count: int
    dry_run: bool
    link: str = Field(description="The path of its state.")

    @classmethod
    def of(cls, sweep: Record) -> Self:
        """Return the line of a sweep."""
        return cls(
            id=sweep.id,
            state=sweep.status,
            who=sweep.who,
            since=sweep.began,
            deleted_count=sweep.report["deleted"],
            dry_run=sweep.dry_run,
            link=f"/sweeps/{sweep.id}",
        )


class SweepList(BaseModel):
    """The latest sweeps of all replicas, newest first."""

    sweeps: list[SweepLine]
    problem: str | None = Field(
        default=None, description="Why the list has the sweeps of this replica only: it could not read Redis."
    )
