"""Refuses a sweep that could delete more than test data; needs only the settings, and no Redis."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from k6_sweep.errors import RefusedError
from k6_sweep.patterns import MIN_LITERAL_START
from k6_sweep.settings.all import Settings


def check_breadth(settings: Settings) -> None:
    """Refuse patterns that begin with too few literal characters.

    Raises:
        RefusedError: A pattern is too broad, and broad patterns are not allowed.
    """
    if broad := settings.broad_patterns:
        names = ", ".join(repr(pattern.text) for pattern in broad)
        raise RefusedError(
            f"pattern {names} starts with fewer than {MIN_LITERAL_START} literal characters, so it could match keys "
            "that are not test data; make it longer, or set --allow-broad-patterns"
        )


def check_namespace(allowed: Sequence[str], namespace: str | None) -> None:
    """Refuse a namespace that matches none of the globs; without globs every namespace is allowed.

    Raises:
        RefusedError: The namespace is not allowed, or not known.
    """
    if not allowed or (namespace is not None and any(fnmatchcase(namespace, glob) for glob in allowed)):
        return
    found = "the Kubernetes namespace is unknown" if namespace is None else f"the namespace is {namespace!r}"
    raise RefusedError(f"{found}, but --allowed-namespace allows only {', '.join(allowed)}")
