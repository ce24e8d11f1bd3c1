"""Declares settings: what makes a dataclass's field an option and a variable, and which commands take it."""

import dataclasses
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Any, Final, ParamSpec

from k6_sweep.settings.values import boolean

PREFIX: Final = "SWEEP_"
_Parts = ParamSpec("_Parts")


class TakenBy(Enum):
    """Which commands take a setting, and why just these; each setting names one of them.

    `inject` takes what it passes on: of that, each container that it adds gets what the container's command takes.
    """

    ALL = ("watch", "run", "serve", "snapshot", "check", "inject")
    """Each talks to Redis about the test's keys and writes a log, or passes on how."""
    IN_PLACE = ("watch", "run", "serve", "snapshot", "check")
    """It belongs to the machine that talks to Redis: its files, its logins, its log. `inject` runs elsewhere."""
    SWEEPING = ("watch", "run", "serve", "inject")
    """Only these delete."""
    SWEEPING_IN_PLACE = ("watch", "run", "serve")
    """Only these delete, from a file at hand; `inject` names the file by itself."""
    SWEEPING_OR_CHECK = ("watch", "run", "serve", "check", "inject")
    """It bounds what is deleted, and `check` says beforehand whether that can work; a snapshot has all keys in it."""
    SNAPSHOT = ("snapshot",)
    """Only it writes a snapshot."""
    WAITING = ("watch", "inject")
    """Only `watch` waits for k6."""
    WAITING_IN_PLACE = ("watch",)
    """Only it waits for k6; `inject` takes these from the manifest, or leaves them at their defaults."""
    UNTIL_SIGTERM = ("watch", "serve")
    """These run until the kubelet ends them; `inject` adds up by itself how long that may take."""
    ONE_SWEEP = ("watch", "run", "inject")
    """These end with one sweep, which they report; `serve` is asked for the counts of its sweeps."""
    ONE_SWEEP_IN_PLACE = ("watch", "run")
    """The same, into a file of the machine that sweeps."""
    ENDING = ("watch", "run", "snapshot", "check")
    """Their exit code says how it went; `inject` knows from the manifest what must follow from it."""
    SERVE = ("serve",)
    """Only it has an endpoint."""
    INJECT = ("inject",)
    """It is about the manifests, and not passed on."""


@dataclass(frozen=True)
class Option:
    """A settings field that is an option and a variable."""

    group: str
    """The heading that it stands under in help and docs."""
    taken_by: TakenBy
    help: str
    """What it does, the unit, and what leaving it out means."""
    _: KW_ONLY
    parse: Callable[[str], Any] = str
    """Turns the text into the value; raises ValueError with a clause such as "must be a number"."""
    metavar: str = "TEXT"
    """How its value is called in help."""
    required: bool = False
    """It must be given."""
    default: Any = None
    """The value where it isn't given; a field that may be repeated has none then, an empty tuple."""
    many: bool = False
    """It may be repeated; the variable separates by comma or newline. The field is a tuple."""
    flag: bool = False
    """It is a yes or no, and needs no value."""
    secret: bool = False
    """It is read from the environment only: a command line can be read by every process of the pod."""
    shown_default: str | None = None
    """The default in words, where its value doesn't say it."""
    letter: str | None = None
    """Its short form: "f" is -f."""

    @property
    def default_text(self) -> str:
        """The default in words."""
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
        """Whether the command takes it."""
        return command in self.taken_by.value


def _declares(describe: Callable[_Parts, Option]) -> Callable[_Parts, Any]:
    """Return a function that takes an option's parts and declares a field by them."""

    def declare(*args: _Parts.args, **kwargs: _Parts.kwargs) -> Any:
        described = describe(*args, **kwargs)
        default = dataclasses.MISSING if described.required else () if described.many else described.default
        return dataclasses.field(default=default, metadata={"option": described})

    return declare


def _flag(group: str, taken_by: TakenBy, help_text: str) -> Option:
    return Option(group, taken_by, help_text, parse=boolean, metavar="BOOL", default=False, flag=True)


option: Final = _declares(Option)
flag: Final = _declares(_flag)


def options_of(settings: type) -> dict[str, Option]:
    """Return each field's option by the field's name, in the order of declaration."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(settings)}


def flag_name(field: str) -> str:
    """Return the option's name on the command line."""
    return "--" + field.replace("_", "-")


def variable_name(field: str) -> str:
    """Return the environment variable's name."""
    return PREFIX + field.upper()
