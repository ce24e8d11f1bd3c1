"""A Redis in memory for tests without a server: one link that answers with a function, or a cluster of nodes.

`FakeCluster` is for the rules of retries. Its nodes answer like real ones while slots move between them, and a script
defines the events between two commands. Only the network is missing: redis-py and `Link` create and judge the errors.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (redirection, live reshards).
"""

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zlib import crc32

import hiredis
from redis import exceptions
from redis.connection import Connection

from k6_sweep.cluster.link import Link, PipelinedConnection, Sent
from k6_sweep.cluster.slots import ALL_SLOTS, SLOT_COUNT, TAGS, key_slot
from k6_sweep.errors import UnreachableError
from k6_sweep.settings.values import Address

Answer = Callable[[list[bytes]], Any]
ALWAYS: Final = 1 << 31
HANG: Final = "the command is not answered until the link is closed"
Happens = str | Exception | Callable[[], object]
"""An error that the server replies, an exception that the connection raises, or a step before the command runs."""


def key(slot: int, number: int = 0) -> bytes:
    """Return a key of a slot; `test:*` matches it."""
    return b"test:{%b}:%d" % (TAGS[slot], number)


def _words(packed: Iterable[bytes]) -> list[list[bytes]]:
    reader = hiredis.Reader()
    for part in packed:
        reader.feed(part)
    commands = []
    while (command := reader.gets()) is not False:
        commands.append(command)
    return commands


class FakeLink(Link):
    """A link whose server is a function from a command to its reply."""

    def __init__(self, answer: Answer, name: str = "redis-0:6379") -> None:
        self.name = name
        self.closed = False
        self.shortest_trip = self.in_trips = self.waited = 0.0
        self.trips = 0
        self.sent: list[list[bytes]] = []
        self._answer = answer

    def close(self) -> None:
        self.closed = True

    def send(self, commands: Sequence[bytes]) -> Sent:
        words = _words(commands)
        self.sent += words
        sent = Sent(self, len(words))
        sent.received = [self._answer(command) for command in words]
        return sent


@dataclass(eq=False)
class FakeNode:
    """One primary."""

    name: str
    replicas: int
    acknowledging: int
    """How many replicas answer WAIT in time."""
    version: bytes = b"7.0.15"
    copies: int = 0
    """How many of its keys an atomic migration is copying to it, which DBSIZE does not count."""
    up: bool = True
    slots: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    """The keys that it holds, by slot; it may not own the slot."""
    expires: dict[bytes, float] = field(default_factory=dict)
    sets: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)
    """The members of its sorted sets, with their scores."""
    migrating: dict[int, "FakeNode"] = field(default_factory=dict)
    importing: dict[int, "FakeNode"] = field(default_factory=dict)

    @property
    def address(self) -> Address:
        return Address(self.name, 6379)

    @property
    def keys(self) -> dict[bytes, bytes]:
        return dict(itertools.chain.from_iterable(held.items() for held in self.slots.values()))

    def holds(self, key: bytes) -> bool:
        return key in self.slots.get(key_slot(key), {})

    def put(self, key: bytes, value: bytes = b"") -> None:
        self.slots.setdefault(key_slot(key), {})[key] = value

    def take(self, key: bytes) -> bytes | None:
        self.expires.pop(key, None)
        self.sets.pop(key, None)
        return self.slots.get(key_slot(key), {}).pop(key, None)

    def say(self, command: list[bytes]) -> Any:
        """Return the reply to a command about the node itself."""
        match command:
            case [b"HELLO"]:
                return [b"server", b"redis", b"version", self.version, b"mode", b"cluster", b"role", b"master"]
            case [b"CLUSTER", b"COUNTKEYSINSLOT", slot]:
                return len(self.slots.get(int(slot), {}))
            case [b"CLUSTER", b"GETKEYSINSLOT", slot, limit]:
                return list(self.slots.get(int(slot), {}))[: int(limit)]
            case [b"SCAN", cursor, b"COUNT", count]:
                return self._page(int(cursor), int(count))
            case [b"WAIT", _, _]:
                return self.acknowledging
            case _:
                assert command == [b"ASKING"]
                return b"OK"

    def do(self, command: list[bytes], now: float) -> Any:
        """Return the reply to a command about keys that it has."""
        match command:
            case [b"UNLINK", *keys]:
                return sum(self.take(each) is not None for each in keys)
            case [b"EXISTS", *keys]:
                return sum(map(self.holds, keys))
            case [b"GET", key]:
                return self.slots.get(key_slot(key), {}).get(key)
            case [b"ZADD" | b"ZREM" | b"ZRANGE", *_]:
                return self._with_set(command)
            case [b"SET", key, value, *condition, b"PX", milliseconds]:
                if condition and self.holds(key) is not (condition == [b"XX"]):
                    return None
                self.put(key, value)
                self.expires[key] = now + int(milliseconds) / 1000
                return b"OK"
            case _:
                raise AssertionError(command)

    def _with_set(self, command: list[bytes]) -> Any:
        """Return the reply to a command on a sorted set; an empty set does not exist."""
        name, key, *more = command
        members = self.sets.get(key, {})
        if name == b"ZRANGE":
            assert more == [b"0", b"-1", b"WITHSCORES"]
            return [part for pair in members.items() for part in pair]
        if name == b"ZADD":
            self.put(key)
            self.sets.setdefault(key, {})[more[1]] = more[0]
            return 1
        removed = [members.pop(member, None) for member in more]
        if not members:
            self.take(key)
        return len(removed) - removed.count(None)

    def _page(self, cursor: int, count: int) -> list[Any]:
        """Return a page of SCAN, in an order of the keys that deletes do not change: no key that stays is missed."""
        left = sorted((crc32(each) + 1, each) for each in self.keys if crc32(each) >= cursor)
        page, rest = left[:count], left[count:]
        return [b"%d" % (page[-1][0] if rest else 0), [each for _, each in page]]


@dataclass
class _Event:
    word: bytes
    happens: Happens
    node: FakeNode | None
    slot: int | None
    skip: int
    times: int

    def is_due(self, node: FakeNode, command: list[bytes]) -> bool:
        """Return whether it happens before this command: the command matches, and the skipped ones are over."""
        if self.word not in command[:2] or self.node not in {None, node} or self.slot not in {None, _slot_of(command)}:
            return False
        self.skip -= 1
        if self.skip >= 0 or not self.times:
            return False
        self.times -= 1
        return True


def _slot_of(command: list[bytes]) -> int | None:
    match command:
        case [b"CLUSTER", b"COUNTKEYSINSLOT" | b"GETKEYSINSLOT", slot, *_]:
            return int(slot)
        case [b"UNLINK" | b"EXISTS" | b"SET" | b"GET" | b"ZADD" | b"ZREM" | b"ZRANGE", key, *_]:
            return key_slot(key)
        case _:
            return None


class FakeCluster:
    """Primaries that share the slots in order; `now` is their clock in seconds."""

    def __init__(self, names: str = "abc", replicas: int = 0) -> None:
        self.nodes = {name: FakeNode(name, replicas, acknowledging=replicas) for name in names}
        nodes = list(self.nodes.values())
        self.owner: dict[int, FakeNode] = {slot: nodes[slot * len(nodes) // SLOT_COUNT] for slot in ALL_SLOTS}
        self.now = 0.0
        self.hides_strays = False
        """Whether nodes hide the keys of slots that they neither own nor import, as Redis 8.6 does."""
        self.sent: list[tuple[str, list[bytes]]] = []
        """Each command, with the name of the node that got it."""
        self.connected: list[str] = []
        self.links: list[Link] = []
        self._events: list[_Event] = []
        self._lock = threading.RLock()

    # What tests check.

    def __getitem__(self, name: str) -> FakeNode:
        return self.nodes[name]

    @property
    def url(self) -> str:
        return "redis://a:6379"

    @property
    def keys(self) -> set[bytes]:
        return {key for node in self.nodes.values() if node.up for key in node.keys}

    def got(self, word: bytes) -> list[tuple[str, list[bytes]]]:
        """Return the received commands with this word, each with its node."""
        return [(node, command) for node, command in self.sent if word in command[:2]]

    # Events that tests cause.

    def on(
        self,
        word: bytes,
        happens: Happens,
        node: str | None = None,
        slot: int | None = None,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Let something happen before a command with this word, of this node and slot, after `skip` others."""
        self._events.append(_Event(word, happens, self.nodes[node] if node else None, slot, skip, times))

    def deny(self, word: bytes) -> None:
        """Deny a command."""
        self.on(word, f"NOPERM User k6 has no permissions to run the '{word.decode()}' command", times=ALWAYS)

    def fill(self, *keys: bytes) -> None:
        """Write keys to the nodes that own their slots."""
        for each in keys:
            self.owner[key_slot(each)].put(each)

    def migrate(self, slot: int, to: str, *keys: bytes) -> None:
        """Begin to move a slot; these keys move at once."""
        source, target = self.owner[slot], self.nodes[to]
        source.migrating[slot], target.importing[slot] = target, source
        for each in keys:
            target.put(each, source.take(each) or b"")

    def arrive(self, slot: int) -> None:
        """Move the rest of a slot's keys, and make the target its owner."""
        source = self.owner[slot]
        target = source.migrating.pop(slot)
        del target.importing[slot]
        target.slots.setdefault(slot, {}).update(source.slots.pop(slot, {}))
        self.owner[slot] = target

    def move(self, slot: int, to: str) -> None:
        """Move a slot at once."""
        self.migrate(slot, to)
        self.arrive(slot)

    def break_off(self, slot: int) -> None:
        """Let the owner forget a slot's migration, but not the target: no client can reach the target's keys."""
        del self.owner[slot].migrating[slot]

    def leave_behind(self, node: str, *keys: bytes) -> None:
        """Put keys on a node that does not own their slots, as a migration does whose marks were removed."""
        for each in keys:
            self.nodes[node].put(each)

    def join(self, name: str) -> None:
        """Add a primary that owns no slot."""
        self.nodes[name] = FakeNode(name, 0, 0)

    def fail(self, name: str) -> None:
        """Stop a node."""
        self.nodes[name].up = False

    def take_over(self, name: str, by: str) -> None:
        """Stop a node, and make a replica with its keys the owner of its slots."""
        failed, heir = self.nodes[name], FakeNode(by, 0, 0)
        self.fail(name)
        self.nodes[by] = heir
        for each, value in failed.keys.items():
            heir.put(each, value)
        self.owner = {slot: heir if node is failed else node for slot, node in self.owner.items()}

    # Replies.

    def connect(self, address: Address) -> Link:
        self.connected.append(address.host)
        node = self.nodes.get(address.host)
        if node is None or not node.up:
            raise UnreachableError(f"cannot reach {address}: Connection refused")
        link = Link(_FakeConnection(self, node), str(address))
        self.links.append(link)
        return link

    def answer(self, connection: "_FakeConnection", command: list[bytes]) -> Any:
        """Return a node's reply; an error is in redis-py's form.

        Raises:
            redis.exceptions.ConnectionError: The connection breaks.
        """
        node = connection.node
        with self._lock:
            self.sent.append((node.name, command))
            happens = self._what_happens(node, command)
            if happens is None and node.up:
                reply = self._reply(node, command, asking=connection.asking)
                connection.asking = command == [b"ASKING"]
                return connection.error(reply) if isinstance(reply, str) else reply
        if happens is HANG:
            connection.gone.wait(30)
        elif isinstance(happens, str):
            return connection.error(happens)
        elif happens is not None:
            raise happens
        raise exceptions.ConnectionError("Connection closed by server.")

    def _what_happens(self, node: FakeNode, command: list[bytes]) -> str | Exception | None:
        for event in self._events:
            if event.is_due(node, command):
                happens = event.happens() if callable(event.happens) else event.happens
                if isinstance(happens, str | Exception):
                    return happens
        return None

    def _reply(self, node: FakeNode, command: list[bytes], *, asking: bool) -> Any:
        for each in [each for each, moment in node.expires.items() if moment <= self.now]:
            node.take(each)
        if command == [b"CLUSTER", b"SLOTS"]:
            return self._slots()
        if command == [b"CLUSTER", b"NODES"]:
            return "\n".join(self._line(each, myself=each is node) for each in self.nodes.values()).encode()
        if command == [b"DBSIZE"]:
            return len(node.keys) - node.copies
        slot = _slot_of(command)
        if slot is not None and command[0] == b"CLUSTER" and self._hides(node, slot):
            return 0 if command[1] == b"COUNTKEYSINSLOT" else []
        if slot is None or command[0] == b"CLUSTER":
            return node.say(command)
        keys = command[1:] if command[0] in {b"UNLINK", b"EXISTS"} else command[1:2]
        return self._turned_away(node, slot, keys, asking=asking) or node.do(command, self.now)

    def _hides(self, node: FakeNode, slot: int) -> bool:
        return self.hides_strays and self.owner.get(slot) is not node and slot not in node.importing

    def _turned_away(self, node: FakeNode, slot: int, keys: list[bytes], *, asking: bool) -> str | None:
        """Return why a node refuses a command on these keys; None if it accepts it.

        Source: getNodeByQuery in cluster.c of Redis 7.
        """
        missing = [each for each in keys if not node.holds(each)]
        owner = self.owner.get(slot)
        refusal = None
        if {key_slot(each) for each in keys} != {slot}:
            refusal = "CROSSSLOT Keys in request don't hash to the same slot"
        elif owner is None:
            refusal = "CLUSTERDOWN Hash slot not served"
        elif node is not owner and not (asking and slot in node.importing):
            refusal = f"MOVED {slot} {owner.address}"
        elif node is owner and slot in node.migrating and len(missing) == len(keys):
            refusal = f"ASK {slot} {node.migrating[slot].address}"
        elif (node is not owner or slot in node.migrating) and missing and len(keys) > 1:
            refusal = "TRYAGAIN Multiple keys request during rehashing of slot"
        return refusal

    def _slots(self) -> list[Any]:
        entries: list[Any] = []
        for node, run in itertools.groupby(ALL_SLOTS, self.owner.get):
            slots = list(run)
            if node is not None:
                names = [node.name, *(f"{node.name}-replica-{number}" for number in range(node.replicas))]
                entries.append([slots[0], slots[-1], *([name.encode(), 6379, name.encode(), []] for name in names)])
        return entries

    @staticmethod
    def _line(node: FakeNode, *, myself: bool) -> str:
        marks = [f"[{slot}->-{target.name}]" for slot, target in node.migrating.items()]
        marks += [f"[{slot}-<-{source.name}]" for slot, source in node.importing.items()]
        flags = ("myself,master" if myself else "master") + ("" if node.up else ",fail")
        return " ".join([node.name, f"{node.address}@16379", flags, "- 0 0 1 connected", *(marks if myself else [])])


class _FakeConnection(PipelinedConnection, Connection):
    """A redis-py connection with a node of the cluster in place of the socket."""

    def __init__(self, cluster: FakeCluster, node: FakeNode) -> None:
        super().__init__(protocol=2, driver_info=None)  # type: ignore[no-untyped-call]  # redis-py's
        self._cluster = cluster
        self.node = node
        self.asking = False
        self.gone = threading.Event()
        self._sent: list[list[bytes]] = []

    def error(self, text: str) -> Exception:
        """Return an error in redis-py's form."""
        made: Exception = self._parser.parse_error(text)
        return made

    def send_packed_command(self, command: Iterable[bytes], check_health: bool = True) -> None:  # noqa: ARG002  # redis-py's
        self._sent += _words(command)

    def _read(self, count: int) -> list[Any]:
        now, self._sent = self._sent[:count], self._sent[count:]
        assert len(now) == count
        return [self._cluster.answer(self, command) for command in now]

    def has_ended(self) -> bool:
        return self.gone.is_set()

    def disconnect(self, *args: object, **options: object) -> None:
        super().disconnect(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's
        self.gone.set()
