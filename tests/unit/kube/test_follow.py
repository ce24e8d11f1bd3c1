"""A follower keeps following objects after every bad answer of the API server."""

import json
from pathlib import Path

import pytest

from k6_sweep.kube.api import ApiServer
from k6_sweep.kube.follow import Broken, Changed, Follower, Listed, Mailbox, News, NoNews
from k6_sweep.kube.roles import PODS
from tests.certificates import Authority
from tests.unit.kube.scripted import EXPIRED, LIST, POD, Answer, Scripted


def line(kind: str, thing: object = POD) -> str:
    return json.dumps({"type": kind, "object": thing}) + "\n"


def news_of(api: ApiServer, cycles: int) -> list[News]:
    """Return a follower's news of this number of cycles of a list and a watch."""
    with Mailbox(lambda: None) as mailbox:
        follower = Follower(api, PODS, {"labelSelector": "app=k6"}, mailbox)
        for _ in range(cycles):
            follower._cycle(0.5)
        return list(mailbox.take())


def changes(found: list[News]) -> list[Changed]:
    return [each for each in found if isinstance(each, Changed)]


BAD_LISTS: dict[str, Answer] = {
    "429": (429, {"Retry-After": "1"}, "{}"),
    "500": (500, {}, json.dumps({"message": "etcdserver: leader changed"})),
    "503": (503, {}, "no JSON at all"),
    "redirect": (302, {"Location": "https://elsewhere.invalid/"}, ""),
    "not JSON": (200, {}, "<html>a proxy's page</html>"),
    "no object": (200, {}, "[]"),
    "no list": (200, {}, "{}"),
    "cut off": (200, {"Content-Length": "1000"}, '{"items": ['),
}


@pytest.mark.parametrize("bad", BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_a_bad_list_is_asked_again(bad: Answer, scripted: Scripted) -> None:
    """After any bad answer the follower asks for the list again and reports the trouble."""
    scripted.answers = [bad, LIST]
    first, second = news_of(scripted.api(), cycles=2)[:2]
    assert isinstance(first, NoNews)
    assert not first.lasting
    assert isinstance(second, Listed)
    assert second.objects == (POD,)


BAD_WATCHES: dict[str, Answer] = {
    "expired in the stream": (200, {}, line("ERROR", {"code": 410, "message": "too old resource version"})),
    "expired at once": (410, {}, "{}"),
    "garbage": (200, {}, "garbage\n"),
    "half a line": (200, {}, line("MODIFIED")[:20]),
    "a line of another shape": (200, {}, "[1]\n"),
    "the end at once": (200, {}, ""),
    "500": (500, {}, "{}"),
}


@pytest.mark.parametrize("bad", BAD_WATCHES.values(), ids=BAD_WATCHES.keys())
def test_a_bad_watch_is_followed_by_a_list(bad: Answer, scripted: Scripted) -> None:
    """After any end of a watch the follower asks for a new list, and watches from its version."""
    scripted.answers = [LIST, bad, LIST, (200, {}, line("MODIFIED"))]
    found = news_of(scripted.api(), cycles=2)
    assert len(changes(found)) == 1
    assert len([each for each in found if isinstance(each, Listed)]) == 2
    assert ["watch=true" in path for path in scripted.asked[:4]] == [False, True, False, True]
    assert "resourceVersion=7&timeoutSeconds=12" in scripted.asked[3]


def test_words_of_a_newer_server_are_passed_over(scripted: Scripted) -> None:
    """Bookmarks and unknown kinds of events change nothing."""
    stream = line("BOOKMARK") + line("REPLACED") + line("ADDED") + line("DELETED")
    scripted.answers = [LIST, (200, {}, stream)]
    found = news_of(scripted.api(), cycles=1)
    assert [change.deleted for change in changes(found)] == [False, True]


def test_a_long_list_comes_in_pages(scripted: Scripted) -> None:
    """A long list is read page by page; its version is that of the last page."""
    page = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [POD]}
    scripted.answers = [(200, {}, json.dumps(page)), LIST]
    items, version = scripted.api().list(PODS, {"labelSelector": "app=k6"})
    assert (len(items), version) == (2, "7")
    assert "continue=more" in scripted.asked[1]


def test_a_denial_lasts_only_where_nothing_ever_worked(scripted: Scripted) -> None:
    """Three 403s at the start mean a missing permission; after a success the follower keeps trying."""
    denied: Answer = (403, {}, json.dumps({"message": "pods is forbidden"}))
    watched: Answer = (200, {}, line("MODIFIED"))
    scripted.answers = [denied] * 3 + [LIST, watched] + [denied] * 4 + [LIST]
    found = news_of(scripted.api(), cycles=9)
    troubles = [each for each in found if isinstance(each, NoNews)]
    assert [trouble.lasting for trouble in troubles] == [False, False, True, False, False, False, False]
    assert "verbs: [list, watch]" in troubles[0].why


def test_a_rotated_token_is_used(scripted: Scripted) -> None:
    """After a 401 the follower reads the token again, and repeats the request with it; that is no trouble."""
    api = scripted.api()
    scripted.answers = [LIST, (200, {}, ""), EXPIRED, LIST]
    news_of(api, cycles=1)
    scripted.token_file.write_text("second")
    assert not [each for each in news_of(api, cycles=1) if isinstance(each, NoNews)]
    assert scripted.logins == ["bearer secret"] * 3 + ["bearer second"] * 2


def test_a_token_that_stays_refused_is_trouble(scripted: Scripted) -> None:
    """If the login is refused again, the follower reports it, and asks again in the next cycle."""
    api = scripted.api()
    scripted.answers = [EXPIRED, EXPIRED, LIST]
    trouble, listed = news_of(api, cycles=2)[:2]
    assert isinstance(trouble, NoNews)
    assert "does not accept the login of the service account (401: Unauthorized)" in trouble.why
    assert isinstance(listed, Listed)


def test_a_token_that_is_unreadable_is_trouble(scripted: Scripted) -> None:
    """Without a token the follower sends nothing and reports it; it goes on when the token is back."""
    api = scripted.api()
    away = scripted.token_file.rename(scripted.token_file.with_name("away"))
    (trouble,) = news_of(api, cycles=1)
    assert isinstance(trouble, NoNews)
    assert "Service token file does not exist" in trouble.why
    assert scripted.asked == []
    away.rename(scripted.token_file)
    scripted.answers = [LIST]
    assert isinstance(news_of(api, cycles=1)[0], Listed)


def test_a_certificate_of_another_authority_is_not_trusted(scripted: Scripted, tmp_path: Path) -> None:
    """A server without a certificate of the mounted authority gets no request; when that is mounted, it gets one."""
    api, ca_file = scripted.api(), scripted.account.folder / "ca.crt"
    ca_file.write_bytes(Authority(tmp_path).file.read_bytes())
    (trouble,) = news_of(api, cycles=1)
    assert isinstance(trouble, NoNews)
    assert "CERTIFICATE_VERIFY_FAILED" in trouble.why
    assert scripted.logins == []
    ca_file.write_bytes(scripted.authority.file.read_bytes())
    scripted.answers = [LIST]
    assert isinstance(news_of(api, cycles=1)[0], Listed)


def test_a_thread_that_breaks_is_heard_of() -> None:
    """An unexpected exception of a thread is raised where its news is read."""
    with Mailbox(lambda: None) as mailbox:
        mailbox.put(Broken(ZeroDivisionError("x")))
        with pytest.raises(ZeroDivisionError):
            list(mailbox.take())


def test_a_full_mailbox_loses_nothing() -> None:
    """All news that comes between two reads of the mailbox is kept."""
    with Mailbox(lambda: None) as mailbox:
        for number in range(5000):
            mailbox.put(Changed(PODS, number, deleted=False))
        assert [each.object for each in mailbox.take() if isinstance(each, Changed)] == list(range(5000))
