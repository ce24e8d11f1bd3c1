"""Which of several tests on one Redis sweeps: the rules, and stories of up to four tests in any order."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from k6_sweep.cluster.register import Register
from k6_sweep.coordination import LIFETIME, RENEWAL, Decision, Entry, Step, decide, owed, running, settled
from k6_sweep.patterns import Pattern
from tests.support import settings_for
from tests.unit.cluster.fake_redis import FakeCluster


def entry(run: str, *patterns: str, keep: tuple[str, ...] = (), sweeps: bool = True, ended: bool = False) -> Entry:
    globs = tuple(map(Pattern, patterns or ("test:*",)))
    return Entry(run, f"load/{run}", 0.0, globs, tuple(map(Pattern, keep)), sweeps, ended)


MINE = entry("mine", keep=("test:keep:*",))


def step(*others: Entry, now: float = 0.0) -> Decision:
    return decide(MINE, others, now, wait_until=10.0)


def test_alone_it_sweeps() -> None:
    """Tests that have ended, tests of other keys, and the same test restarted are no reason to wait."""
    assert step() == Decision(Step.SWEEP)
    assert step(MINE, entry("ended", ended=True), entry("apart", "other:*")) == Decision(Step.SWEEP)


def test_the_last_one_out_sweeps() -> None:
    """It hands over to a test whose sweep deletes all of its keys, also if a third one is in the way of that one."""
    for heir in (entry("same"), entry("wider", "x:*", "tes*"), entry("keeps", keep=("test:keep:a*", "user:*"))):
        assert step(heir) == Decision(Step.HAND_OVER, heir)
        assert step(entry("narrower", "test:a:*"), heir) == Decision(Step.HAND_OVER, heir)


def test_it_waits_for_a_test_that_would_leave_keys() -> None:
    """It waits, and gives up when its time is over, if the other test deletes less or perhaps nothing."""
    for other in (
        entry("narrower", "test:a:*"),
        entry("preserves", sweeps=False),
        entry("keeps more", keep=("test:*:1",)),
        entry("partly", "*:a", "other:*"),
    ):
        assert step(other, now=9.9) == Decision(Step.WAIT, other)
        assert step(other, now=10.0) == Decision(Step.GIVE_UP, other)


def test_who_is_in_the_way_of_a_sweep() -> None:
    """Running tests that overlap are in the way, the oldest first; an owed sweep is not, but it is named."""
    register = [replace(entry("young"), since=2.0), entry("ended", ended=True), entry("old"), entry("apart", "a:*")]
    patterns = [Pattern("test:a:*")]
    assert [each.run for each in running(register, patterns)] == ["old", "young"]
    assert [each.run for each in owed(register, patterns)] == ["ended"]


def test_what_a_complete_sweep_settles() -> None:
    """A complete sweep settles its own debt and those that it covers; one that preserved keys settles only its own."""
    register = [entry("a", ended=True), entry("b", "test:b:*", ended=True), entry("c", "x:*", ended=True), entry("d")]
    assert [each.run for each in settled(entry("a"), register)] == ["a", "b"]
    assert [each.run for each in settled(entry("a", sweeps=False), register)] == ["a"]


# Stories: the register is the real one, on a cluster in memory; only k6, the sweep and the clock are played.

_PATTERNS = (("a:*",), ("a:*", "b:*"), ("a:x:*",), ("b:*",), ("a*", "b:*"), ("[ab]:*",))
_KEYS = (b"a:1", b"a:x:1", b"b:1", b"a1")


@dataclass
class Played:
    """A test and its watcher."""

    mine: Entry
    register: Register
    running: bool = False
    dead: bool = False
    renewed: float = 0.0
    waits: bool = False
    seen: list[Entry] = field(default_factory=list)


class World:
    """What the tests share: Redis, and the time."""

    def __init__(self) -> None:
        self.redis = FakeCluster()
        self.tests: list[Played] = []
        self.keys: dict[bytes, set[str]] = {}
        """Which tests wrote each key."""

    def start(self, patterns: tuple[str, ...], sweeps: bool, clock_ahead: float) -> None:
        globs = tuple(map(Pattern, patterns))
        link = settings_for(self.redis.url).redis_url
        register = Register(link, globs, self.redis.connect, lambda: self.redis.now + clock_ahead)
        test = Played(entry(str(len(self.tests)), *patterns, sweeps=sweeps), register, running=True)
        self.tests.append(test)
        self.renew(test)
        self.write(test)

    def write(self, test: Played) -> None:
        for key in _KEYS:
            if any(_matches(pattern, key) for pattern in test.mine.patterns):
                self.keys.setdefault(key, set()).add(test.mine.run)

    def renew(self, test: Played) -> None:
        test.register.enter(test.mine)
        test.renewed = self.redis.now

    def end(self, test: Played) -> None:
        test.running = False
        self.look(test)

    def look(self, test: Played) -> None:
        test.seen = test.register.owe(replace(test.mine, owed=True))
        decision = decide(test.mine, test.seen, 0.0, 1.0)
        test.waits = decision.step is Step.WAIT
        if decision.step is Step.SWEEP:
            self.sweep(test.mine, test.register, test.seen)

    def sweep(self, mine: Entry, register: Register, seen: list[Entry]) -> None:
        for key in [key for key in self.keys if any(_matches(pattern, key) for pattern in mine.patterns)]:
            for test in self.tests:
                assert not (test.mine.run in self.keys[key] and self.is_live(test)), f"{key!r} of a live test"
            del self.keys[key]
        register.remove(settled(replace(mine, sweeps=True), seen))

    def is_live(self, test: Played) -> bool:
        """Return whether k6 runs and its watcher is alive, or may be."""
        return test.running and not (test.dead and self.redis.now > test.renewed + LIFETIME - 60)

    def pass_time(self, seconds: float) -> None:
        until = self.redis.now + seconds
        while self.redis.now < until:
            self.redis.now = min(until, self.redis.now + RENEWAL)
            for test in self.tests:
                if test.running and not test.dead:
                    self.renew(test)
                elif test.waits and not test.dead:
                    self.look(test)


def _matches(pattern: Pattern, key: bytes) -> bool:
    return Pattern.exactly(key.decode()).is_within(pattern)


@st.composite
def stories(draw: DrawFn) -> list[tuple[str, int, int]]:
    """Return events: what happens, to which test, and a number that it takes."""
    events = st.tuples(st.sampled_from(["start", "end", "write", "time", "die"]), st.integers(0, 3), st.integers(0, 11))
    return draw(st.lists(events, max_size=25))


def played(story: list[tuple[str, int, int]], sweeps: Callable[[int], bool] = lambda _: True) -> World:
    world = World()
    for what, which, number in story:
        test = world.tests[which] if which < len(world.tests) else None
        if what == "start" and len(world.tests) < 4:
            world.start(_PATTERNS[number % 6], sweeps(number), (-60.0, 0.0, 60.0)[number % 3])
        elif what == "time":
            world.pass_time((1, 100, 700)[number % 3])
        elif test is None or test.dead:
            continue
        elif what == "die":
            test.dead, test.waits = True, False
        elif test.running:
            (world.end if what == "end" else world.write)(test)
    return world


def ended(world: World) -> World:
    """Let every test that still runs end, after the entries of the dead have expired."""
    world.pass_time(LIFETIME + 200)
    for test in world.tests:
        if test.running and not test.dead:
            world.end(test)
    world.pass_time(LIFETIME)
    return world


@settings(max_examples=100)
@given(stories())
def test_no_story_loses_a_key_of_a_live_test_or_forgets_one(story: list[tuple[str, int, int]]) -> None:
    """No sweep deletes a key of a live test. At the end each key belongs to a dead test, or its sweep is owed."""
    world = ended(played(story, sweeps=lambda number: number < 9))
    register = Register(settings_for(world.redis.url).redis_url, (), world.redis.connect, lambda: world.redis.now)
    left = register.read()
    assert all(each.owed for each in left)
    for key, writers in world.keys.items():
        for run in writers:
            test = world.tests[int(run)]
            assert test.dead or any(each.run == run for each in left), f"{key!r} is forgotten"


@settings(max_examples=100)
@given(stories())
def test_when_nobody_dies_nothing_is_left(story: list[tuple[str, int, int]]) -> None:
    """When the last test has ended, and none died, there is no key and no entry; whatever each one deletes."""
    world = ended(played([event for event in story if event[0] != "die"], sweeps=lambda number: number < 9))
    assert world.keys == {}
    assert world.redis.keys == set()


@settings(max_examples=100)
@given(stories(), st.sampled_from(_PATTERNS))
def test_a_survivor_finds_what_is_owed(story: list[tuple[str, int, int]], patterns: tuple[str, ...]) -> None:
    """A test that ends after the dead have expired leaves no key and no debt of its patterns."""
    world = ended(played(story))
    world.start(patterns, True, 0.0)  # a fifth one
    world.end(world.tests[-1])
    mine = world.tests[-1].mine
    assert not [key for key in world.keys if any(_matches(pattern, key) for pattern in mine.patterns)]
    assert not [each for each in world.tests[-1].register.read() if mine.covers(each)]
