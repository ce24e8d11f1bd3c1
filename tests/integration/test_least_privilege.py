"""The permissions in docs/redis.md are enough for everything, and each of them is needed."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import exceptions

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.register import Register
from k6_sweep.cluster.slots import TAGS
from k6_sweep.commands.lookout import register_of
from k6_sweep.coordination import Entry
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster, local_cluster
from k6_sweep.errors import DeniedError
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.result import SweepReport
from tests.acceptance.command import k6_sweep
from tests.support import keys_of, move_slot, settings_for, sweep_now, sweep_until

pytestmark = pytest.mark.every_server

LOGIN = {"SWEEP_REDIS_USERNAME": "sweeper", "SWEEP_REDIS_PASSWORD": "secret"}
DOCUMENTED = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
LEAST = re.findall(r"^ACL SETUSER sweeper on >SECRET (.+)$", DOCUMENTED, re.MULTILINE)[0]


def permit(cluster: LocalCluster, rules: str) -> str:
    """Give the user `sweeper` exactly these permissions on all nodes, and return the URL with its login."""
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "sweeper", "reset", "on", ">secret", *rules.split())
    return cluster.url.replace("//", "//sweeper:secret@")


OF_THE_REGISTER = ("+zadd", "+zrem", "+zrange")


@pytest.fixture(scope="module")
def eventful(server_binary: str) -> Iterator[LocalCluster]:
    """A cluster with replicas and a half-moved slot."""
    with local_cluster(server_binary, primaries=3, replicas=3) as cluster:
        write_keys(cluster, (b"test:{%b}%d" % (TAGS[20], i) for i in range(30)))
        move_slot(20, cluster.nodes[0], cluster.nodes[1], keys=10)
        yield cluster


def sweep_eventful(cluster: LocalCluster, rules: str) -> SweepReport:
    """Sweep with these permissions: keys everywhere, a half-moved slot, and a slot full of keys that stay."""
    write_keys(cluster, (b"test:{%b}%d" % (TAGS[slot], i) for slot in range(100, 16384, 50) for i in range(3)))
    link = cluster.nodes[1].link()
    for number in range(20):
        link.ask("ASKING")
        link.ask("SET", b"test:{%b}target%d" % (TAGS[20], number), "x")
    link.close()
    keepers = [b"user:{%b}%d" % (TAGS[40], i) for i in range(6000)]
    write_keys(cluster, [*keepers, *(b"test:{%b}%d" % (TAGS[40], i) for i in range(10))])
    # SCAN never finishes a half-moved slot, so the sweep's time ends once SCAN is used.
    return sweep_until(settings_for(permit(cluster, rules)), lambda progress: progress.slots_asked is None)


def test_it_is_enough_for_everything(eventful: LocalCluster) -> None:
    """With the documented permissions the sweep handles half-moved and very full slots, and waits for replicas."""
    report = sweep_eventful(eventful, LEAST)
    assert (report.status, report.exact, report.slots_done) == ("complete", True, 16384)
    assert not [key for key in keys_of(eventful.primaries) if key.startswith(b"test:")]


@pytest.mark.parametrize(
    "permission", [word for word in LEAST.split() if word.startswith("+") and word not in OF_THE_REGISTER]
)
def test_each_is_needed(permission: str, eventful: LocalCluster) -> None:
    """Without any of the permissions the sweep does less, and reports NOPERM."""
    rules = " ".join(word for word in LEAST.split() if word != permission)
    try:
        report = sweep_eventful(eventful, rules)
    except DeniedError as error:
        said = str(error)
    else:
        assert (report.status, report.exact, report.slots_done) != ("complete", True, 16384)
        said = "NOPERM: SCAN was used" if report.slots_done is None else " ".join(report.errors)
    assert "NOPERM" in said


def use_the_register(cluster: LocalCluster, rules: str) -> Register:
    """Enter a test, let its sweep be owed, and settle it, with these permissions."""
    register = register_of(settings_for(permit(cluster, rules)))
    entry = Entry("run", "load/k6-1", 0.0, (Pattern("test:*"),))
    ended = replace(entry, owed=True)
    register.try_out()
    assert register.enter(entry) == register.read() == [entry]
    assert register.owe(ended) == [ended]
    register.remove([ended])
    assert register.read() == []
    return register


def test_the_register_needs_three_commands(cluster: LocalCluster) -> None:
    """With the documented permissions a test can use the register; the set for all patterns needs a permission more."""
    use_the_register(cluster, LEAST)
    assert keys_of(cluster.primaries) == set()
    Register(settings_for(cluster.url).redis_url, (), Connector(settings_for(cluster.url))).enter(
        Entry("other", "load/k6-2", 0.0, (Pattern("*:x"),))
    )
    assert [each.run for each in register_of(settings_for(permit(cluster, LEAST))).read()] == []
    more = permit(cluster, LEAST + " ~{k6-sweep}runs")
    assert [each.run for each in register_of(settings_for(more)).read()] == ["other"]


@pytest.mark.parametrize("permission", OF_THE_REGISTER)
def test_without_the_register_a_sweep_goes_on(permission: str, cluster: LocalCluster) -> None:
    """Without one of the three commands, `check` warns, and `run` sweeps as if no other test existed."""
    write_keys(cluster, [b"test:1"])
    rules = LEAST.replace(permission, "")
    with pytest.raises(DeniedError, match=r"NOPERM .*on the register"):
        use_the_register(cluster, rules)
    url = permit(cluster, rules)
    checked = k6_sweep("check", "--redis-url", url.replace("sweeper:secret@", ""), "--pattern", "test:*", env=LOGIN)
    assert checked.code == 0
    assert any("without the register of tests" in warning for warning in checked.report["warnings"])
    swept = k6_sweep("run", "--redis-url", url.replace("sweeper:secret@", ""), "--pattern", "test:*", env=LOGIN)
    assert (swept.report["status"], swept.report["deleted"]) == ("complete", 1)
    assert swept.log.count("register of tests not usable") == (permission == "+zrange")
    for node in cluster.primaries:
        node.ask("FLUSHALL")


def test_permission_to_write_keys_is_enough(cluster: LocalCluster) -> None:
    """If a server separates the rights to read and to write keys, the user needs no right to read."""
    write_keys(cluster, (b"test:%d" % i for i in range(100)))
    try:
        url = permit(cluster, LEAST.replace("~test:*", "%W~test:*"))
    except exceptions.ResponseError as error:
        assert "Syntax error" in str(error)  # noqa: PT017  # Redis 6.2 does not separate them
    else:
        assert sweep_now(settings_for(url)).deleted == 100


FORBIDDEN = [
    "GET test:1",
    "SET test:1 x",
    "DEL test:1",
    "EXISTS test:1",
    "UNLINK user:1",
    "ZADD user:1 1 x",
    "ZRANGE {k6-sweep}runs 0 -1",
    "KEYS *",
    "FLUSHALL",
    "FLUSHDB",
    "CONFIG GET *",
    "COMMAND COUNT",
    "CLIENT LIST",
    "INFO",
    "CLUSTER NODES",
    "CLUSTER FAILOVER",
    "ACL LIST",
    "EVAL return(1) 0",
]


def test_nothing_else_is_allowed(cluster: LocalCluster) -> None:
    """A stolen login of this user can read no value, write nothing, and delete no foreign key."""
    permit(cluster, LEAST)
    link = cluster.nodes[0].link()
    link.ask("AUTH", "sweeper", "secret")
    for command in FORBIDDEN:
        with pytest.raises(exceptions.NoPermissionError):
            link.ask(*command.split())
    link.close()


def test_read_only_modes_need_exists(cluster: LocalCluster) -> None:
    """A dry run works with EXISTS and without UNLINK, and its error names EXISTS if that is missing."""
    write_keys(cluster, (b"test:%d" % i for i in range(100)))
    url = permit(cluster, LEAST.replace("+unlink", "+exists"))
    assert sweep_now(settings_for(url, "--dry-run")).matched == 100
    url = permit(cluster, LEAST)
    with pytest.raises(DeniedError, match=r"(?i)exists"):
        sweep_now(settings_for(url, "--dry-run"))


def test_where_administration_is_denied(cluster: LocalCluster) -> None:
    """The sweep needs none of CONFIG, DEBUG, COMMAND and CLIENT, which managed Redis blocks."""
    write_keys(cluster, (b"test:%d" % i for i in range(100)))
    url = permit(cluster, "~* +@all -config -debug -command -client")
    report = sweep_now(settings_for(url))
    assert (report.status, report.deleted, report.exact) == ("complete", 100, True)
