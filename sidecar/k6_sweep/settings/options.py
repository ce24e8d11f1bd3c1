"""Declares settings: makes a dataclass's field an option and a variable, and lists the commands that take it."""

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Any, Final, ParamSpec

from k6_sweep.settings.values import boolean

PREFIX: Final = "SWEEP_"
_Parts = ParamSpec("_Parts")


class TakenBy(Enum):
    """The groups of commands that take a setting, with the reason for each group; each setting names one group.

    `inject` takes the settings that it passes on; each container that it adds gets those that its command takes.
    """

    ALL = ("watch", "run", "serve", "snapshot", "check", "tests", "inject")
    """Each of them reads or deletes the test's keys in Redis and writes a log, or configures a container that does."""
    IN_PLACE = ("watch", "run", "serve", "snapshot", "check", "tests")
    """The setting concerns the machine that connects to Redis: its files, logins and log. `inject` runs elsewhere."""
    SWEEPING = ("watch", "run", "serve", "inject")
    """Only these commands delete keys."""
    SWEEPING_IN_PLACE = ("watch", "run", "serve")
    """Only these commands delete keys, and the setting concerns a local file; `inject` sets its path itself."""
    SWEEPING_OR_CHECK = ("watch", "run", "serve", "check", "inject")
    """The setting limits the deletion, and `check` tests it in advance; a snapshot contains all keys."""
    ON_REQUEST = ("run", "serve")
    """These commands sweep at a moment that a person or another program chooses."""
    SNAPSHOT = ("snapshot",)
    """Only `snapshot` writes a snapshot."""
    WAITING = ("watch", "inject")
    """Only `watch` waits for k6."""
    WAITING_IN_PLACE = ("watch",)
    """Only `watch` waits for k6; `inject` reads these from the manifest, or leaves them at their defaults."""
    UNTIL_SIGTERM = ("watch", "serve")
    """These commands run until the kubelet ends them; `inject` computes how long that may take."""
    RUN = ("run",)
    """Only `run` is started by a person who reads its terminal."""
    ONE_SWEEP = ("watch", "run", "inject")
    """These commands end with one sweep and report it; `serve` shows the counts of its sweeps at /metrics."""
    ONE_SWEEP_IN_PLACE = ("watch", "run")
    """The same commands, except `inject`: the setting is a file on the machine that sweeps."""
    ENDING = ("watch", "run", "snapshot", "check", "tests")
    """The exit code of these commands is their result; `inject` derives the right policy from the manifest."""
    SERVE = ("serve",)
    """Only `serve` has an endpoint."""
    INJECT = ("inject",)
    """The setting concerns the manifests; `inject` does not pass it on."""


class Role(Enum):
    """What a mistake in a setting can do. Each setting declares one; docs/settings.md shows it."""

    SELECTS = "selects"
    """It decides what is swept: a mistake sweeps too little, or is stopped by what protects."""
    PROTECTS = "protects"
    """It limits what is swept and when, and which clients may ask for it: with a mistake, k6-sweep could delete
    keys of others. So it is read strictly: an empty or doubtful value is a problem, and never "not set"."""
    NEITHER = ""
    """No mistake in it can delete a key that must stay. An empty variable counts as not set."""


@dataclass(frozen=True)
class Option:
    """The option and the variable of a settings field."""

    group: str
    """Its heading in the help and the docs."""
    taken_by: TakenBy
    help: str
    """What it does, its unit, and the effect of leaving it out."""
    _: KW_ONLY
    role: Role
    """What a mistake in it can do."""
    why: str
    """The reason for the default, or for having none; shown in docs/settings.md only."""
    parse: Callable[[str], Any] = str
    """Converts the text to the value; raises ValueError with a clause such as "must be a number"."""
    metavar: str = "TEXT"
    """The name of its value in the help."""
    required: bool = False
    """Whether it must be given."""
    default: Any = None
    """The value if it is not given; not used for a repeatable field, which is then an empty tuple."""
    many: bool = False
    """Whether it may be repeated. The field is a tuple; commas or newlines separate the values in the variable."""
    unites: bool = False
    """Whether the values of the option and of the variable count together; else the option replaces the variable."""
    flag: bool = False
    """Whether it is a boolean, which needs no value on the command line."""
    secret: bool = False
    """Whether it is read from the environment only: every process of the pod can read a command line."""
    shown_default: str | None = None
    """The default in words, if the value of the default does not explain it."""
    letter: str | None = None
    """The letter of its short form: "f" for -f."""

    @property
    def default_text(self) -> str:
        """The default as text for the help and the docs."""
        if self.shown_default:
            return self.shown_default
        if self.required:
            return "required"
        if self.default is None:
            return "none"
        if isinstance(self.default, bool):
            return str(self.default).lower()
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def serves(self, command: str) -> bool:
        """Return whether the command takes it."""
        return command in self.taken_by.value


def _declares(describe: Callable[_Parts, Option]) -> Callable[_Parts, Any]:
    """Return a function that takes an option's parts and declares a dataclass field from them."""

    def declare(*args: _Parts.args, **kwargs: _Parts.kwargs) -> Any:
        described = describe(*args, **kwargs)
        default = dataclasses.MISSING if described.required else () if described.many else described.default
        return dataclasses.field(default=default, metadata={"option": described})

    return declare


def _flag(group: str, taken_by: TakenBy, help_text: str, *, role: Role, why: str) -> Option:
    return Option(
        group, taken_by, help_text, role=role, why=why, parse=boolean, metavar="BOOL", default=False, flag=True
    )


option: Final = _declares(Option)
flag: Final = _declares(_flag)


def options_of(settings: type) -> dict[str, Option]:
    """Return the option of each field, by field name and in the order of declaration."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(settings)}


def flag_name(field: str) -> str:
    """Return the option's name on the command line."""
    return "--" + field.replace("_", "-")


def variable_name(field: str) -> str:
    """Return the environment variable's name."""
    return PREFIX + field.upper()


def suggestion(name: str, candidates: Sequence[str]) -> str:
    """Return a clause with the candidate that is most like this name; empty if none is."""
    near = difflib.get_close_matches(name, candidates, n=1)
    return f"; did you mean {near[0]}?" if near else ""
