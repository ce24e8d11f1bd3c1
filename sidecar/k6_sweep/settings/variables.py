"""Finds the environment variables that were meant for k6-sweep, and that it would not read."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from k6_sweep.settings.options import PREFIX, Option, Role, suggestion, variable_name

_PRODUCT: Final = "K6"
"""The start of the product's name, which people write before the prefix: K6_SWEEP_KEEP."""
_TYPED_PREFIX: Final = re.compile(r"\A(.*[^A-Z])?\w{0,2}SW?E+P(ER|S)?_")
"""The prefix with a typing error, or with other words before it: SWEP_DRY_RUN, MY_SWEEP_DRY_RUN."""
_IP: Final = r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[?[\da-fA-F]*:[\da-fA-F:.]*\]?)"
_LINKS: Final = tuple(
    (re.compile(name), re.compile(value))
    for name, value in (
        (r"_SERVICE_HOST", _IP),
        (r"_PORT_\d+_(TCP|UDP|SCTP)_PROTO", r"tcp|udp|sctp"),
        (r"_PORT_\d+_(TCP|UDP|SCTP)_PORT", r"\d+"),
        (r"_PORT_\d+_(TCP|UDP|SCTP)_ADDR", _IP),
        (r"_PORT(_\d+_(TCP|UDP|SCTP))?", rf"(tcp|udp|sctp)://{_IP}:\d+"),
    )
)
"""How the variables that the kubelet adds for a Service end, and the form of their values.

Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""


def problems(environ: Mapping[str, str], specs: Mapping[str, Option]) -> Iterator[str]:
    """Yield a sentence for each variable that looks like one of k6-sweep's, but is none.

    The kubelet's variables for a Service whose name begins with "sweep" are recognised by name and value: a value such
    as 18001 is none of the kubelet's, so SWEEP_REDIS_PORT=18001 is a mistake that would lead to another Redis.
    """
    ours = [variable_name(field) for field in specs]
    by_letters = {_letters(variable): variable for variable in ours}
    # Other programs may have a variable such as APP_SWEEP_TIMEOUT, but hardly one such as APP_SWEEP_DRY_RUN.
    protecting = {variable_name(field) for field, spec in specs.items() if spec.role is Role.PROTECTS}
    for name in sorted(set(environ).difference(ours)):
        typed = _TYPED_PREFIX.sub(PREFIX, name.upper())
        if meant := by_letters.get(_letters(name).removeprefix(_PRODUCT)) or (typed if typed in protecting else None):
            yield f"unknown variable {name}; write {meant}"
        elif name.strip().upper().startswith(PREFIX) and not _is_service_link(name, environ):
            yield f"unknown variable {name}" + suggestion(name.upper(), ours)


def _letters(name: str) -> str:
    """Return the name as it is in each spelling: sweep_dry_run, SWEEP-DRY-RUN, SWEEP_DRYRUN."""
    return re.sub(r"[^A-Z0-9]", "", name.upper())


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Return whether the kubelet made this variable for a Service."""
    value = environ[name]
    service, is_port, _ = name.partition("_SERVICE_PORT")
    if is_port:  # a number alone could be a user's: the kubelet has the same one in the Service's address
        same = [f"{service}_PORT_{value}_{protocol}" for protocol in ("TCP", "UDP", "SCTP")]
        return value.isdigit() and any(each in environ and _is_service_link(each, environ) for each in same)
    # "$" alone would also accept a line end after the name.
    return any(re.search(rf"(?:{end.pattern})\Z", name) and form.fullmatch(value) for end, form in _LINKS)
