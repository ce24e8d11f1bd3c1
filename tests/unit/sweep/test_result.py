"""The counts of a sweep in two parts."""

from k6_sweep.status import Status
from k6_sweep.sweep.result import SweepReport


def part(deleted: int, patterns: dict[str, int], *, exact: bool = True, errors: tuple[str, ...] = ()) -> SweepReport:
    return SweepReport(
        status=Status.COMPLETE,
        deleted=deleted,
        matched=deleted,
        remaining=0,
        remaining_by_pattern={},
        preserved=0,
        preserved_by_pattern={},
        exact=exact,
        patterns=patterns,
        slots_done=16384,
        slots_asked=16384,
        shards={"a:6379": deleted},
        passes=2,
        retries=0,
        seconds=1.5,
        errors=errors,
        warnings=("--pattern 'b:*' matched no key",),
    )


def test_the_counts_of_an_interrupted_sweep_are_those_of_both_parts() -> None:
    """A sweep that another test interrupted reports what it deleted before and after, and why a count is not exact."""
    both = part(3, {"a:*": 1, "b:*": 2}).after(part(4, {"a:*": 4}, exact=False, errors=("a delete got no answer",)))
    assert (both.deleted, both.matched, both.passes, both.seconds, both.exact) == (7, 7, 4, 3.0, False)
    assert both.patterns == {"a:*": 5, "b:*": 2}
    assert both.shards == {"a:6379": 7}
    assert both.errors == ("a delete got no answer",)
    assert both.warnings == ()
    assert part(3, {}).after(None) == part(3, {})
