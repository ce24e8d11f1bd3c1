"""The register of running tests in Redis: sorted sets of entries, whose scores are the times when the entries expire.

Each entry is in the set of each pattern that has a star, which the user of the pattern's keys may write, and in one set
for all patterns, which is open to users without limits. Two tests meet if they have a set in common.
See docs/decisions/0011-tests-meet-in-redis.md.

Source: https://redis.io/docs/latest/commands/zadd/, …/zrange/ and …/zrem/.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from k6_sweep.cluster.link import Connect, pack
from k6_sweep.cluster.own_keys import MARK, ask_owner, own_key, reused
from k6_sweep.cluster.replies import ReplyKind, denial, judge, parsing
from k6_sweep.cluster.sentinel import seeds
from k6_sweep.cluster.slots import key_slot
from k6_sweep.cluster.topology import Topology, discover
from k6_sweep.coordination import LIFETIME, Entry
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.patterns import Pattern
from k6_sweep.settings.redis_url import RedisUrl

_SLACK: Final = 60.0
"""Seconds by which the clock of another machine may be behind."""
_NAME: Final = b"runs"
_FOR_ALL: Final = MARK + _NAME
UNREADABLE: Final = "an unreadable entry of the register"
_NEVER: Final = b"+inf"
"""The score of an owed sweep: only a sweep ends it."""


class _Stored(NamedTuple):
    """A member of a set."""

    member: bytes
    expires: float
    entry: Entry


class Register:
    """The register, as a run with these patterns sees it.

    Its methods raise `UnreachableError` if Redis does not answer now, `DeniedError` if the user may use none of the
    sets, or if Redis has no memory for the entry.
    """

    def __init__(
        self,
        url: RedisUrl,
        patterns: Sequence[Pattern],
        connect: Connect,
        clock: Callable[[], float] = time.time,
        *,
        whole: bool = False,
    ) -> None:
        """Prepare.

        Args:
            url: The address of Redis.
            patterns: The run's patterns.
            connect: Opens links; it limits the time that Redis may take.
            clock: The time, in seconds since 1970.
            whole: All sets must be usable; otherwise one is enough, and some tests may not be met.
        """
        self._whole = whole
        self._url = url
        self._connect = connect
        self._clock = clock
        self._sets = _sets_of(patterns)

    def read(self, topology: Topology | None = None) -> list[Entry]:
        """Return the entries of all tests that this run can meet; remove those that have expired.

        Without the topology, it is read first.
        """
        with self._reached(topology) as asked:
            stored = asked.stored(self._sets)
            expired = {each for found in stored.values() for each in found if self._has_expired(each)}
            with contextlib.suppress(DeniedError):  # a user who may only read leaves this to others
                asked.remove(expired)
        return self._live(stored)

    def try_out(self) -> None:
        """Try the commands that change the register, without a change: the server checks the permissions first."""
        with self._reached() as asked:
            asked.try_out(self._sets)

    def enter(self, entry: Entry) -> list[Entry]:
        """Enter a running test, or renew its entry; return the entries of all tests."""
        return self._replace(entry, b"%.3f" % (self._clock() + LIFETIME))

    def owe(self, entry: Entry, topology: Topology | None = None) -> list[Entry]:
        """Turn the entry of a running test into an owed sweep, then return the entries of all tests.

        In this order: of two tests that end at the same time, each sees that the other one has ended.
        """
        return self._replace(entry, _NEVER, topology)

    def remove(self, entries: Iterable[Entry]) -> None:
        """Remove these entries: of a run that has begun again, the owed one or the running one."""
        gone = {(entry.run, entry.owed) for entry in entries}
        with self._reached() as asked:
            stored = asked.stored(self._sets)
            asked.remove(
                {each for found in stored.values() for each in found if (each.entry.run, each.entry.owed) in gone}
            )

    def _replace(self, entry: Entry, score: bytes, topology: Topology | None = None) -> list[Entry]:
        member = _as_member(entry)
        with self._reached(topology) as asked:
            before = asked.stored(self._sets)
            asked.add(before, score, member)
            former = (each for found in before.values() for each in found if each.entry.run == entry.run)
            asked.remove({each for each in former if each.member != member})
            return self._live(asked.stored(before))

    @contextlib.contextmanager
    def _reached(self, topology: Topology | None = None) -> Iterator["_Sets"]:
        topology = topology or discover(self._connect, seeds(self._url, self._connect))
        with reused(self._connect) as links:
            yield _Sets(links, topology, self._whole)

    def _live(self, stored: Mapping[bytes, Iterable[_Stored]]) -> list[Entry]:
        """Return one entry for each run: the running one if there are two."""
        members = [each for found in stored.values() for each in found if not self._has_expired(each)]
        newest = sorted(members, key=lambda each: (not each.entry.owed, each.expires))
        return list({each.entry.run: each.entry for each in newest}.values())

    def _has_expired(self, stored: _Stored) -> bool:
        return stored.expires + _SLACK < self._clock()


@dataclass(frozen=True)
class _Sets:
    """The sorted sets of a topology."""

    _links: Connect
    _topology: Topology
    whole: bool
    """Whether all sets must be usable: otherwise some tests cannot meet."""

    def stored(self, sets: Iterable[bytes]) -> dict[bytes, list[_Stored]]:
        """Return the members of each set that the user may read."""
        replies = self._ask([(b"ZRANGE", key, b"0", b"-1", b"WITHSCORES") for key in sets])
        found: dict[bytes, list[_Stored]] = {}
        for (_, key, *_), reply in replies.items():
            with parsing("a server", "ZRANGE", reply):
                found[key] = [_stored(member, score) for member, score in zip(reply[::2], reply[1::2], strict=True)]
        return found

    def add(self, sets: Iterable[bytes], score: bytes, member: bytes) -> None:
        """Add a member to each set."""
        self._ask([(b"ZADD", key, score, member) for key in sets])

    def remove(self, gone: Iterable[_Stored]) -> None:
        """Remove members from all sets that they may be in."""
        members: dict[bytes, list[bytes]] = {}
        for each in gone:
            for key in _sets_of(each.entry.patterns):
                members.setdefault(key, []).append(each.member)
        self._ask([(b"ZREM", key, *of_set) for key, of_set in members.items()])

    def try_out(self, sets: Iterable[bytes]) -> None:
        """Renew and remove a member that does not exist."""
        self._ask([(b"ZADD", key, b"XX", b"0", b"-") for key in sets])
        self._ask([(b"ZREM", key, b"-") for key in sets])

    def _ask(self, commands: Sequence[tuple[bytes, ...]]) -> dict[tuple[bytes, ...], Any]:
        """Send commands, each on the set that is its second word; return the replies of those that are permitted."""
        by_slot: dict[int, list[tuple[bytes, ...]]] = {}
        for command in commands:
            by_slot.setdefault(key_slot(command[1]), []).append(command)
        permitted: dict[tuple[bytes, ...], Any] = {}
        denied: list[DeniedError] = []
        for slot, asked in by_slot.items():
            answers = ask_owner(self._links, self._topology, slot, [pack(command) for command in asked])
            for command, reply in zip(asked, answers.replies, strict=True):
                trouble = judge(reply)
                if trouble is None:
                    permitted[command] = reply
                elif trouble.kind is ReplyKind.DENIED:
                    denied.append(denial(answers.node, f"{trouble.text} ({command[0].decode()} on the register)"))
                else:
                    raise UnreachableError(f"{answers.node} cannot use the register of tests now: {trouble.text}")
        if denied and (self.whole or not permitted):
            raise denied[-1]
        return permitted


def _sets_of(patterns: Iterable[Pattern]) -> list[bytes]:
    """Return the keys of the sets of these patterns, and of the set for all patterns."""
    return list(dict.fromkeys([_FOR_ALL, *filter(None, (own_key(each, _NAME) for each in patterns))]))


def _as_member(entry: Entry) -> bytes:
    body = {
        "run": entry.run,
        "who": entry.who,
        "since": entry.since,
        "patterns": [pattern.text for pattern in entry.patterns],
        "keep": [pattern.text for pattern in entry.keep],
        "sweeps": entry.sweeps,
        "owed": entry.owed,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _stored(member: bytes, score: bytes) -> _Stored:
    expires = float(score)
    try:
        entry = _entry(json.loads(member))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        # Perhaps of another version: it may mean any test, so it is in the way of every sweep until it expires.
        entry = Entry(
            f"{UNREADABLE}: {member!r}", UNREADABLE, 0.0, (Pattern("*"),), sweeps=False, owed=expires == float("inf")
        )
    return _Stored(member, expires, entry)


def _entry(body: Any) -> Entry:
    """Return the entry of a member; any other value of JSON raises one of many errors."""
    entry = Entry(
        run=str(body["run"]),
        who=str(body["who"]),
        since=float(body["since"]),
        patterns=tuple(map(Pattern, body["patterns"])),
        keep=tuple(map(Pattern, body["keep"])),
        sweeps=body["sweeps"] is True,
        owed=body["owed"] is True,
    )
    str(entry)  # its time is one that can be shown
    if not entry.patterns or not all(each.regex for each in entry.patterns + entry.keep):
        raise ValueError
    return entry
