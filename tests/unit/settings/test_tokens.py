"""The tokens of the endpoint, as their file has them."""

import pytest

from k6_sweep.settings.tokens import digest_of, one_token, tokens_in

LONG = b"7f3c0e5a9b1d4c6f"
SOURCE = "--admin-token-file"


@pytest.mark.parametrize(
    ("content", "names", "tokens"),
    [
        (LONG, ["line 1"], [LONG]),
        (LONG + b"\n\n", ["line 1"], [LONG]),
        (LONG + b"\r\n", ["line 1"], [LONG]),
        (b" " + LONG + b" ", ["line 1"], [LONG]),
        (b"ci " + LONG, ["ci"], [LONG]),
        (b"ci \t " + LONG + b"\r\nof-jane_2.lap b\n#c\n", ["ci", "of-jane_2.lap", "line 3"], [LONG, b"b", b"#c"]),
    ],
)
def test_a_file_has_one_token_a_line(content: bytes, names: list[str], tokens: list[bytes]) -> None:
    """Each line is a token, perhaps with its name before it; a token without a name has that of its line."""
    found, problems = tokens_in(content, SOURCE)
    assert problems == []
    assert [each.name for each in found] == names
    assert [each.digest for each in found] == list(map(digest_of, tokens))
    assert not any(token.decode() in repr(found) for token in tokens if len(token) > 2)


def test_each_short_token_has_its_warning() -> None:
    """The length of each token counts, not that of the file."""
    found, _ = tokens_in(b"ci " + LONG + b"\njane " + LONG[1:] + b"\nx", SOURCE)
    advice = "has less than 16 characters and can be guessed; use `openssl rand -hex 32`"
    assert [each.warning for each in found] == [
        None,
        f"the admin token jane {advice}",
        f"the admin token line 3 {advice}",
    ]


@pytest.mark.parametrize(
    ("content", "clauses"),
    [
        (b"", [" is empty; it must hold the token"]),
        (b" \n\n", [" is empty; it must hold the token"]),
        (b"$TOKEN", [": line 1 has a name that nothing replaced in place of the token; give the token"]),
        (b"se\x00cret", [": line 1 has characters that an HTTP header cannot hold"]),
        (b"\xef\xbb\xbfsecret", [": line 1 has characters that an HTTP header cannot hold"]),
        (b"\nsecret", [": line 1 is empty; remove it"]),
        (b"secret\n\n \nsecond", [": line 2 is empty; remove it", ": line 3 is empty; remove it"]),
        (b"ci se\x1bcret\njane ${TOKEN}", [": line 1 has characters", ": line 2 has a name that nothing replaced"]),
        (b"ci secret word", [": line 1 has more than a name and a token"]),
        (b"# secret", [": the name in line 1 must have 1 to 32 letters, digits and . _ -"]),
        (LONG * 4 + b" ci", [": the name in line 1 must have 1 to 32 letters, digits and . _ -"]),
        (LONG[:16] + b" ci", [": line 1 has a long name and a short token"]),
        (b"ci secret\njane secret", [": line 2 has the same token as line 1; remove one of them"]),
        (b"ci secret\nci second", [": line 2 has the same name as line 1; give each token its own"]),
        (b"secret second\nfirst secret", [": a name is also a token; choose another"]),
    ],
)
def test_a_mistake_in_the_file(content: bytes, clauses: list[str]) -> None:
    """Each mistake has a sentence with its place, which repeats neither a token nor a text that may be one."""
    _, problems = tokens_in(content, SOURCE)
    assert len(problems) == len(clauses)
    for problem, clause in zip(problems, clauses, strict=True):
        assert problem.startswith(f"{SOURCE}{clause}")
        assert not any(text in problem for text in ("secret", "cret", LONG.decode()))


def test_a_variable_has_one_token() -> None:
    """A variable has one token and no name: the log names the variable."""
    found, problems = one_token(LONG, "SWEEP_ADMIN_TOKEN")
    assert ([each.name for each in found], problems) == (["SWEEP_ADMIN_TOKEN"], [])
    assert one_token(b"ci secret", "SWEEP_ADMIN_TOKEN")[1] == [
        "SWEEP_ADMIN_TOKEN has characters that an HTTP header cannot hold; use visible ASCII characters without spaces"
    ]
